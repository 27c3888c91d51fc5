package catalog

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

func TestStoresUnchanged_SameStoresBetweenTwoTimes(t *testing.T) {
	var told atomic.Value
	thanos := func(lists ...string) { told.Store(`{"store":[` + strings.Join(lists, ",") + `]}`) }
	store := func(set, lastError string) string {
		return fmt.Sprintf(`{"name":"s","lastError":%s,"labelSets":[%s],"maxTime":%d}`, lastError, set, time.Now().Add(-2*time.Hour).UnixMilli())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/stores") {
			text, _ := told.Load().(string)
			if text == "" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, text)
			return
		}
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 2})
	require.NoError(t, err)
	cold := NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: time.Hour})
	t.Cleanup(cold.Close)
	probe := func() { cold.probes.Once(func() bool { return cold.probe(t.Context()) }) }
	were := func(stores string, from, until time.Time) bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // What takes another probe is not waited for.
		return cold.StoresUnchanged(ctx, stores, from, until)
	}

	_, found := cold.StableStores()
	require.False(t, found, "before the first probe")
	one, two := store(`{"a":"1"}`, "null"), store(`{"a":"2"}`, "null")
	thanos(one, two)
	probe()
	stores, found := cold.StableStores()
	require.True(t, found)
	asked := time.Now()
	require.False(t, were(stores, asked, time.Now()), "a store may have gone since")
	answered := time.Now()
	done := make(chan bool)
	go func() { done <- cold.StoresUnchanged(t.Context(), stores, asked, answered) }()
	probe()
	require.True(t, <-done, "a later probe has found the same")
	require.False(t, were("others", asked, answered))
	require.False(t, were(stores, asked.Add(-time.Hour), answered), "it is not known how it was before")

	for name, lists := range map[string][]string{
		"a store fails":                          {one, store(`{"a":"2"}`, `"gone"`)},
		"a store is not listed any more":         {one},
		"one of two with the same labels":        {one, two, store(`{"a":"2"}`, `"gone"`)},
		"one of two that is not listed any more": {one, two},
	} {
		if strings.HasPrefix(name, "one of two") {
			thanos(one, two, two)
			probe()
		}
		thanos(lists...)
		probe()
		_, found := cold.StableStores()
		require.False(t, found, name)
		require.False(t, were(stores, asked, answered), name)
		thanos(one, two, two)
		probe()
		_, found = cold.StableStores()
		require.True(t, found)
		require.False(t, were(stores, asked, answered), "%s: what was before it does not count", name)
	}
	told.Store("")
	probe()
	_, found = cold.StableStores()
	require.False(t, found, "a Thanos that does not tell its stores for once")

	thanos(one, store(`{"a":"2"}`, "null"), two)
	probe()
	require.Less(t, cold.SourcesEnd(time.Now()), time.Now().Add(-time.Hour).UnixMilli(), "what comes in late")
	require.Equal(t, int64(1<<63-1), cold.SourcesEnd(time.Now().Add(48*time.Hour)), "what has ended")
}

func TestStableStores_ColdWithoutStores(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/stores") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}))
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 2})
	require.NoError(t, err)
	cold := NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: time.Hour})
	t.Cleanup(cold.Close)
	cold.probe(t.Context())
	stores, found := cold.StableStores()
	require.Equal(t, []any{noStores, true}, []any{stores, found})
	server.Close()
	cold.probe(t.Context())
	_, found = cold.StableStores()
	require.False(t, found, "it is down")
}
