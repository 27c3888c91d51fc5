package engine

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// answers answers instant queries and metadata requests with what was asked for,
// so that an answer tells which question it belongs to. It counts the samples or
// values by the parameter limit, without a word, as some servers do.
func answers(w http.ResponseWriter, request *http.Request) {
	_, _ = fmt.Fprint(w, answerTo(request))
}

func answerTo(request *http.Request) string {
	_ = request.ParseForm()
	count, err := strconv.Atoi(request.Form.Get("limit"))
	if err != nil {
		count = 3
	}
	asked := fmt.Sprintf("%q", request.URL.Path+" "+request.Form.Encode())
	list := make([]string, 0, count)
	for i := range count {
		if strings.HasSuffix(request.URL.Path, "/query") {
			list = append(list, fmt.Sprintf(`{"metric":{"asked":%s,"n":"%d"},"value":[1,"1"]}`, asked, i))
			continue
		}
		list = append(list, asked)
	}
	result := "[" + strings.Join(list, ",") + "]"
	if strings.HasSuffix(request.URL.Path, "/query") {
		result = `{"resultType":"vector","result":` + result + `}`
	}
	return `{"status":"success","data":` + result + `}`
}

// newWholeTiers is a cachedTiers whose tiers answer instant queries and metadata
// requests.
func newWholeTiers(t *testing.T) *cachedTiers {
	t.Helper()
	p := newCachedTiers(t)
	p.hot.Handle(answers)
	p.cold.Handle(answers)
	return p
}

// read is a request as a caller makes it. Times are those of the test: what
// stands in the parameters as a duration is so long ago.
func (p *cachedTiers) read(t *testing.T, method, path string, parameters url.Values) asking {
	t.Helper()
	values := url.Values{}
	for name, list := range parameters {
		for _, value := range list {
			if ago, err := time.ParseDuration(value); err == nil && (name == "time" || name == "start" || name == "end") {
				value = promapi.FormatTime(p.now.Add(-ago))
			}
			values.Add(name, value)
		}
	}
	endpoint, err := promapi.MatchEndpoint(path)
	require.NoError(t, err)
	target, body := path+"?"+values.Encode(), ""
	if method == http.MethodPost {
		target, body = path, values.Encode()
	}
	incoming := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	incoming.Header.Set("Accept-Encoding", "gzip")
	if method == http.MethodPost {
		incoming.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request, err := promapi.ReadRequest(incoming, endpoint.Endpoint, path, time.Now())
	require.NoError(t, err)
	query := p.at(t, 0, time.Hour, nil)
	query.Request = request
	return query
}

// outcome asks and says how the cache was used, with the answer.
func outcome(t *testing.T, query asking) (CacheUse, string) {
	t.Helper()
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	text := body(t, response)
	require.Equal(t, http.StatusOK, response.Status, text)
	require.Zero(t, query.engine.held(), "the memory is given back")
	if response.Cache == nil {
		return CacheUse{Result: "not used"}, text
	}
	return *response.Cache, text
}

// kept asks until the answer comes from the cache, and returns it.
func kept(t *testing.T, ask func() asking) string {
	t.Helper()
	var use CacheUse
	_, first := outcome(t, ask())
	require.Eventually(t, func() bool {
		var text string
		use, text = outcome(t, ask())
		require.Equal(t, first, text, "the same to the byte")
		return use.Result == CacheHit
	}, 10*time.Second, 5*time.Millisecond, "it is never kept")
	require.Equal(t, []int{1, 1}, []int{use.Cached, use.Steps})
	return first
}

// old are requests whose answers can be kept.
var old = map[string]struct {
	path       string
	parameters url.Values
}{
	"an instant query": {"/api/v1/query", url.Values{"query": {"max_over_time(up[1h])"}, "time": {"2h"}}},
	"series":           {"/api/v1/series", url.Values{"match[]": {"up", `{job="x"}`}, "start": {"10h"}, "end": {"5h"}}},
	"labels":           {"/api/v1/labels", url.Values{"start": {"10h"}, "end": {"5h"}}},
	"label values":     {"/api/v1/label/job/values", url.Values{"match[]": {"up"}, "start": {"10h"}, "end": {"5h"}}},
}

// with is the parameters with others.
func with(parameters url.Values, more ...string) url.Values {
	changed := url.Values{}
	for name, values := range parameters {
		changed[name] = values
	}
	for i := 0; i < len(more); i += 2 {
		changed[more[i]] = []string{more[i+1]}
		if more[i+1] == "" {
			delete(changed, more[i])
		}
	}
	return changed
}

func TestWholeCache_ServesFixedTimes(t *testing.T) {
	for name, asked := range old {
		t.Run(name, func(t *testing.T) {
			p := newWholeTiers(t)
			kept(t, func() asking { return p.read(t, http.MethodGet, asked.path, asked.parameters) })
			require.Equal(t, "gzip", p.cold.Requests()[0].Header.Get("Accept-Encoding"), "it passes as it comes in")
			_, before := p.asked()
			query := p.read(t, http.MethodGet, asked.path, asked.parameters)
			use, _ := outcome(t, query)
			require.Equal(t, CacheHit, use.Result)
			samples := 0
			if asked.path == "/api/v1/query" {
				samples = 3
			}
			require.Equal(t, samples, use.Samples)
			if asked.path != "/api/v1/label/job/values" {
				// The form of a question is no part of it.
				use, _ = outcome(t, p.read(t, http.MethodPost, asked.path, with(asked.parameters, "timeout", "7s")))
				require.Equal(t, CacheHit, use.Result)
			}
			_, after := p.asked()
			require.Equal(t, before, after, "cold is not asked")
			require.Empty(t, p.hot.Requests())

			// Once past it, and then everything is forgotten.
			query.NoRead = true
			use, _ = outcome(t, query)
			require.Equal(t, CacheUse{Result: CacheBypass, Steps: 1}, use)
			_, after = p.asked()
			require.Equal(t, before+1, after)
			require.NoError(t, p.cache.Clear(t.Context()))
			use, _ = outcome(t, p.read(t, http.MethodGet, asked.path, asked.parameters))
			require.Equal(t, CacheMiss, use.Result)
			require.Contains(t, p.uses, CacheUse{Result: CacheMiss, Steps: 1})
			require.Contains(t, p.uses, CacheUse{Result: CacheHit, Cached: 1, Steps: 1, Samples: samples})
		})
	}
}

func TestWholeCache_KeyHoldsWhatChangesTheAnswer(t *testing.T) {
	for name, asked := range old {
		t.Run(name, func(t *testing.T) {
			p := newWholeTiers(t)
			ask := func(more ...string) asking {
				return p.read(t, http.MethodGet, asked.path, with(asked.parameters, more...))
			}
			first := kept(t, func() asking { return ask() })
			require.NotEqual(t, first, kept(t, func() asking { return ask("limit", "2") }))
			others := map[string]asking{
				"another limit":    ask("limit", "1"),
				"an unknown thing": ask("x", "1"),
				"deduplication":    ask("dedup", "false"),
			}
			tenant, confined := ask(), ask()
			tenant.Scope, confined.ConfinedTo = "b", []string{"shop"}
			others["another tenant"], others["a namespace"] = tenant, confined
			if asked.path == "/api/v1/query" {
				others["another time"] = ask("time", "2h1ms")
				others["another query"] = ask("query", "max_over_time(up[2h])")
				others["lookback"] = ask("lookback_delta", "10m")
			} else {
				others["another start"] = ask("start", "10h1ms")
				others["another end"] = ask("end", "5h1ms")
				others["another selector"] = ask("match[]", "down")
			}
			if name == "label values" {
				others["another label"] = p.read(t, http.MethodGet, "/api/v1/label/pod/values", asked.parameters)
			}
			for change, query := range others {
				use, text := outcome(t, query)
				require.Equal(t, CacheMiss, use.Result, change)
				// The fake does not know who asks.
				require.Equal(t, change == "another tenant" || change == "a namespace", text == first, change)
			}
		})
	}
	t.Run("the times of @ start() and @ end()", func(t *testing.T) {
		p := newWholeTiers(t)
		ask := func(at string) asking {
			return p.read(t, http.MethodGet, "/api/v1/query", url.Values{"query": {"max_over_time(up[1h] @ end())"}, "time": {at}})
		}
		kept(t, func() asking { return ask("2h") })
		use, _ := outcome(t, ask("3h"))
		require.Equal(t, CacheMiss, use.Result)
	})
	t.Run("the set of stores", func(t *testing.T) {
		p := newWholeTiers(t)
		asked := old["labels"]
		ask := func() asking { return p.read(t, http.MethodGet, asked.path, asked.parameters) }
		kept(t, ask)
		p.stores.Store(strings.Replace(bothStores, `"sidecar":[`, `"sidecar":[{"name":"c","lastError":null,"labelSets":[{"cluster":"c"}],"maxTime":9223372036854775807},`, 1))
		p.probes(t, 2)
		use, _ := outcome(t, ask())
		require.Equal(t, CacheMiss, use.Result)
	})
}

func TestWholeCache_KeepsTheAnswerOfTheTier(t *testing.T) {
	p := newWholeTiers(t)
	// Thanos does not know the limit of a query: what it has answered is cut here.
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		request.Form.Del("limit")
		answers(w, request)
	})
	asked := old["an instant query"]
	text := kept(t, func() asking { return p.read(t, http.MethodGet, asked.path, with(asked.parameters, "limit", "1")) })
	require.Contains(t, text, "truncated due to limit")
	require.Equal(t, 1, strings.Count(text, `"metric"`))
}

// An answer is handed on while it comes in, and a large one does not take the
// memory of others.
func TestWholeCache_PassesLargeAnswersOn(t *testing.T) {
	p := newWholeTiers(t)
	p.cache = cache.NewMemory(1 << 20)
	t.Cleanup(p.cache.Close)
	seen := make(chan struct{})
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		_, _ = fmt.Fprint(w, `{"status":"success","data":["`+strings.Repeat("a", 1<<10))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-seen:
		case <-request.Context().Done():
		}
		_, _ = fmt.Fprint(w, strings.Repeat("a", 1<<20)+`"]}`)
	})
	asked := old["labels"]
	for range 2 {
		response, err := do(t.Context(), p.read(t, http.MethodGet, asked.path, asked.parameters))
		require.NoError(t, err)
		n, err := response.Body.Read(make([]byte, 64))
		require.NoError(t, err)
		require.Positive(t, n)
		seen <- struct{}{}
		require.Len(t, body(t, response), 1<<20+1<<10+len(`{"status":"success","data":[""]}`)-n)
		require.Equal(t, CacheMiss, response.Cache.Result)
		p.probes(t, 3)
	}
	require.Zero(t, p.cache.Stats().Entries)
	require.True(t, p.cache.Reserve(1<<19), "what was reserved is given back")
}
