package engine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// cachedTiers are two fakes that hold the same series, with a cache.
type cachedTiers struct {
	*splitTiers
	cache  *cache.Cache
	stores atomic.Value // what cold tells of its stores
	now    time.Time
	mutex  sync.Mutex
	uses   []CacheUse
}

// used notes how a query has used the cache.
func (p *cachedTiers) used(use CacheUse) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.uses = append(p.uses, use)
}

const bothStores = `{"store":[{"name":"a","lastError":null,"labelSets":[{"cluster":"a"}],"maxTime":9223372036854775807}],
	"sidecar":[{"name":"b","lastError":null,"labelSets":[{"cluster":"b"}],"maxTime":9223372036854775807}]}`

func newCachedTiers(t *testing.T) *cachedTiers {
	t.Helper()
	return newCachedTiersThat(t, told{})
}

// newCachedTiersThat is one whose cold tells more of itself.
func newCachedTiersThat(t *testing.T, cold told) *cachedTiers {
	t.Helper()
	p := &cachedTiers{splitTiers: &splitTiers{tiers: &tiers{hot: faketier.New(), cold: faketier.New()}, engine: New(Options{PieceBytes: 10 << 20})}, cache: cache.NewMemory(10 << 20)}
	p.now = time.Now().Truncate(time.Minute)
	p.stores.Store(bothStores)
	t.Cleanup(p.hot.Close)
	t.Cleanup(p.cold.Close)
	t.Cleanup(p.cache.Close)
	newest := func() string {
		return fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Unix())
	}
	p.hot.HandleProbes(told{"/label/__name__": `["up"]`, "/label/cluster": `[]`, "/status/config": `{"yaml":"global: {evaluation_interval: 30s, external_labels: {cluster: b}}"}`}.handler())
	p.cold.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
		text, _ := p.stores.Load().(string)
		answers := told{"/stores": text, "max(timestamp(": newest(), "/label/__name__": `["other"]`}
		maps.Copy(answers, cold)
		answers.handler()(w, request)
	})
	p.hot.Handle(steps("a", "gaps"))
	p.cold.Handle(steps("a", "gaps"))
	newTier := func(name tier.Name, address string) *catalog.Tier {
		base, err := url.Parse(address)
		require.NoError(t, err)
		client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
		require.NoError(t, err)
		made := catalog.NewTier(catalog.TierOptions{Name: name, Client: client, ProbeInterval: 20 * time.Millisecond})
		p.run(t, made.Run)
		t.Cleanup(made.Close)
		return made
	}
	p.hotClient, p.coldClient = newTier(tier.Hot, p.hot.URL), newTier(tier.Cold, p.cold.URL)
	p.both = catalog.New(catalog.Options{Hot: p.hotClient, Cold: p.coldClient, LearnInterval: time.Hour})
	p.run(t, p.both.Run)
	p.both.Wait(t.Context())
	require.Empty(t, p.both.Snapshot().Error)
	require.Eventually(t, func() bool { _, found := p.both.ColdCompleteUntil(time.Now()); return found }, 10*time.Second, 5*time.Millisecond)
	return p
}

func (*cachedTiers) run(t *testing.T, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// at is a query as it is asked some time after the first, for so many hours.
func (p *cachedTiers) at(t *testing.T, later, span time.Duration, more url.Values) asking {
	t.Helper()
	end := p.now.Add(later)
	parameters := url.Values{"query": {"up"}, "start": {promapi.FormatTime(end.Add(-span))}, "end": {promapi.FormatTime(end)}, "step": {"60"}}
	for name, values := range more {
		parameters[name] = values
	}
	request, err := promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, end)
	require.NoError(t, err)
	return asking{
		Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: p.both, Threshold: 15 * time.Minute, Timeout: 5 * time.Second,
		Freshness: 10 * time.Minute, engine: p.engine, Strategy: tier.StrategySplit,
		Cache: p.cache, Scope: "a", OnUse: p.used,
	}
}

// do asks and compares with what one server would have answered.
func (p *cachedTiers) do(t *testing.T, query asking) *Response {
	t.Helper()
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, whole(query, "a", "gaps"), body(t, response))
	require.Zero(t, p.engine.held())
	return response
}

// warm asks until the answer is kept.
func (p *cachedTiers) warm(t *testing.T, query asking) {
	t.Helper()
	require.Eventually(t, func() bool { return p.do(t, query).Cache.Result == CacheHit }, 10*time.Second, 5*time.Millisecond, "it is never kept")
}

func (p *cachedTiers) asked() (hot, cold int) { return len(p.hot.Requests()), len(p.cold.Requests()) }

func TestStepCache_ServesStepsThatCannotChange(t *testing.T) {
	p := newCachedTiers(t)
	first := p.do(t, p.at(t, 0, 4*time.Hour, nil))
	require.Equal(t, []any{CacheMiss, 0, 241}, []any{first.Cache.Result, first.Cache.Cached, first.Cache.Steps})
	p.warm(t, p.at(t, 0, 4*time.Hour, nil))
	_, cold := p.asked()
	for _, later := range []time.Duration{0, time.Minute, 2 * time.Minute, 5 * time.Minute} {
		response := p.do(t, p.at(t, later, 4*time.Hour, nil))
		require.Equal(t, []any{tier.Both, tier.ReasonSplit, CacheHit}, []any{response.Tier, response.Reason, response.Cache.Result})
		require.Positive(t, response.Cache.Samples)
	}
	_, now := p.asked()
	require.Equal(t, cold, now, "cold is not asked again: hot holds the few steps that are missing")

	// A longer and a shorter range, and the past.
	require.Equal(t, CachePartial, p.do(t, p.at(t, 0, 6*time.Hour, nil)).Cache.Result)
	require.Equal(t, CacheHit, p.do(t, p.at(t, 0, 2*time.Hour, nil)).Cache.Result)
	require.Equal(t, CacheHit, p.do(t, p.at(t, -time.Hour, time.Hour, nil)).Cache.Result)
	require.NotEmpty(t, p.uses)
}

func TestStepCache_ServesRoutedQueries(t *testing.T) {
	p := newCachedTiers(t)
	ask := func(later time.Duration) asking {
		query := p.at(t, later, 4*time.Hour, url.Values{"limit": {"5"}})
		query.Strategy = tier.StrategyRoute
		return query
	}
	require.Equal(t, CacheMiss, p.do(t, ask(0)).Cache.Result)
	require.Eventually(t, func() bool { return p.do(t, ask(0)).Cache.Cached > 0 }, 10*time.Second, 5*time.Millisecond)
	response := p.do(t, ask(3*time.Minute))
	require.Equal(t, []any{tier.Cold, tier.ReasonAtOrAboveThreshold, CacheHit}, []any{response.Tier, response.Reason, response.Cache.Result})
	last := p.cold.Requests()[len(p.cold.Requests())-1]
	require.Greater(t, last.Parameters.Get("start"), promapi.FormatTime(p.now.Add(-30*time.Minute)), "only the new steps are asked for")
	require.Empty(t, p.hot.Requests())
}

func TestStepCache_KeyHoldsWhatChangesValues(t *testing.T) {
	p := newCachedTiers(t)
	p.warm(t, p.at(t, 0, 4*time.Hour, nil))
	for name, change := range map[string]func() asking{
		"another query":     func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"query": {"up "}}) },
		"another step":      func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"step": {"30"}}) },
		"another phase":     func() asking { return p.at(t, time.Second, 4*time.Hour, nil) },
		"another parameter": func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"lookback_delta": {"10m"}}) },
		"an unknown one":    func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"engine": {"x"}}) },
		"other eyes": func() asking {
			query := p.at(t, 0, 4*time.Hour, nil)
			query.Scope = "b"
			return query
		},
		"a namespace": func() asking {
			query := p.at(t, 0, 4*time.Hour, nil)
			query.ConfinedTo = []string{"shop"}
			return query
		},
	} {
		require.Equal(t, CacheMiss, p.do(t, change()).Cache.Result, name)
	}
	// The times of @ start() and @ end() are those of the whole.
	frozen := url.Values{"query": {"up - up @ start()"}}
	p.warm(t, p.at(t, 0, 4*time.Hour, frozen))
	require.Equal(t, CacheMiss, p.do(t, p.at(t, time.Minute, 4*time.Hour, frozen)).Cache.Result)
}

func TestStepCache_CallerCanBypassIt(t *testing.T) {
	p := newCachedTiers(t)
	p.warm(t, p.at(t, 0, 4*time.Hour, nil))
	query := p.at(t, 0, 4*time.Hour, nil)
	query.NoRead = true
	_, before := p.asked()
	require.Equal(t, CacheBypass, p.do(t, query).Cache.Result)
	_, after := p.asked()
	require.Equal(t, before+1, after)
	require.NoError(t, p.cache.Clear(t.Context()))
	require.Equal(t, CacheMiss, p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache.Result)
}

func TestStepCache_KeepsNothingThatWasAskedBeforeAClear(t *testing.T) {
	p := newCachedTiers(t)
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		steps("a", "gaps")(w, request)
		assert.NoError(t, p.cache.Clear(request.Context()))
	})
	p.never(t, func() asking { return p.at(t, 0, 4*time.Hour, nil) })
}

func TestStepCache_KeepsNothingOfACallerWithNoStore(t *testing.T) {
	p := newCachedTiers(t)
	p.never(t, func() asking {
		query := p.at(t, 0, 4*time.Hour, nil)
		query.NoStore = true
		return query
	})
}

func TestStepCache_LeavesOutTheOutOfOrderWindow(t *testing.T) {
	p := newCachedTiersThat(t, told{"/status/config": `{"yaml":"storage: {tsdb: {out_of_order_time_window: 1h}}"}`})
	query := func() asking {
		query := p.at(t, 0, 4*time.Hour, nil)
		query.Strategy = tier.StrategyRoute
		return query
	}
	require.Eventually(t, func() bool { return p.do(t, query()).Cache.Cached > 0 }, 10*time.Second, 5*time.Millisecond)
	cached := p.do(t, query()).Cache.Cached
	require.LessOrEqual(t, cached, 3*60+1)
	require.Greater(t, cached, 3*60-5)
}

// never asks, gives what should not be kept the time to be kept, and asks again.
func (p *cachedTiers) never(t *testing.T, ask func() asking) {
	t.Helper()
	for range 3 {
		response, err := do(t.Context(), ask())
		require.NoError(t, err)
		_ = body(t, response)
		if response.Cache != nil { // It could have used the cache.
			require.Contains(t, []any{CacheMiss, CacheNever}, response.Cache.Result)
			require.Zero(t, response.Cache.Cached)
		}
		p.probes(t, 3)
	}
	require.Zero(t, p.cache.Stats().Entries)
}

// probes waits for some probes of cold, as queries ask for them: without queries, they are rare.
func (p *cachedTiers) probes(t *testing.T, count int) {
	t.Helper()
	for range count {
		checked := p.coldClient.Status().CheckedAt
		require.Eventually(t, func() bool {
			catalog.Refresh(t.Context(), nil, p.coldClient)
			return p.coldClient.Status().CheckedAt.After(checked)
		}, 10*time.Second, time.Millisecond)
	}
}

func TestStepCache_RejectsAnswersThatMayChange(t *testing.T) {
	t.Run("an answer with a warning", func(t *testing.T) {
		p := newCachedTiers(t)
		p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
			recorder := &recorded{header: http.Header{}}
			steps("a")(recorder, request)
			_, _ = fmt.Fprint(w, strings.TrimSuffix(recorder.text.String(), "}")+`,"warnings":["a store is gone"]}`)
		})
		p.never(t, func() asking { return p.at(t, 0, 4*time.Hour, nil) })
	})
	t.Run("an answer to which the gateway adds a warning", func(t *testing.T) {
		p := newCachedTiersThat(t, told{"/status/flags": `{"query.replica-label":"[replica]"}`})
		p.never(t, func() asking {
			query := p.at(t, 0, 4*time.Hour, url.Values{"query": {"resets(up[5m])"}})
			query.Forced = tier.Cold
			return query
		})
	})
	t.Run("an info that Thanos puts among the warnings is kept with the answer", func(t *testing.T) {
		p := newCachedTiers(t)
		info := `,"warnings":["PromQL info: metric might not be a counter"]}`
		p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
			recorder := &recorded{header: http.Header{}}
			steps("a")(recorder, request)
			_, _ = fmt.Fprint(w, strings.TrimSuffix(recorder.text.String(), "}")+info)
		})
		p.hot.Handle(steps("a"))
		require.Eventually(t, func() bool {
			response, err := do(t.Context(), p.at(t, 0, 4*time.Hour, nil))
			require.NoError(t, err)
			require.Contains(t, body(t, response), info)
			return response.Cache.Result == CacheHit
		}, 10*time.Second, 5*time.Millisecond)
	})
}

func TestStepCache_RejectsAnswersThatMayBeIncomplete(t *testing.T) {
	t.Run("an answer while a store is missing", func(t *testing.T) {
		p := newCachedTiers(t)
		p.stores.Store(strings.Replace(bothStores, `"lastError":null`, `"lastError":"gone"`, 1))
		p.probes(t, 2)
		p.never(t, func() asking { return p.at(t, 0, 4*time.Hour, nil) })
	})
	t.Run("an answer after which a store is missing", func(t *testing.T) {
		p := newCachedTiers(t)
		gone := strings.Replace(bothStores, `"lastError":null`, `"lastError":"gone"`, 1)
		p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
			steps("a", "gaps")(w, request)
			p.stores.Store(gone)
		})
		require.Equal(t, CacheMiss, p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache.Result)
		p.probes(t, 3)
		p.stores.Store(bothStores)
		p.probes(t, 2)
		require.Equal(t, CacheMiss, p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache.Result)
	})
	t.Run("what is asked of other stores", func(t *testing.T) {
		p := newCachedTiers(t)
		p.warm(t, p.at(t, 0, 4*time.Hour, nil))
		p.stores.Store(strings.Replace(bothStores, `"sidecar":[`, `"sidecar":[{"name":"c","lastError":null,"labelSets":[{"cluster":"c"}],"maxTime":9223372036854775807},`, 1))
		p.probes(t, 2)
		require.Equal(t, CacheMiss, p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache.Result)
	})
	t.Run("what reaches into the future", func(t *testing.T) {
		p := newCachedTiers(t)
		p.never(t, func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"query": {"up offset -4h"}}) })
	})
	t.Run("what is fresh", func(t *testing.T) {
		p := newCachedTiers(t)
		query := func() asking {
			query := p.at(t, 0, 4*time.Hour, nil)
			query.Strategy, query.Freshness = tier.StrategyRoute, time.Hour
			return query
		}
		require.Eventually(t, func() bool { return p.do(t, query()).Cache.Cached > 0 }, 10*time.Second, 5*time.Millisecond)
		cached := p.do(t, query()).Cache.Cached
		require.LessOrEqual(t, cached, 3*60+1)
		require.Greater(t, cached, 3*60-5, "and the time in which cold may still be written to")
	})
	t.Run("what a source of cold has not told yet", func(t *testing.T) {
		p := newCachedTiers(t)
		p.stores.Store(strings.Replace(bothStores, `9223372036854775807`, fmt.Sprint(time.Now().Add(-2*time.Hour).UnixMilli()), 1))
		p.probes(t, 2)
		query := func() asking { return p.at(t, 0, 4*time.Hour, url.Values{"query": {`{job="x"}`}}) }
		require.Eventually(t, func() bool { return p.do(t, query()).Cache.Cached > 0 }, 10*time.Second, 5*time.Millisecond)
		require.LessOrEqual(t, p.do(t, query()).Cache.Cached, 2*60-10+1)
	})
	t.Run("what was put together from parts of which one had failed", func(t *testing.T) {
		p := newCachedTiers(t)
		p.hot.Handle(faketier.Status(503, ""))
		query := p.at(t, 0, 4*time.Hour, nil)
		response := p.do(t, query)
		require.Equal(t, tier.ReasonHotFailed, response.Reason)
		p.probes(t, 3)
		p.hot.Handle(steps("a", "gaps"))
		require.Eventually(t, func() bool { return p.hotClient.Status().Available }, 10*time.Second, time.Millisecond)
		require.Equal(t, CacheMiss, p.do(t, query).Cache.Result)
	})
}

// recorded keeps an answer.
type recorded struct {
	header http.Header
	text   strings.Builder
}

func (r *recorded) Header() http.Header            { return r.header }
func (r *recorded) WriteHeader(int)                {}
func (r *recorded) Write(text []byte) (int, error) { return r.text.Write(text) }
