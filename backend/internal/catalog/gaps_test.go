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
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestProbe_HotThatNoLongerIngestsIsUnavailable(t *testing.T) {
	now := time.Now()
	for age, available := range map[time.Duration]bool{-10 * time.Minute: true, 3 * time.Minute: false, 2 * time.Hour: false} {
		asked := catalogtest.Asking(t, catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: age, Jobs: []string{"a", "b"}}))
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
	cold := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
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
	_, notes := watch.look(t.Context(), catalogtest.Asking(t, server.URL), time.Now())
	require.Empty(t, notes, "whoever took it away meant it")
	_, err := readStores(t.Context(), catalogtest.Asking(t, server.URL+"/nowhere"))
	require.Error(t, err)
}
