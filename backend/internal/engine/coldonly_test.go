package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

const (
	aSidecar   = `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"a"}],"maxTime":9223372036854775807}]}`
	thanosTold = `{"query.lookback-delta":"5m","query.replica-label":"[]"}`
)

// coldAlone is a fake cold tier without hot, with a cache.
type coldAlone struct {
	*cachedTiers

	only *catalog.ColdOnly
}

// newColdAlone returns one that has new samples every 30 seconds and tells more of itself.
func newColdAlone(t *testing.T, more told) *coldAlone {
	t.Helper()
	p := &coldAlone{cachedTiers: &cachedTiers{splitTiers: &splitTiers{tiers: &tiers{cold: faketier.New()}, engine: New(Options{PieceBytes: 10 << 20})}, cache: cache.NewMemory(10 << 20)}}
	p.now = time.Now().Truncate(time.Minute)
	t.Cleanup(p.cold.Close)
	t.Cleanup(p.cache.Close)
	points := func(value int64) string {
		return fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{},"values":[[1,"%d"]]}]}`, value)
	}
	p.cold.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
		answers := told{
			"/stores": aSidecar, "/status/flags": thanosTold, "/status/config": `"x"`, "/series?": `[{"__name__":"up","cluster":"a"}]`,
			"max(timestamp(": points(time.Now().Unix()), "min(count_over_time(": points(30),
		}
		maps.Copy(answers, more)
		answers.handler()(w, request)
	})
	p.cold.Handle(steps("a", "gaps"))
	base, err := url.Parse(p.cold.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	p.coldClient = catalog.NewTier(catalog.TierOptions{Name: tier.Cold, Client: client, ProbeInterval: 20 * time.Millisecond})
	p.run(t, p.coldClient.Run)
	t.Cleanup(p.coldClient.Close)
	p.only = catalog.NewColdOnly(catalog.ColdOnlyOptions{Cold: p.coldClient, LearnInterval: time.Hour})
	p.run(t, p.only.Run)
	p.coldClient.Wait(t.Context())
	return p
}

// at is a query of some time, as cachedTiers.at.
func (p *coldAlone) at(t *testing.T, later, span time.Duration, more url.Values) asking {
	t.Helper()
	query := p.cachedTiers.at(t, later, span, more)
	query.Hot, query.Catalog, query.ColdOnly = nil, nil, p.only
	return query
}

// reason returns why nothing of a query is kept, when what cold has is known.
func (p *coldAlone) reason(t *testing.T, query asking) (why string) {
	t.Helper()
	require.Eventually(t, func() bool {
		planned, err := plan(t.Context(), query)
		require.NoError(t, err)
		why = planned.NotCached()
		return !strings.Contains(why, "not known yet") && !strings.Contains(why, "lacks one of its stores")
	}, 30*time.Second, 5*time.Millisecond)
	return why
}

func TestColdOnly_StepsAreKept(t *testing.T) {
	p := newColdAlone(t, nil)
	require.Nil(t, p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache, "nothing is known at first")
	require.Empty(t, p.reason(t, p.at(t, 0, 4*time.Hour, nil)))
	require.Eventually(t, func() bool {
		cache := p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache
		return cache != nil && cache.Cached > 220
	}, 30*time.Second, 5*time.Millisecond)
	cached := p.do(t, p.at(t, 0, 4*time.Hour, nil)).Cache
	require.InDelta(t, 241-11, cached.Cached, 3, "all but the freshness of ten minutes and two scrape intervals")
	before := len(p.cold.Requests())
	for i := range 5 {
		later := p.at(t, time.Duration(i)*time.Minute, 4*time.Hour, nil)
		require.Positive(t, p.do(t, later).Cache.Cached)
	}
	for _, request := range p.cold.Requests()[before:] {
		seconds, err := strconv.ParseFloat(request.Parameters.Get("start"), 64)
		require.NoError(t, err)
		require.WithinDuration(t, p.now.Add(-10*time.Minute), time.Unix(int64(seconds), 0), 5*time.Minute, "only new steps are asked for")
	}
}

// Where cold may merge replicas, pieces begin early.
func TestColdOnly_PiecesBeginEarlyWhereColdDeduplicates(t *testing.T) {
	for name, test := range map[string]struct {
		told  told
		more  url.Values
		early bool
	}{
		"no replica labels":                {nil, nil, false},
		"it tells replica labels":          {told{"/status/flags": `{"query.replica-label":"[replica]","query.lookback-delta":"7m"}`}, nil, true},
		"the request has its own":          {nil, url.Values{"replicaLabels[]": {"replica"}}, true},
		"the request does not have it":     {told{"/status/flags": `{"query.replica-label":"[replica]","query.lookback-delta":"7m"}`}, url.Values{"dedup": {"false"}}, false},
		"it does not tell whether it does": {told{"/status/flags": `"x"`}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newColdAlone(t, test.told)
			query := p.at(t, 0, 4*time.Hour, test.more)
			require.Empty(t, p.reason(t, query))
			planned, err := plan(t.Context(), query)
			require.NoError(t, err)
			lead := 0
			if test.early {
				lead = 6
				if strings.Contains(test.told["/status/flags"], "7m") {
					lead = 8
				}
			}
			require.Equal(t, lead, planned.stepwise.lead)
		})
	}
}

func TestColdOnly_NothingDownsampledIsKept(t *testing.T) {
	auto := told{"/status/flags": `{"query.auto-downsampling":"true","query.lookback-delta":"5m"}`}
	instant := told{"/status/flags": `{"query.instant.default.max_source_resolution":"5m","query.lookback-delta":"5m"}`}
	silent := told{"/status/flags": `"x"`}
	const is = "downsampled"
	for name, test := range map[string]struct {
		told     told
		step     string // none for an instant query
		more     url.Values
		expected string
	}{
		"short steps":                           {auto, "600", nil, ""},
		"steps from which on Thanos does":       {auto, "1500", nil, is},
		"just shorter ones":                     {auto, "1499", nil, ""},
		"long steps of a tier that does not":    {nil, "3600", nil, ""},
		"raw data are asked for":                {auto, "3600", url.Values{"max_source_resolution": {"0s"}}, ""},
		"less than the finest":                  {auto, "3600", url.Values{"max_source_resolution": {"299"}}, ""},
		"downsampled data are asked for":        {nil, "60", url.Values{"max_source_resolution": {"5m"}}, is},
		"Thanos is to choose":                   {nil, "3600", url.Values{"max_source_resolution": {"auto"}}, is},
		"Thanos is to choose, for short steps":  {nil, "600", url.Values{"max_source_resolution": {"auto"}}, ""},
		"what is that?":                         {nil, "600", url.Values{"max_source_resolution": {"x"}}, is},
		"it does not tell":                      {silent, "3600", nil, is},
		"it does not tell, and steps are short": {silent, "600", nil, ""},
		"instant":                               {auto, "", nil, ""},
		"instant, downsampled":                  {instant, "", nil, is},
		"instant, raw data are asked for":       {instant, "", url.Values{"max_source_resolution": {"0s"}}, ""},
		"instant, and it does not tell":         {silent, "", nil, is},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newColdAlone(t, test.told)
			more := url.Values{"step": {cmp.Or(test.step, "60")}}
			maps.Copy(more, test.more)
			query := p.at(t, 0, 48*time.Hour, more)
			if test.step == "" {
				instant := url.Values{"query": {"up"}, "time": {promapi.FormatTime(p.now.Add(-24 * time.Hour))}}
				maps.Copy(instant, test.more)
				var err error
				query.Request, err = promapi.NewRequest(promapi.Query, "/api/v1/query", instant, p.now)
				require.NoError(t, err)
			}
			require.Contains(t, p.reason(t, query), test.expected)
			if test.expected == "" {
				require.Empty(t, p.reason(t, query))
			}
		})
	}
}

func TestColdOnly_WholeAnswersAreKept(t *testing.T) {
	p := newColdAlone(t, nil)
	p.cold.Handle(answers)
	read := func(endpoint promapi.Endpoint, path string, parameters url.Values) asking {
		query := p.at(t, 0, time.Hour, nil)
		request, err := promapi.NewRequest(endpoint, path, parameters, p.now)
		require.NoError(t, err)
		query.Request = request
		return query
	}
	ago := func(before time.Duration) string { return promapi.FormatTime(p.now.Add(-before)) }
	for name, test := range map[string]struct {
		query    asking
		expected string // why it is not kept
	}{
		"instant":                {read(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}, "time": {ago(time.Hour)}}), ""},
		"instant, now":           {read(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}}), "may still change"},
		"instant, a while ago":   {read(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}, "time": {ago(5 * time.Minute)}}), "may still change"},
		"instant, of the future": {read(promapi.Query, "/api/v1/query", url.Values{"query": {"up offset -1h"}, "time": {ago(time.Hour)}}), "may still change"},
		"with statistics":        {read(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}, "time": {ago(time.Hour)}, "stats": {"all"}}), "statistics"},
		"series":                 {read(promapi.Series, "/api/v1/series", url.Values{"match[]": {"up"}, "start": {ago(9 * time.Hour)}, "end": {ago(4 * time.Hour)}}), ""},
		"recent series":          {read(promapi.Series, "/api/v1/series", url.Values{"match[]": {"up"}, "start": {ago(9 * time.Hour)}, "end": {ago(2 * time.Hour)}}), "may still change"},
		"series without times":   {read(promapi.Series, "/api/v1/series", url.Values{"match[]": {"up"}}), "no start"},
		"label names":            {read(promapi.Labels, "/api/v1/labels", url.Values{"start": {ago(9 * time.Hour)}, "end": {ago(4 * time.Hour)}}), ""},
		"values":                 {read(promapi.LabelValues, "/api/v1/label/job/values", url.Values{"start": {ago(9 * time.Hour)}, "end": {ago(4 * time.Hour)}}), ""},
		"metadata":               {read(promapi.Metadata, "/api/v1/metadata", url.Values{}), "never kept"},
	} {
		t.Run(name, func(t *testing.T) {
			why := p.reason(t, test.query)
			require.Contains(t, why, test.expected)
			ask := func() string {
				response, err := do(t.Context(), test.query)
				require.NoError(t, err)
				body(t, response)
				if response.Cache == nil {
					return ""
				}
				return response.Cache.Result
			}
			if test.expected != "" {
				for range 3 {
					require.NotEqual(t, CacheHit, ask())
					time.Sleep(30 * time.Millisecond)
				}
				return
			}
			require.Empty(t, why)
			require.Eventually(t, func() bool { return ask() == CacheHit }, 30*time.Second, 5*time.Millisecond)
		})
	}
}

func TestNotCached_SaysWhy(t *testing.T) {
	p := newColdAlone(t, nil)
	both := newCachedTiers(t)
	uncached := p.at(t, 0, 4*time.Hour, nil)
	uncached.Cache = nil
	noHot := p.at(t, 0, 4*time.Hour, nil)
	noHot.ColdOnly = nil
	recent := p.at(t, 0, 4*time.Minute, nil)
	analysed := p.at(t, 0, 4*time.Hour, url.Values{"stats": {"all"}})
	hot := both.at(t, 0, 4*time.Minute, nil)
	hot.Strategy = tier.StrategyRoute
	for name, test := range map[string]struct {
		query    asking
		expected string
	}{
		"it is kept":       {p.at(t, 0, 4*time.Hour, nil), ""},
		"the cache is off": {uncached, "the cache is off"},
		"nothing is known": {noHot, "it is not known up to when"},
		"recent steps":     {recent, "only what ends before"},
		"statistics":       {analysed, "statistics"},
		"hot":              {hot, "hot answers it"},
		"both tiers":       {both.at(t, 0, 4*time.Hour, nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			why := p.reason(t, test.query)
			require.Contains(t, why, test.expected)
			require.Equal(t, test.expected == "", why == "", why)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lost := newColdAlone(t, told{"/stores": `{"sidecar":[{"name":"a","lastError":"gone","labelSets":[{"cluster":"a"}],"maxTime":1}]}`})
	planned, err := plan(ctx, lost.at(t, 0, 4*time.Hour, nil))
	require.NoError(t, err)
	require.NotEmpty(t, planned.NotCached())
}
