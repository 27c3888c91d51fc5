package catalog

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// Looks that people ask for wait for each other: they cost a tier more than a
// query does.
func TestInspect_LooksAreBounded(t *testing.T) {
	began, release := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("query") == "vector(1)" {
			began <- struct{}{}
			<-release
		}
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[]}}`))
	}))
	t.Cleanup(server.Close)
	bound := ownrequest.NewBudget(2, 0)
	look := func(ctx context.Context) Inspection {
		return NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, server.URL), ProbeBudget: bound}).Inspect(ctx)
	}
	var looks sync.WaitGroup
	results := make([]Inspection, 2)
	for i := range results {
		looks.Go(func() { results[i] = look(t.Context()) })
	}
	<-began
	<-began
	// A third one waits, for as long as its caller does.
	impatient, leave := context.WithCancel(t.Context())
	third := make(chan Inspection)
	go func() { third <- look(impatient) }()
	leave()
	require.Equal(t, Inspection{Failure: upstream.FailureCanceled}, <-third)
	close(release)
	looks.Wait()
	for _, found := range results {
		require.Equal(t, []any{upstream.Failure(""), true}, []any{found.Failure, found.Available})
	}
	require.Empty(t, began, "the third one did not ask")
}

// While a source of hot is not used because an answer lacked a store, an inspection says so.
func TestInspect_SaysThatAnAnswerLackedAStore(t *testing.T) {
	stores := fmt.Sprintf(`{"status":"success","data":{"sidecar":[{"name":"a","labelSets":[{"cluster":"a"}],"minTime":%d,"maxTime":%d}]}}`, time.Now().Add(-time.Hour).UnixMilli(), int64(math.MaxInt64))
	var warnings atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/stores"):
			_, _ = w.Write([]byte(stores))
		case strings.HasSuffix(r.URL.Path, "/query") && r.URL.Query().Get("query") != "vector(1)":
			_, _ = fmt.Fprintf(w, `{"status":"success","warnings":%s,"data":{"resultType":"vector","result":[]}}`, warnings.Load())
		default:
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[]}}`))
		}
	}))
	t.Cleanup(server.Close)
	inspect := func(told string) Inspection {
		warnings.Store(told)
		return NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour}).Inspect(t.Context())
	}
	for _, harmless := range []string{`[]`, `["results truncated due to limit"]`} {
		fine := inspect(harmless)
		require.NotEqual(t, tier.NothingCovered, fine.CoverageStart, harmless)
		require.Empty(t, fine.Notes, harmless)
	}
	lacking := inspect(`["receive series from Addr: a: connection refused"]`)
	require.Equal(t, tier.NothingCovered, lacking.CoverageStart)
	require.Equal(t, []string{"an answer of the hot tier lacked one of its stores a short while ago"}, tier.Texts(lacking.Notes, false))
}
