package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// tooCostly are queries that cost far more than their length: nesting ends the
// process of 0.1.0, the others kept it busy for minutes or took gigabytes.
func tooCostly() map[string]string {
	return map[string]string{
		"nested calls":      strings.Repeat("abs(", 500_000) + "up" + strings.Repeat(")", 500_000),
		"some nested calls": strings.Repeat("abs(", 5000) + "up" + strings.Repeat(")", 5000),
		"open parentheses":  strings.Repeat("(", 60_000),
		"signs":             strings.Repeat("-", 60_000) + "up",
		"operators":         "up" + strings.Repeat("+up", 20_000),
		"repetitions":       `up{a=~"` + strings.Repeat(".{1000}", 9000) + `"}`,
		"negative":          `up{a!~'` + strings.Repeat(".{1000}", 9000) + `'}`,
		"classes":           `up{a=~"` + strings.Repeat(`\\D`, 15_000) + `"}`,
		"length":            "up # " + strings.Repeat("x", 70_000),
	}
}

func TestHandler_RefusesQueriesThatCostMoreThanTheirLength(t *testing.T) {
	g := newGateway(t, nil)
	for name, text := range tooCostly() {
		t.Run(name, func(t *testing.T) {
			encoded, err := json.Marshal(map[string]string{"query": text})
			require.NoError(t, err)
			for target, body := range map[string]string{
				"/api/v1/query":               url.Values{"query": {text}}.Encode(),
				"/api/v1/query_range":         url.Values{"query": {text}, "start": {"0"}, "end": {"60"}, "step": {"60"}}.Encode(),
				"/api/v1/query_exemplars":     url.Values{"query": {text}}.Encode(),
				"/api/v1/series":              url.Values{"match[]": {text}}.Encode(),
				"/api/v1/labels":              url.Values{"match[]": {text}}.Encode(),
				"/api/v1/alert_thresholds":    url.Values{"match[]": {text}}.Encode(),
				"/api/v1/format_query":        url.Values{"query": {text}}.Encode(),
				"/api/v1/parse_query":         url.Values{"query": {text}}.Encode(),
				"/api/v1/datasources/explain": url.Values{"query": {text}}.Encode(),
				"/api/v1/metrics/query":       string(encoded),
			} {
				response, answer := g.ask(t, http.MethodPost, target, body, "Content-Type", "application/x-www-form-urlencoded")
				require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, response.StatusCode, "%s: %s", target, answer)
				require.Less(t, len(answer), 1000, target)
			}
			_, err = g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: text})
			var queryError *datasource.QueryError
			require.ErrorAs(t, err, &queryError)
			require.Equal(t, http.StatusBadRequest, queryError.Status)
		})
	}
	require.Empty(t, g.hot.Requests())
	require.Empty(t, g.cold.Requests())
	response, _ := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestHandler_TheLengthOfQueriesIsASetting(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Query.MaxLength = 10 })
	response, _ := g.ask(t, http.MethodGet, "/api/v1/query?query=0123456789", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	response, body := g.ask(t, http.MethodGet, "/api/v1/series?match[]=abcdef&match[]=abcde", "", "X-Request-Id", "1")
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.JSONEq(t, `{"status":"error","errorType":"bad_data","requestId":"1",
		"error":"invalid parameter \"match[]\": 11 bytes are too long: at most 10 are accepted (query.max_length)"}`, body)
	settings := config.Default()
	settings.Query.MaxLength = 0
	require.ErrorContains(t, settings.Validate(), "query.max_length: is 0, and must be from 1 to 1048576")
}

// A check compiles what a spec names, and a datasource is kept for a minute.
func TestHandler_ChecksOfLargeSpecsTakeLittleMemory(t *testing.T) {
	g := newGateway(t, nil)
	var endpoints []string
	for range 5000 {
		endpoints = append(endpoints, `{"endpointPattern":".{1000}","method":"GET"}`)
	}
	spec := `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/x","allowedEndpoints":[` + strings.Join(endpoints, ",") + `]}}}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response, body := g.ask(t, http.MethodPost, "/api/v1/datasources/check", spec)
	runtime.ReadMemStats(&after)
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.Contains(t, body, `"field":"spec.proxy.spec.allowedEndpoints","message":"the regular expressions are too large`)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

func TestHandler_ManyDifferentQueriesAreNotKeptInMemory(t *testing.T) {
	// They remember nothing, other than the fakes of the other tests.
	tier := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
			return
		}
		faketier.Probes(w, r)
	}))
	t.Cleanup(tier.Close)
	manager := running.Manager(t, running.TwoTiers(tier.URL, tier.URL))
	g := &served{manager: manager, Server: httptest.NewServer(gateway.New(manager))}
	t.Cleanup(g.Close)
	ask := func(text string) {
		response, body := g.ask(t, http.MethodPost, "/api/v1/query", url.Values{"query": {text}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, http.StatusOK, response.StatusCode, body)
	}
	const requests = 300
	// growth returns by how many bytes the heap is larger after the queries.
	growth := func(text func(i int) string) int64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range requests {
			ask(text(i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	for name, text := range map[string]func(i int) string{
		"with regular expressions": func(i int) string { return fmt.Sprintf(`up{a=~"%03d%s"}`, i, strings.Repeat(".{1000}", 9)) },
		"long ones":                func(i int) string { return fmt.Sprintf(`up{a="%03d%s"}`, i, strings.Repeat("x", 60_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, growth(text), int64(10<<20))
		})
	}
}

// What takes long to read waits for its turn, and what does not goes past it.
func TestHandler_CostlyQueriesWaitForEachOther(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Limits.QueueWait = config.Duration(time.Millisecond) })
	var group sync.WaitGroup
	var refused, answered atomic.Int64
	for i := range 40 {
		group.Go(func() {
			text := fmt.Sprintf(`up{a=~"%d%s"}`, i, strings.Repeat(`\\D`, 50))
			response, body := g.ask(t, http.MethodGet, "/api/v1/query?query="+url.QueryEscape(text), "")
			switch {
			case response.StatusCode == http.StatusOK:
				answered.Add(1)
			case response.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "too many complex queries are waiting"):
				refused.Add(1)
				assert.NotEmpty(t, response.Header.Get("Retry-After"))
			default:
				assert.Fail(t, body)
			}
		})
	}
	response, body := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	group.Wait()
	require.Positive(t, answered.Load())
	require.Positive(t, refused.Load())
}

// A tier that does not know format_query leaves it to the gateway.
func TestHandler_FormatsNoCostlyQueries(t *testing.T) {
	g := newGateway(t, nil)
	unknown := faketier.Status(http.StatusNotFound, "404 page not found")
	g.hot.Handle(unknown)
	g.cold.Handle(unknown)
	ask := func(text string) (*http.Response, string) {
		return g.ask(t, http.MethodPost, "/api/v1/format_query", url.Values{"query": {text}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	response, body := ask("up+up")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.JSONEq(t, `{"status":"success","data":"up + up"}`, body)
	response, body = ask("up" + strings.Repeat("+up", 1500))
	require.Equal(t, http.StatusBadRequest, response.StatusCode, body)
	require.Contains(t, body, "too large to be formatted")
}
