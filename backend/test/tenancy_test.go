//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// enforcingThanos starts a Thanos Query over a store, which shows the series of one tenant: the cluster in the
// header X-Org. Without the header, it takes the tenant nobody.
func enforcingThanos(t *testing.T, store string) *stack.ThanosPart {
	t.Helper()
	query, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), shared.thanosPath, "query", "--endpoint", store,
		"--query.enforce-tenancy", "--query.tenant-header=X-Org", "--query.tenant-label-name="+externalLabel, "--query.default-tenant-id=nobody")
	require.NoError(t, err)
	t.Cleanup(func() { _ = query.Stop() })
	return query
}

// runCheck runs tierproxy check with a configuration, and returns what it prints and its exit status.
func runCheck(t *testing.T, settings document) (printed string, status int) {
	t.Helper()
	text, err := yaml.Marshal(settings)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "tierproxy.yaml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	output, err := exec.CommandContext(t.Context(), shared.tierproxyPath, "check", "--config", file, "--measure=false", "--ranges", "15m").Output()
	if failed, is := errors.AsType[*exec.ExitError](err); is {
		return string(output), failed.ExitCode()
	}
	require.NoError(t, err)
	return string(output), 0
}

// eventuallyCheck waits until check exits with a status, and returns what it prints: other tests kill and start the
// store.
func eventuallyCheck(t *testing.T, settings document, expected int) (printed string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var status int
		printed, status = runCheck(t, settings)
		return status == expected
	}, time.Minute, 200*time.Millisecond)
	return printed
}

// hiding is what tierproxy says of a Thanos that shows nothing without the header.
const hiding = "it shows no series without the header X-Org, because it enforces tenants: set the header in proxy.spec.headers of the datasource, " +
	"or in http_config.http_headers of the tier, and list it in tenant_headers"

// TestTenancy_AThanosThatShowsNothingWithoutAHeader is not healthy. With the header, from the configuration or from a
// saved datasource, it answers as the same Thanos without tenants does.
func TestTenancy_AThanosThatShowsNothingWithoutAHeader(t *testing.T) {
	cold := enforcingThanos(t, shared.cold.StoreAddress())
	withHeader := func(tenant string) document {
		return document{"url": cold.URL, "http_config": document{"http_headers": document{"X-Org": document{"values": []string{tenant}}}}}
	}
	hot := document{"url": shared.hot.URL}
	require.Contains(t, eventuallyCheck(t, document{"hot": hot, "cold": document{"url": cold.URL}}, 1), hiding)
	require.NotContains(t, eventuallyCheck(t, document{"hot": hot, "cold": withHeader("e2e")}, 0), "tenants")
	printed, _ := runCheck(t, document{"hot": hot, "cold": withHeader("a-new-tenant")})
	require.NotContains(t, printed, "cannot be used", "a tenant without series yet")

	perses := fakeperses.Start(t, "", map[string]fakeperses.Datasource{
		"/globaldatasources/of-e2e": {Headers: `"X-Org":"e2e"`}, "/globaldatasources/of-nobody": {},
	})
	start := func(settings document) string {
		settings["perses"], settings["tenant_headers"] = document{"url": perses.URL}, []string{"X-Org"}
		started, err := stack.Tierproxy{Name: "tierproxy", Dir: t.TempDir(), Config: settings}.Start(t.Context(), shared.tierproxyPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = started.Stop() })
		return started.URL
	}
	gateway := start(document{"cold": document{"url": cold.URL}})
	query := url.Values{"query": {"count({__name__!=\"\"})"}, "time": {fmt.Sprint(time.Now().Add(-48 * time.Hour).Unix())}}.Encode()
	var expected []byte
	require.Eventually(t, func() bool {
		_, expected, _ = stack.Get(t.Context(), shared.cold.Query.URL+"/api/v1/query?"+query, nil)
		return valueOf(t, expected) != ""
	}, time.Minute, 200*time.Millisecond)
	for range 2 { // The second answer may be a kept one.
		require.Eventually(t, func() bool {
			_, body, err := stack.Get(t.Context(), gateway+"/proxy/globaldatasources/of-e2e/api/v1/query?"+query, nil)
			return err == nil && valueOf(t, body) == valueOf(t, expected)
		}, time.Minute, 200*time.Millisecond)
		status, body, err := stack.Get(t.Context(), gateway+"/proxy/globaldatasources/of-nobody/api/v1/query?"+query, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "%s", body)
		require.Contains(t, string(body), `"warnings":["the cold tier is not usable: `+hiding, "the only tier is asked nevertheless")
	}
	status, body, err := stack.Get(t.Context(), gateway+"/proxy/globaldatasources/of-nobody/api/v1/datasources/health", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, string(body), hiding)
	_, body, err = stack.Get(t.Context(), gateway+"/proxy/globaldatasources/of-nobody/api/v1/datasources/explain?"+query, nil)
	require.NoError(t, err)
	require.Contains(t, string(body), hiding)
}

// TestCheck_HotThatNoQueryCanName has a Prometheus without external labels, and a Thanos with two sources: nothing says
// which of them is hot.
func TestCheck_HotThatNoQueryCanName(t *testing.T) {
	t.Parallel()
	directory, now := t.TempDir(), time.Now()
	other := stack.Thanos{Dir: directory, Bucket: filepath.Join(directory, "bucket"), QueryArguments: []string{"--endpoint", shared.cold.StoreAddress()}}
	require.NoError(t, history.Generator{Interval: time.Minute}.WriteBlocks(t.Context(), filepath.Join(directory, "blocks"), now.Add(-time.Hour), now.Add(time.Hour)))
	require.NoError(t, other.Upload(t.Context(), shared.thanosPath, filepath.Join(directory, "blocks"), io.Discard, externalLabel+`="other"`))
	cold, err := other.Start(t.Context(), shared.thanosPath)
	require.NoError(t, err)
	t.Cleanup(cold.Stop)
	settings := func(more document) document {
		hot := document{"url": shared.hot.URL}
		maps.Copy(hot, more)
		return document{"hot": hot, "cold": document{"url": cold.Query.URL}}
	}
	const unused = "hot does not report its external labels, and cold has 2 sources"
	require.Eventually(t, func() bool {
		printed, status := runCheck(t, settings(nil))
		return status == 1 && strings.Contains(printed, unused)
	}, time.Minute, 200*time.Millisecond)
	for _, cure := range []document{{"external_labels": document{externalLabel: "e2e"}}, {"complete": true}} {
		require.NotContains(t, eventuallyCheck(t, settings(cure), 0), unused)
	}
	started, err := stack.Tierproxy{Name: "tierproxy", Dir: t.TempDir(), Config: settings(nil)}.Start(t.Context(), shared.tierproxyPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = started.Stop() })
	got := postJSON(t, started.URL+"/api/v1/datasources/check", document{"proxy": httpProxy("http://tierproxy/proxy/globaldatasources/new", nil)}, nil)
	require.Contains(t, string(got.body), `"unused":"`+unused)
	require.False(t, decodeReport(t, got).Data.OK)
}

// valueOf returns the value of the only sample in an answer, or an empty text.
func valueOf(t *testing.T, body []byte) string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) != 1 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}
