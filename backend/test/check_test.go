//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// postJSON sends a document and returns the answer.
func postJSON(t *testing.T, target string, content any, credentials http.Header) answer {
	t.Helper()
	body, err := json.Marshal(content)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	require.NoError(t, err)
	for name, values := range credentials {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{status: response.StatusCode, header: response.Header, body: text}
}

// TestCheckCommand_MeasuresRealTiers asks a real Prometheus and a real Thanos. How long they take is up to
// the machine, so that only what has to be there is checked.
func TestCheckCommand_MeasuresRealTiers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tierproxy.yaml")
	settings := fmt.Sprintf("hot: {url: %q}\ncold: {url: %q}\nrouting: {strategy: split}\ncache: {enabled: true}\n", shared.hot.URL, shared.cold.Query.URL)
	require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
	check := func(arguments ...string) string {
		var errors bytes.Buffer
		command := exec.CommandContext(t.Context(), shared.tierproxyPath, append([]string{"check", "--config", file}, arguments...)...)
		command.Stderr = &errors
		output, err := command.Output()
		require.NoError(t, err, "%s\n%s", output, errors.String())
		return string(output)
	}
	// Hot alone scrapes itself. Both tiers have this.
	const query = `sum by (job) (rate(http_requests_total[$__rate_interval]))`
	type finding struct {
		Subject, Severity, Message string
		Measurements               []struct {
			Range       string
			NewestOf    string   `json:"newest_of"`
			HotSeconds  *float64 `json:"hot_seconds"`
			ColdSeconds *float64 `json:"cold_seconds"`
		}
	}
	var measured []string
	var messages string
	// Other tests kill and start the tiers: Thanos may be about to find its store again.
	for deadline := time.Now().Add(time.Minute); len(measured) != 3 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var findings []finding
		require.NoError(t, json.Unmarshal([]byte(check("--output", "json", "--ranges", "1h,1d", "--query", query)), &findings))
		measured, messages = nil, ""
		for _, each := range findings {
			messages += each.Subject + ": " + each.Message + "\n"
			for _, row := range each.Measurements {
				require.NotNil(t, row.ColdSeconds, each)
				measured = append(measured, fmt.Sprint(row.Range, " ", row.NewestOf, " ", row.HotSeconds != nil))
			}
		}
	}
	require.Len(t, measured, 3, "two ranges and the newest part: %s", messages)
	require.Equal(t, []string{"1h  true", "1d  false"}, measured[:2], "hot does not hold a day: %s", messages)
	require.Contains(t, messages, "routing: measured sum by (job) (rate(http_requests_total[")
	require.Regexp(t, `routing: queries over 1d are split: hot answers the newest 6h, cold the older steps`, messages)
	require.Regexp(t, `routing: samples of the last 6h may still change .* longer than the threshold of 15m\. Queries over 1h lie within it`, messages)
	require.Regexp(t, `cache: answers of cold to queries over .*1d are kept`, messages)

	text := check("--ranges", "1h", "--query", query)
	require.Regexp(t, `(?m)^ +range +step +hot +cold\n +1h +1m +\S+ +\S+$`, text)
	require.NotContains(t, check("--measure=false"), "measured")
}

type checkReport struct {
	Data struct {
		OK       bool `json:"ok"`
		Mistakes []struct{ Field, Message string }
		Tiers    map[string]struct {
			State, Address, Version string
			OldestSample            string            `json:"oldest_sample"`
			ExternalLabels          map[string]string `json:"external_labels"`
		}
	} `json:"data"`
}

func decodeReport(t *testing.T, got answer) checkReport {
	t.Helper()
	require.Equal(t, http.StatusOK, got.status, string(got.body))
	var report checkReport
	require.NoError(t, json.Unmarshal(got.body, &report), string(got.body))
	return report
}

// TestCheck_UnsavedDatasource checks a datasource before it is saved, through
// Perses' route for unsaved ones, as the editor does.
func TestCheck_UnsavedDatasource(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	const path = "/proxy/globaldatasources/fresh"
	spec := document{"threshold": "10m", "proxy": httpProxy(s.tierproxy.URL+path, nil)}
	body, err := json.Marshal(spec)
	require.NoError(t, err)
	wrapped := document{"method": http.MethodPost, "body": body, "spec": document{"default": false, "plugin": document{"kind": "TieredPrometheusDatasource", "spec": spec}}}
	report := decodeReport(t, postJSON(t, s.perses.URL+"/proxy/unsaved/globaldatasources/api/v1/datasources/check", wrapped, nil))
	require.True(t, report.Data.OK, "%+v", report)
	hot, cold := report.Data.Tiers["hot"], report.Data.Tiers["cold"]
	require.Equal(t, []string{"ok", shared.hot.URL, "3.16.0"}, []string{hot.State, hot.Address, hot.Version})
	require.NotEmpty(t, hot.OldestSample)
	require.Equal(t, []string{"ok", shared.cold.Query.URL, "0.42.4"}, []string{cold.State, cold.Address, cold.Version})

	spec["cold"] = document{"url": "http://169.254.169.254"}
	report = decodeReport(t, postJSON(t, s.tierproxy.URL+path+"/api/v1/datasources/check", spec, nil))
	require.False(t, report.Data.OK)
	require.Equal(t, "denied-by-policy", report.Data.Tiers["cold"].State)
}

func TestCheck_NeedsAUserOfPerses(t *testing.T) {
	tier := newRecorder(t)
	s := newGuardedSite(t, tier)
	spec := document{"proxy": httpProxy(s.tierproxy.URL+"/proxy/globaldatasources/fresh", nil)}
	reader, outsider := s.session("reader"), s.session("outsider")
	for _, path := range []string{"/proxy/globaldatasources/fresh", "/proxy/projects/team/datasources/fresh"} {
		for status, credentials := range map[int]http.Header{200: header(nil, reader), 403: header(outsider, nil), 401: nil} {
			got := postJSON(t, s.tierproxy.URL+path+"/api/v1/datasources/check", spec, credentials)
			require.Equal(t, status, got.status, "%s: %s", path, got.body)
		}
	}
	got := postJSON(t, s.tierproxy.URL+"/proxy/projects/evil/datasources/fresh/api/v1/datasources/check", spec, header(reader, nil))
	require.Equal(t, http.StatusForbidden, got.status, string(got.body))
	require.Contains(t, string(got.body), `the datasources of project \"evil\"`)
	report := decodeReport(t, postJSON(t, s.tierproxy.URL+"/proxy/projects/unlisted/datasources/fresh/api/v1/datasources/check", spec, header(reader, nil)))
	require.Equal(t, "denied-by-policy", report.Data.Tiers["hot"].State, "the operator does not list the project")
	require.Empty(t, report.Data.Tiers["hot"].Address, "and nobody there learns the address")
}
