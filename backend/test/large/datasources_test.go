//go:build e2e

package large

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// usage is what a tierproxy uses.
type usage struct {
	resident               int64
	goroutines, files, own int
	cpu                    time.Duration
}

var (
	goroutines  = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)
	ownRequests = regexp.MustCompile(`(?m)^tierproxy_probe_requests_total\{.*\} (\d+)$`)
)

func (g *gateway) usage(t *testing.T) (now usage) {
	t.Helper()
	_, text, err := stack.Get(t.Context(), g.URL+"/metrics", nil)
	require.NoError(t, err)
	now.goroutines, err = strconv.Atoi(goroutines.FindStringSubmatch(string(text))[1])
	require.NoError(t, err)
	for _, found := range ownRequests.FindAllStringSubmatch(string(text), -1) {
		count, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		now.own += count
	}
	memory, err := g.Memory()
	require.NoError(t, err)
	now.resident = memory.Resident
	now.files, err = g.OpenFiles()
	require.NoError(t, err)
	now.cpu, err = g.CPU()
	require.NoError(t, err)
	return now
}

func TestExploreDatasources(t *testing.T) {
	count := sized(t, "E2E_DATASOURCES", 300)
	hot, cold := startHot(t, list(`"a-%d"`, 0, 1)), startCold(t, list(`"a-%d"`, 0, 1))
	for name, of := range map[string]func(number int) fakeperses.Datasource{
		"shared":  func(int) fakeperses.Datasource { return fakeperses.Datasource{} },
		"tenants": func(n int) fakeperses.Datasource { return fakeperses.Datasource{Headers: fmt.Sprintf(`"X-Scope-OrgID":"tenant-%d"`, n)} },
		"own": func(n int) fakeperses.Datasource {
			return fakeperses.Datasource{Tiers: fmt.Sprintf(`"hot":{"url":"%s/h/%d"},"cold":{"url":"%s/c/%d"},`, hot.URL, n, cold.URL, n)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			saved := map[string]fakeperses.Datasource{}
			for n := range count {
				saved[fmt.Sprintf("/globaldatasources/ds-%d", n)] = of(n)
			}
			perses := fakeperses.Start(t, "", saved)
			g := startGatewayOfPerses(t, hot, cold, perses.URL)
			before := g.usage(t)
			began := time.Now()
			status := map[int]int{}
			var last answered
			for n := range count {
				got := g.ask(t, fmt.Sprintf("/proxy/globaldatasources/ds-%d/api/v1/label/pod/values", n), url.Values{"match[]": {"big"}})
				if status[got.status]++; got.status != http.StatusOK {
					last = got
				}
			}
			after := g.usage(t)
			t.Logf("asked %d in %s: %v; perses asked %d; last %s %v", count, time.Since(began), status, perses.Asked(), last.tail, last.header)
			t.Logf("before %+v", before)
			t.Logf("after  %+v per ds %d B", after, (after.resident-before.resident)/int64(count))
			time.Sleep(10 * time.Second)
			idle := g.usage(t)
			t.Logf("idle   %+v: in 10 s %d own requests, %s CPU", idle, idle.own-after.own, idle.cpu-after.cpu)
		})
	}
}

func startGatewayOfPerses(t *testing.T, hot, cold *faketier.Tier, perses string) *gateway {
	t.Helper()
	return startGateway(t, hot, cold, map[string]any{"perses": map[string]any{"url": perses}, "default_datasource": map[string]any{"enabled": false}})
}
