//go:build e2e

package coldalone

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// startPrometheus starts a Prometheus that has some blocks and takes remote write.
func startPrometheus(t *testing.T, data, outOfOrder string) (address string) {
	t.Helper()
	server, err := stack.Prometheus{
		Name: "cold", Dir: t.TempDir(), Data: data, Retention: "90d", OutOfOrderWindow: outOfOrder,
		Global: map[string]any{"scrape_interval": "15s"}, Arguments: []string{"--web.enable-remote-write-receiver"},
	}.Start(t.Context(), program(t, "prometheus"))
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return server.URL
}

func questionsAbout(now time.Time, step time.Duration) (list []question) {
	for _, query := range []string{"count by (cluster) (up)", "sum by (cluster) (rate(requests_total[5m]))", `temp{cluster="late"}`} {
		list = append(list, question{query: query, start: now.Add(-span), end: now, step: step})
	}
	return list
}

// TestPrometheus_LateSendersChangeNoKeptAnswer lets one of two senders be late, by what the Prometheus accepts.
func TestPrometheus_LateSendersChangeNoKeptAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outOfOrder string
		late       time.Duration
		hides      bool // cold is behind a proxy that does not let it tell of itself
		freshness  time.Duration
		declares   string
	}{
		"half a head block":           {late: 50 * minute, declares: "measured"},
		"out of order":                {outOfOrder: "3h", late: 170 * minute, declares: "measured"},
		"it tells nothing":            {outOfOrder: "1h", late: 50 * minute, hides: true, freshness: hour, declares: "declared"},
		"nothing is declared, either": {outOfOrder: "8h", late: 170 * minute, hides: true, declares: "declared"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Now().Truncate(minute)
			late, punctual := seriesOf("late", 0, "cluster", "late"), seriesOf("other", 0, "cluster", "other")
			// The head block is too short to be compacted meanwhile.
			data := blocks(t, interval, slices.Concat(late, punctual), [2]time.Time{now.Add(-30 * hour), now.Add(-test.late)})
			cold := startPrometheus(t, data, test.outOfOrder)
			send(t, cold+"/api/v1/write", punctual, now.Add(-test.late), now)
			f := newFront(t, cold, func(path string) bool { return test.hides && strings.Contains(path, "/status/") })
			address := gatewayOf(t, f.URL, func(settings *config.Config) {
				if test.freshness > 0 {
					settings.Routing.Freshness = config.Duration(test.freshness)
				}
			})
			list := questionsAbout(now, minute)
			if test.hides && test.freshness == 0 {
				for i := range list {
					list[i].start = now.Add(-29 * hour)
				}
			}
			for _, q := range list {
				warm(t, address, q)
			}
			health := healthOf(t, address)
			require.Equal(t, test.declares, health.CacheFreshness)
			require.NotNil(t, health.CachedUntil)
			send(t, cold+"/api/v1/write", late, now.Add(-test.late), now)
			for _, q := range list {
				requireEqual(t, address, cold, q)
			}
			f.take()
			requireOnlyNew(t, f, address, list[0], *health.CachedUntil)
		})
	}
}

// requireOnlyNew asks as a dashboard that refreshes, and requires that cold is asked for steps that are not kept.
func requireOnlyNew(t *testing.T, f *front, address string, q question, keptUntil time.Time) {
	t.Helper()
	for range 3 {
		q.start, q.end = q.start.Add(q.step), q.end.Add(q.step)
		got := ask(t, address, q)
		require.Positive(t, got.cached)
		for _, each := range f.take() {
			require.False(t, each.start.Before(keptUntil.Add(-10*q.step)),
				"cold was asked for %s from %s on, and what is before %s is kept: %s of %s", each.query, each.start, keptUntil, got.cache, q.query)
		}
	}
}

// TestPrometheus_RefusesWhatIsOlder says why the steps above may be kept.
func TestPrometheus_RefusesWhatIsOlder(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(minute)
	cold := startPrometheus(t, t.TempDir(), "")
	send(t, cold+"/api/v1/write", seriesOf("a", 0), now.Add(-2*hour), now)
	status, message := trySend(t, cold+"/api/v1/write", seriesOf("b", 0), now.Add(-70*minute), now.Add(-61*minute))
	require.Equal(t, http.StatusBadRequest, status, message)
	require.Contains(t, message, "out of bounds")
}
