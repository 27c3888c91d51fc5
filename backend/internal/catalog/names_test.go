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

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// namesTier is a tier that tells so many metric names.
func namesTier(t *testing.T, probing *ownrequest.Budget, probeBytes int64, count *atomic.Int64, names int) *Tier {
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
	client := catalogtest.BoundedClient(t, server.URL, probeBytes)
	return NewTier(TierOptions{Name: tier.Hot, Client: client, ProbeInterval: time.Hour, LearnInterval: time.Hour, ProbeBudget: probing})
}

// listOf returns the names that a tier lists, or false.
func listOf(t *testing.T, of *Tier) (int, bool) {
	t.Helper()
	_, _, listing := of.names.list(0, time.Now())
	require.NotNil(t, listing)
	of.names.listNow(t.Context())
	<-listing
	names, known, _ := of.names.list(0, time.Now())
	return len(names), known
}

func TestList_NamesAreBoundedForAProject(t *testing.T) {
	var asked atomic.Int64
	const names = 1000
	probing := ownrequest.NewBudget(1, names*60) // Enough for one list of them, and not for two.
	first, second := namesTier(t, probing, 0, &asked, names), namesTier(t, probing, 0, &asked, names)
	count, known := listOf(t, first)
	require.True(t, known)
	require.Equal(t, names, count)
	require.EqualValues(t, 1, asked.Load())
	_, known = listOf(t, second)
	require.False(t, known)
	_, _, listing := second.names.list(0, time.Now())
	require.Nil(t, listing, "they are not listed again at once")

	first.Close()
	second.names.all.refused = time.Time{}
	_, known = listOf(t, second)
	require.True(t, known)
	second.Close()
	requireFree(t, probing, names*60)
}

// requireFree requires that all of the memory for names is free.
func requireFree(t *testing.T, probing *ownrequest.Budget, bytes int64) {
	t.Helper()
	require.True(t, probing.Memory().Acquire(bytes))
	probing.Memory().Release(bytes)
}

func TestList_LargeAnswersAreNotRead(t *testing.T) {
	var asked atomic.Int64
	_, known := listOf(t, namesTier(t, nil, 10<<10, &asked, 1000))
	require.False(t, known, "the answer is too large")
	_, known = listOf(t, namesTier(t, nil, 0, &asked, mostNamesInList+1))
	require.False(t, known)
}

// TestStores_LabelSetsAreBoundedInBytes tells other stores in every answer.
func TestStores_LabelSetsAreBoundedInBytes(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"store":[{"labelSets":[{"a":"%0300d"}]}]}}`, asked.Add(1))
	}))
	t.Cleanup(server.Close)
	client := catalogtest.BoundedClient(t, server.URL, 8<<10)
	var watch storeWatch
	var stores []Store
	var notes []tier.Note
	for range 20 {
		stores, notes = watch.look(t.Context(), ownrequest.NewClient(ownrequest.Options{Upstream: client}), time.Now())
	}
	require.Nil(t, stores, "it is not known which sources there are")
	require.Contains(t, notes[0].Public, "too many stores")
	require.LessOrEqual(t, watch.bytes, 2<<10)
	stores, _ = watch.look(t.Context(), ownrequest.NewClient(ownrequest.Options{Upstream: client}), time.Now().Add(3*storeForgottenAfter))
	require.Len(t, stores, 1, "what has gone for long makes room")
}
