package catalog

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

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
