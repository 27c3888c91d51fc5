package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// stretch is a time during which a Prometheus was up, in time before now.
type stretch struct{ from, to time.Duration }

// prometheusThatWasUp runs one with the samples of some stretches.
func prometheusThatWasUp(t *testing.T, now time.Time, stretches ...stretch) apiClient {
	t.Helper()
	directory := t.TempDir()
	for _, each := range stretches {
		require.NoError(t, history.Generator{Interval: 30 * time.Second}.WriteBlocks(t.Context(), directory, now.Add(-each.from), now.Add(-each.to)))
	}
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return asking(t, prometheus.URL)
}

func TestGapDetector_FindsGaps(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	ahead := -10 * time.Minute
	for name, test := range map[string]struct {
		stretches []stretch
		// contiguousSince is since when there is no gap, before now; zero for no gap.
		contiguousSince time.Duration
	}{
		"none":                             {[]stretch{{6 * time.Hour, ahead}}, 0},
		"one of ten minutes":               {[]stretch{{6 * time.Hour, 2 * time.Hour}, {110 * time.Minute, ahead}}, 110 * time.Minute},
		"one of two minutes":               {[]stretch{{6 * time.Hour, 62 * time.Minute}, {time.Hour, ahead}}, time.Hour},
		"a restart within a scrape":        {[]stretch{{6 * time.Hour, 60*time.Minute + 30*time.Second}, {time.Hour, ahead}}, 0},
		"two: the last one counts":         {[]stretch{{6 * time.Hour, 4 * time.Hour}, {3 * time.Hour, 2 * time.Hour}, {time.Hour, ahead}}, time.Hour},
		"one that has just ended":          {[]stretch{{6 * time.Hour, 30 * time.Minute}, {time.Minute, ahead}}, time.Minute},
		"the samples have ended meanwhile": {[]stretch{{6 * time.Hour, 20 * time.Minute}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			asked := prometheusThatWasUp(t, now, test.stretches...)
			var followed gapDetector
			oldest := now.Add(-test.stretches[0].from).UnixMilli()
			require.NoError(t, followed.detect(t.Context(), asked, "a", oldest, now))
			if name == "the samples have ended meanwhile" {
				require.Empty(t, followed.canaries, "there is nothing to follow: freshness tells")
				return
			}
			require.NotEmpty(t, followed.canaries)
			require.Equal(t, 30*time.Second, followed.interval)
			if test.contiguousSince == 0 {
				require.Zero(t, followed.contiguousSince)
				return
			}
			// Not before the gap has ended, and not much later.
			ended := now.Add(-test.contiguousSince)
			found := time.UnixMilli(followed.contiguousSince)
			require.False(t, found.Before(ended), "%s, and the gap ended at %s", found, ended)
			require.WithinDuration(t, ended, found, 2*time.Minute)

			// What was found stays, and what was looked at is not looked at again.
			require.NoError(t, followed.detect(t.Context(), asked, "a", oldest, now.Add(time.Minute)))
			require.Equal(t, found.UnixMilli(), followed.contiguousSince)
			require.Greater(t, followed.checkedUntil, now.Add(-5*time.Minute).UnixMilli())
			require.NoError(t, followed.detect(t.Context(), asked, "another replica", oldest, now.Add(time.Minute)))
			require.Equal(t, found.UnixMilli(), followed.contiguousSince)
		})
	}
}

func TestProbe_HotThatNoLongerIngestsIsUnavailable(t *testing.T) {
	now := time.Now()
	for age, available := range map[time.Duration]bool{-10 * time.Minute: true, 3 * time.Minute: false, 2 * time.Hour: false} {
		asked := prometheusThatWasUp(t, now, stretch{6 * time.Hour, age})
		hot := NewTier(TierOptions{Name: tier.Hot, Client: asked.Client, ProbeInterval: time.Hour})
		hot.probe(t.Context())
		require.Equal(t, available, hot.Status().Available, "samples end %s ago: %s", age, hot.Status().Error)
		if !available {
			require.Contains(t, hot.Status().Error, "no samples come in")
		}
	}
}

func TestProbe_StoresThatAreGone(t *testing.T) {
	var answer atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/stores" {
			sources{}.ServeHTTP(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, *answer.Load())
	}))
	t.Cleanup(server.Close)
	set := func(text string) { answer.Store(&text) }
	cold := NewTier(TierOptions{Name: tier.Cold, Client: client(t, server.URL), ProbeInterval: time.Hour})
	look := func() Status { cold.probe(t.Context()); return cold.Status() }

	set(`{}`)
	require.False(t, look().Available, "a Thanos without stores answers nothing")
	set(`{"store":[{"name":"a","labelSets":[{"cluster":"x"}],"lastError":null}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	found := look()
	require.True(t, found.Available)
	require.Empty(t, found.Notes)
	set(`{"store":[{"name":"a","labelSets":[{"cluster":"x"}],"lastError":"connection refused"}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	require.Equal(t, []tier.Note{{
		Detail: `the cold tier cannot reach its store with {cluster="x"}: what only that one holds is missing`,
		Public: `the cold tier cannot reach one of its stores: what only that one holds is missing`,
	}}, look().Notes)
	set(`{"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	found = look()
	require.Len(t, found.Notes, 1, "some minutes later Thanos has forgotten it")
	require.Len(t, found.Stores, 2, "it still counts as a source")
	set(`{"store":[{"name":"at another address","labelSets":[{"cluster":"x"}],"lastError":null}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	require.Empty(t, look().Notes)

	watch := storeWatch{seen: map[string]seenStore{`store with {cluster="z"}`: {lastSeen: time.Now().Add(-25 * time.Hour)}}}
	_, notes := watch.look(t.Context(), asking(t, server.URL), time.Now())
	require.Empty(t, notes, "whoever took it away meant it")
	_, err := asking(t, server.URL+"/nowhere").stores(t.Context())
	require.Error(t, err)
}
