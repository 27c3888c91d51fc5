package evidence

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
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// namesIndex is the index of a tier that tells so many metric names.
func namesIndex(t *testing.T, probing *ownrequest.Budget, probeBytes int64, count *atomic.Int64, names int) *Index {
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
	return New(Options{
		Client: ownrequest.NewClient(ownrequest.Options{Upstream: client, Budget: probing}), ProbeInterval: time.Hour, LearnInterval: time.Hour,
		State: func() State { return State{Available: true, Newest: time.Now()} },
	})
}

// listOf returns the number of names that a tier lists, or false.
func listOf(t *testing.T, of *Index) (int, bool) {
	t.Helper()
	_, _, listing := of.list(0, time.Now())
	require.NotNil(t, listing)
	of.listNow(t.Context())
	<-listing
	names, known, _ := of.list(0, time.Now())
	return len(names), known
}

func TestList_NamesAreBoundedForAProject(t *testing.T) {
	var asked atomic.Int64
	const names = 1000
	probing := ownrequest.NewBudget(1, names*60) // Enough for one list of them, and not for two.
	first, second := namesIndex(t, probing, 0, &asked, names), namesIndex(t, probing, 0, &asked, names)
	count, known := listOf(t, first)
	require.True(t, known)
	require.Equal(t, names, count)
	require.EqualValues(t, 1, asked.Load())
	_, known = listOf(t, second)
	require.False(t, known)
	_, _, listing := second.list(0, time.Now())
	require.Nil(t, listing, "they are not listed again at once")

	first.Close()
	second.all.refused = time.Time{}
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
	_, known := listOf(t, namesIndex(t, nil, 10<<10, &asked, 1000))
	require.False(t, known, "the answer is too large")
	_, known = listOf(t, namesIndex(t, nil, 0, &asked, mostNamesInList+1))
	require.False(t, known)
}
