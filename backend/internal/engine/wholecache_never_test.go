package engine

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// neverKept asks, gives what should not be kept the time to be kept, and asks
// again. used is set where the cache was looked at, at least.
func (p *cachedTiers) neverKept(t *testing.T, used bool, ask func() asking) {
	t.Helper()
	for range 2 {
		response, err := do(t.Context(), ask())
		require.NoError(t, err)
		_ = body(t, response)
		require.Equal(t, used, response.Cache != nil)
		if used {
			require.Equal(t, CacheUse{Result: CacheMiss, Steps: 1}, *response.Cache)
		}
		p.probes(t, 2)
	}
	require.Zero(t, p.cache.Stats().Entries)
}

func TestWholeCache_RejectsRequestsWhoseAnswersMayChange(t *testing.T) {
	instant, labels := old["an instant query"], old["labels"]
	for name, asked := range map[string]struct {
		path       string
		parameters url.Values
	}{
		"a query about now":                        {instant.path, with(instant.parameters, "time", "")},
		"one about now that reads the past only":   {instant.path, with(instant.parameters, "time", "", "query", "max_over_time(up[1h] offset 3h)")},
		"one of the last minutes":                  {instant.path, with(instant.parameters, "time", "9m")},
		"the same that reads the past only":        {instant.path, with(instant.parameters, "time", "9m", "query", "max_over_time(up[1h] offset 3h)")},
		"one that reaches into the future":         {instant.path, with(instant.parameters, "query", "max_over_time(up[1h] offset -4h)")},
		"one that names a time in the future":      {instant.path, with(instant.parameters, "query", fmt.Sprintf("max_over_time(up[1h] @ %d)", time.Now().Add(time.Hour).Unix()))},
		"one that is not understood":               {instant.path, with(instant.parameters, "query", "up keep_metric_names")},
		"one that asks for statistics":             {instant.path, with(instant.parameters, "stats", "all")},
		"one that asks for an analysis":            {instant.path, with(instant.parameters, "analyze", "true")},
		"labels without an end":                    {labels.path, with(labels.parameters, "end", "")},
		"labels without a beginning":               {labels.path, with(labels.parameters, "start", "")},
		"labels that a Prometheus has no block of": {labels.path, with(labels.parameters, "end", "3h")},
		"exemplars": {"/api/v1/query_exemplars", url.Values{"query": {"up"}, "start": {"10h"}, "end": {"5h"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newWholeTiers(t)
			p.neverKept(t, false, func() asking {
				query := p.read(t, http.MethodGet, asked.path, asked.parameters)
				query.Forced = tier.Cold
				return query
			})
		})
	}
}

func TestWholeCache_RejectsAnswersThatMayChange(t *testing.T) {
	instant, labels := old["an instant query"], old["labels"]
	for name, text := range map[string]string{
		"an answer with a warning":        `{"status":"success","data":["a"],"warnings":["a store is gone"]}`,
		"one that was cut by limit":       `{"status":"success","data":["a"],"warnings":["results truncated due to limit"]}`,
		"half an answer":                  `{"status":"success","data":["a"]`,
		"an error that claims to be none": `{"status":"error","errorType":"execution","error":"no"}`,
		"something else":                  `{hello`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newWholeTiers(t)
			p.cold.Handle(faketier.Status(http.StatusOK, text))
			p.neverKept(t, true, func() asking { return p.read(t, http.MethodGet, labels.path, labels.parameters) })
		})
	}
	t.Run("an answer to which the gateway adds a warning", func(t *testing.T) {
		p := newCachedTiersThat(t, told{"/status/flags": `{"query.replica-label":"[replica]"}`})
		p.cold.Handle(answers)
		p.neverKept(t, false, func() asking {
			return p.read(t, http.MethodGet, instant.path, with(instant.parameters, "query", "resets(up[1h])"))
		})
	})
	t.Run("an info that Thanos puts among the warnings is kept with the answer", func(t *testing.T) {
		p := newWholeTiers(t)
		p.cold.Handle(faketier.Status(http.StatusOK, `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]},"warnings":["PromQL info: no counter"]}`))
		require.Contains(t, kept(t, func() asking { return p.read(t, http.MethodGet, instant.path, instant.parameters) }), "no counter")
	})
	t.Run("an error", func(t *testing.T) {
		p := newWholeTiers(t)
		p.cold.Handle(faketier.Status(http.StatusUnprocessableEntity, `{"status":"error","errorType":"execution","error":"no"}`))
		p.neverKept(t, false, func() asking { return p.read(t, http.MethodGet, instant.path, instant.parameters) })
	})
	t.Run("an answer that breaks off", func(t *testing.T) {
		p := newWholeTiers(t)
		p.cold.Handle(faketier.CutOff)
		response, err := do(t.Context(), p.read(t, http.MethodGet, labels.path, labels.parameters))
		require.NoError(t, err)
		_, err = response.Body.Read(make([]byte, 1<<10))
		for err == nil {
			_, err = response.Body.Read(make([]byte, 1<<10))
		}
		require.ErrorContains(t, err, "unexpected EOF")
		require.NoError(t, response.Body.Close())
		p.probes(t, 3)
		require.Zero(t, p.cache.Stats().Entries)
	})
	t.Run("what the caller does not want kept", func(t *testing.T) {
		p := newWholeTiers(t)
		for range 2 {
			query := p.read(t, http.MethodGet, labels.path, labels.parameters)
			query.NoRead, query.NoStore = true, true
			use, _ := outcome(t, query)
			require.Equal(t, CacheBypass, use.Result)
			p.probes(t, 3)
		}
		require.Zero(t, p.cache.Stats().Entries)
	})
}

func TestWholeCache_RejectsAnswersThatMayBeIncomplete(t *testing.T) {
	instant, labels := old["an instant query"], old["labels"]
	t.Run("an answer while a store is missing", func(t *testing.T) {
		p := newWholeTiers(t)
		p.stores.Store(strings.Replace(bothStores, `"lastError":null`, `"lastError":"gone"`, 1))
		p.probes(t, 2)
		p.neverKept(t, false, func() asking { return p.read(t, http.MethodGet, labels.path, labels.parameters) })
	})
	t.Run("an answer after which a store is missing", func(t *testing.T) {
		p := newWholeTiers(t)
		p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
			answers(w, request)
			p.stores.Store(strings.Replace(bothStores, `"lastError":null`, `"lastError":"gone"`, 1))
		})
		use, _ := outcome(t, p.read(t, http.MethodGet, labels.path, labels.parameters))
		require.Equal(t, CacheMiss, use.Result)
		p.probes(t, 3)
		p.stores.Store(bothStores)
		p.probes(t, 2)
		require.Zero(t, p.cache.Stats().Entries)
	})
	t.Run("what a source of cold has not told yet", func(t *testing.T) {
		p := newWholeTiers(t)
		p.stores.Store(strings.Replace(bothStores, `9223372036854775807`, fmt.Sprint(time.Now().Add(-150*time.Minute).UnixMilli()), 1))
		p.probes(t, 2)
		p.neverKept(t, false, func() asking {
			return p.read(t, http.MethodGet, instant.path, with(instant.parameters, "query", `max_over_time({job="x"}[1h])`))
		})
	})
	t.Run("what may still come in out of order", func(t *testing.T) {
		p := newWholeTiers(t)
		p.neverKept(t, false, func() asking {
			query := p.read(t, http.MethodGet, instant.path, instant.parameters)
			query.Freshness = 3 * time.Hour
			return query
		})
	})
	t.Run("an answer of cold after hot has failed, or had nothing", func(t *testing.T) {
		for _, hot := range []http.HandlerFunc{faketier.Status(http.StatusBadGateway, ""), faketier.Status(http.StatusOK, `{"status":"success","data":{"resultType":"vector","result":[]}}`)} {
			p := newWholeTiers(t)
			p.hot.Handle(hot)
			p.neverKept(t, false, func() asking {
				return p.read(t, http.MethodGet, instant.path, with(instant.parameters, "query", "up"))
			})
		}
	})
}

func TestWholeCache_NeedsTwoTiers(t *testing.T) {
	p := newWholeTiers(t)
	asks := map[string]func() asking{"a range query": func() asking { return p.at(t, -2*time.Hour, 4*time.Hour, nil) }}
	for name, asked := range old {
		asks[name] = func() asking { return p.read(t, http.MethodGet, asked.path, asked.parameters) }
	}
	both := func(w http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/query_range") {
			steps("a")(w, request)
			return
		}
		answers(w, request)
	}
	p.hot.Handle(both)
	p.cold.Handle(both)
	for name, ask := range asks {
		for _, only := range tier.Names() {
			for range 2 {
				query := ask()
				query.Catalog = nil
				if only == tier.Hot {
					query.Cold = nil
				} else {
					query.Hot = nil
				}
				use, _ := outcome(t, query)
				require.Equal(t, "not used", use.Result, name)
				p.probes(t, 2)
			}
		}
	}
	require.Zero(t, p.cache.Stats().Entries)
}
