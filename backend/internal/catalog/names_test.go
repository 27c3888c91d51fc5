package catalog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// namesTier is a tier that tells so many metric names.
func namesTier(t *testing.T, probing *ProbeBudget, probeBytes int64, count *atomic.Int64, names int) *Tier {
	t.Helper()
	list := make([]string, names)
	for i := range list {
		list[i] = fmt.Sprintf("metric_with_a_long_name_%08d", i)
	}
	body, err := json.Marshal(map[string]any{"status": "success", "data": list})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		count.Add(1)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	client := boundedClient(t, server.URL, probeBytes)
	return NewTier(TierOptions{Name: tier.Hot, Client: client, ProbeInterval: time.Hour, ProbeBudget: probing})
}

// TestMetricNames_AreBoundedForAProject asks several tiers of a project for
// their names.
func TestMetricNames_AreBoundedForAProject(t *testing.T) {
	var asked atomic.Int64
	const names = 1000
	probing := NewProbeBudget(1, names*100) // Enough for one set of them, and not for two.
	first, second := namesTier(t, probing, 0, &asked, names), namesTier(t, probing, 0, &asked, names)
	held, err := first.metricNames(t.Context(), probing, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Len(t, held.set(), names)
	again, err := first.metricNames(t.Context(), probing, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Same(t, held, again, "pairs share what one of them has learned")
	require.EqualValues(t, 1, asked.Load())

	none, err := second.metricNames(t.Context(), probing, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Nil(t, none.set())
	require.True(t, second.names.refused.Load())

	first.Close()
	held.release()
	none, err = second.metricNames(t.Context(), probing, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Nil(t, none.set(), "one pair still holds the names")
	again.release()
	requireFree(t, probing, names*100)
	held, err = second.metricNames(t.Context(), probing, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Len(t, held.set(), names)
	require.False(t, second.names.refused.Load())
	held.release()
	second.Close()
	requireFree(t, probing, names*100)
}

// requireFree requires that all of the memory for names is free.
func requireFree(t *testing.T, probing *ProbeBudget, bytes int64) {
	t.Helper()
	require.True(t, probing.memory.Acquire(bytes))
	probing.memory.Release(bytes)
}

// TestMetricNames_LargeAnswersAreNotRead bounds the answer itself.
func TestMetricNames_LargeAnswersAreNotRead(t *testing.T) {
	var asked atomic.Int64
	small := namesTier(t, nil, 10<<10, &asked, 1000)
	held, err := small.metricNames(t.Context(), nil, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Nil(t, held.set())
	require.True(t, small.names.refused.Load())
	many := namesTier(t, nil, 0, &asked, mostNames+1)
	held, err = many.metricNames(t.Context(), nil, nil, time.Time{}, time.Hour)
	require.NoError(t, err)
	require.Nil(t, held.set())
}

// TestStores_LabelSetsAreBoundedInBytes tells other stores in every answer.
func TestStores_LabelSetsAreBoundedInBytes(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"store":[{"labelSets":[{"a":"%0300d"}]}]}}`, asked.Add(1))
	}))
	t.Cleanup(server.Close)
	client := boundedClient(t, server.URL, 8<<10)
	var watch storeWatch
	var stores []Store
	var notes []tier.Note
	for range 20 {
		stores, notes = watch.look(t.Context(), apiClient{client}, time.Now())
	}
	require.Nil(t, stores, "it is not known which sources there are")
	require.Contains(t, notes[0].Public, "too many stores")
	require.LessOrEqual(t, watch.bytes, 2<<10)
	stores, _ = watch.look(t.Context(), apiClient{client}, time.Now().Add(3*storeForgottenAfter))
	require.Len(t, stores, 1, "what has gone for long makes room")
}
