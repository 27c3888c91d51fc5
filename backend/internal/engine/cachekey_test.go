package engine

import (
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// What is kept for one request is not found for another that cold would answer in
// another way.
func TestCacheKey_EveryFieldOfARequest(t *testing.T) {
	changes := map[string]func(*promapi.Request){
		"Endpoint":   func(r *promapi.Request) { r.Endpoint = promapi.Series },
		"Path":       func(r *promapi.Request) { r.Path = "/api/v1/label/job/values" },
		"Parameters": func(r *promapi.Request) { r.Parameters = url.Values{"query": {"down"}} },
	}
	leftOut := map[string]func(*promapi.Request){
		// It is part of Path.
		"Label": func(r *promapi.Request) { r.Label = "job" },
		// Parameters hold what came by any of them.
		"Method":   func(r *promapi.Request) { r.Method = http.MethodPost },
		"RawQuery": func(r *promapi.Request) { r.RawQuery = "query=down" },
		"Body":     func(r *promapi.Request) { r.Body = []byte("query=down") },
		// Encoding, user agent and trace change no answer that is kept: see attempt.encoded.
		"Header": func(r *promapi.Request) { r.Header = http.Header{"User-Agent": {"another"}} },
		// It follows from Parameters and the present, and what is about the present is not kept.
		"TimeRange":  func(r *promapi.Request) { r.TimeRange.Step = time.Second },
		"ReceivedAt": func(r *promapi.Request) { r.ReceivedAt = time.Now() },
	}
	plan := func(request promapi.Request) *Plan {
		return &Plan{snapshot: emptySnapshot, subject: subject{query: Query{Datasource: &Datasource{Scope: "scope"}}}, cold: &request}
	}
	key := func(request promapi.Request) promql.Key { return plan(request).cacheKey("stores", nil) }
	before := promapi.Request{Endpoint: promapi.Query, Path: "/api/v1/query", Parameters: url.Values{"query": {"up"}}}
	for field := range reflect.TypeFor[promapi.Request]().Fields() {
		changed := before
		if change, is := leftOut[field.Name]; is {
			change(&changed)
			require.Equal(t, key(before), key(changed), field.Name)
			continue
		}
		require.Contains(t, changes, field.Name, "a new field belongs into the key, or among those that are left out")
		changes[field.Name](&changed)
		require.NotEqual(t, key(before), key(changed), field.Name)
	}
	confined := plan(before)
	confined.query.ConfinedTo = []string{"shop"}
	require.NotEqual(t, key(before), confined.cacheKey("stores", nil))
	configured := plan(before)
	configured.snapshot = &catalog.Snapshot{Cold: catalog.Settings{LookbackDelta: time.Minute}}
	require.NotEqual(t, key(before), configured.cacheKey("stores", nil), "the defaults of cold change what it answers")
	// Who asks is no part of it. Who may not read the datasource does not come here,
	// and what others may see is in ConfinedTo. Where the query reads nothing, no tier
	// is asked.
	other := plan(before)
	other.query.Caller.ID, other.query.DetachOnCancel, other.query.ReadsNothing = 1, true, true
	require.Equal(t, key(before), other.cacheKey("stores", nil))
}
