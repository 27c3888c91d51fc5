//go:build e2e

package large

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
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

// TestDatasources_ManyTakeLittle asks each of E2E_DATASOURCES saved datasources once.
func TestDatasources_ManyTakeLittle(t *testing.T) {
	count := sized(t, "E2E_DATASOURCES", 300)
	t.Setenv("GOGC", "100") // What they take counts, not the garbage up to 40 MiB that tierproxy lets grow.
	answer := list(`"a-%d"`, 0, 1)
	hot, cold := startHot(t, answer), startCold(t, answer)
	// The bound of 256 tiers, less those of the gateway.
	const mostTiers = 254
	for _, test := range []struct {
		name string
		of   func(number int) fakeperses.Datasource
		// answered is how many datasources are answered. routines, files and bytes are what each of
		// them may take.
		answered, routines, files, bytes int
	}{
		{"that share the gateway's tiers", func(int) fakeperses.Datasource { return fakeperses.Datasource{} }, count, 0, 0, 12 << 10},
		{"with a tenant each", func(n int) fakeperses.Datasource {
			return fakeperses.Datasource{Headers: fmt.Sprintf(`"X-Scope-OrgID":"tenant-%d"`, n)}
		}, mostTiers, 10, 4, 200 << 10},
		{"with two tiers each", func(n int) fakeperses.Datasource {
			return fakeperses.Datasource{Tiers: fmt.Sprintf(`"hot":{"url":"%s/%d"},"cold":{"url":"%s/%d"},`, hot.URL, n, cold.URL, n)}
		}, mostTiers / 2, 30, 10, 600 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			saved := map[string]fakeperses.Datasource{}
			for n := range count {
				saved[fmt.Sprintf("/globaldatasources/metrics-%d", n)] = test.of(n)
			}
			perses := fakeperses.Start(t, "", saved)
			g := startGateway(t, hot, cold, nested{"perses": nested{"url": perses.URL}})
			before := g.usage(t)
			answered := 0
			for n := range count {
				got := g.ask(t, fmt.Sprintf("/proxy/globaldatasources/metrics-%d/api/v1/label/pod/values", n), between(time.Hour, 0))
				if got.status == http.StatusOK {
					answered++
					continue
				}
				require.Equal(t, []any{http.StatusServiceUnavailable, "30"}, []any{got.status, got.header.Get("Retry-After")}, got.tail)
				require.Contains(t, got.tail, "datasources use more than 256 tiers at a time: let datasources share tiers")
			}
			require.EqualValues(t, count, perses.Asked())
			require.Equal(t, min(count, test.answered), answered)
			after := g.usage(t)
			require.LessOrEqual(t, after.goroutines, before.goroutines+answered*test.routines+20)
			require.LessOrEqual(t, after.files, before.files+answered*test.files+20)
			require.LessOrEqual(t, after.resident, before.resident+int64(answered*test.bytes)+(8<<20))
			t.Logf("%d of %d datasources: %.1f goroutines, %.1f files, %d KiB each", answered, count, each(after.goroutines-before.goroutines, answered),
				each(after.files-before.files, answered), (after.resident-before.resident)>>10/int64(answered))
			if os.Getenv("E2E_DATASOURCES") != "" {
				const idle = 30 * time.Second
				time.Sleep(idle) // Nothing happens: that is what is measured.
				now := g.usage(t)
				t.Logf("idle: %.1f own requests a second, %.1f %% of a core, %d KiB each", float64(now.own-after.own)/idle.Seconds(), 100*(now.cpu-after.cpu).Seconds()/idle.Seconds(),
					(now.resident-before.resident)>>10/int64(answered))
			}
		})
	}
}

func each(sum, count int) float64 { return float64(sum) / float64(count) }
