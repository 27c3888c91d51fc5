package catalog

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// hotOldest is the oldest sample of hot in the tests of pairs.
const hotOldest = 10_000_000

// pairOf returns a pair of tiers that count as probed and available.
func pairOf(t *testing.T, hot, cold *catalogtest.Scripted, options Options) *Catalog {
	t.Helper()
	options.Hot = NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, hot.URL), ProbeInterval: time.Hour})
	options.Cold = NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, cold.URL), ProbeInterval: time.Hour, ProbeBudget: ownrequest.NewBudget(1, 1<<20)})
	options.Hot.status.Store(&Status{Available: true, Oldest: hotOldest})
	options.Cold.status.Store(&Status{Available: true})
	options.LearnInterval = time.Hour
	p := New(options)
	t.Cleanup(func() { options.Hot.Close(); options.Cold.Close() })
	return p
}

func TestColdState_EndsWhereColdWasSeenToEnd(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	const interval = 30 * time.Second
	for name, test := range map[string]struct {
		newest, lag, coldInterval time.Duration // newest is how old its newest sample was when it was measured
		configured                time.Duration
		expected, held            time.Duration // before now
	}{
		"fresh":                       {newest: 10 * time.Second, expected: 0, held: 70 * time.Second},
		"just not late":               {newest: 65*time.Second - time.Millisecond, expected: 0, held: 125*time.Second - time.Millisecond},
		"late":                        {newest: 65 * time.Second, expected: 125 * time.Second, held: 125 * time.Second},
		"two hours late":              {newest: 2 * time.Hour, expected: 2*time.Hour + time.Minute, held: 2*time.Hour + time.Minute},
		"the lag is longer":           {newest: 65 * time.Second, lag: time.Hour, expected: time.Hour, held: time.Hour},
		"cold has a longer interval":  {newest: 65 * time.Second, coldInterval: time.Minute, expected: 0, held: 185 * time.Second},
		"hot has a longer interval":   {newest: 3 * time.Minute, configured: time.Minute, expected: 5 * time.Minute, held: 5 * time.Minute},
		"cold has a shorter interval": {newest: 2 * time.Minute, coldInterval: time.Second, expected: 3 * time.Minute, held: 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			hot := NewTier(TierOptions{Name: tier.Hot, TierSettings: TierSettings{ScrapeInterval: test.configured}})
			hot.status.Store(&Status{Available: true, ScrapeInterval: interval})
			cold := NewTier(TierOptions{Name: tier.Cold, TierSettings: TierSettings{Lag: test.lag}})
			cold.status.Store(&Status{Available: true})
			p := New(Options{Hot: hot, Cold: cold})
			_, found := p.ColdCompleteUntil(now)
			require.False(t, found, "nothing was measured")
			require.Equal(t, now.Add(-test.lag).UnixMilli(), p.ColdState(now).Newest)
			p.newest.Store(&coldEnd{newest: now.Add(-test.newest).UnixMilli(), measured: now, interval: test.coldInterval})
			require.Equal(t, now.Add(-test.expected).UnixMilli(), p.ColdState(now).Newest)
			held, found := p.ColdCompleteUntil(now)
			require.True(t, found)
			require.Equal(t, now.Add(-test.held).UnixMilli(), held)
		})
	}
}

func TestScrapeInterval_SeenThenLearnedThenAssumed(t *testing.T) {
	hot := NewTier(TierOptions{Name: tier.Hot})
	p := New(Options{Hot: hot, Cold: NewTier(TierOptions{Name: tier.Cold})})
	require.Equal(t, DefaultScrapeInterval, p.ScrapeInterval())
	p.learned.Store(&Snapshot{Hot: Settings{ScrapeInterval: 15 * time.Second}})
	require.Equal(t, 15*time.Second, p.ScrapeInterval())
	hot.status.Store(&Status{ScrapeInterval: 20 * time.Second})
	require.Equal(t, 20*time.Second, p.ScrapeInterval())
}

func TestCatalog_MeasuresColdEnd(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	const query = `max(timestamp(up{cluster="a"}))`
	end := now.Add(-time.Minute)
	cold := catalogtest.NewScripted(t, catalogtest.Answers{{query, catalogtest.VectorOf(end)}})
	p := pairOf(t, catalogtest.NewScripted(t, nil), cold, Options{})
	p.measureColdEnd(t.Context(), now)
	require.Empty(t, cold.Requests(""), "it is not known which series are hot's")
	p.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{InjectedLabels: map[string]string{"cluster": "a"}})})
	p.coldInterval = 15 * time.Second
	p.measureColdEnd(t.Context(), now)
	require.Equal(t, coldEnd{newest: end.UnixMilli(), measured: now, interval: 15 * time.Second}, *p.newest.Load())

	later := now.Add(time.Hour)
	cold.Set(catalogtest.Answers{{query, ""}})
	p.measureColdEnd(t.Context(), later)
	require.Equal(t, now, p.newest.Load().measured, "without an answer the last one stays")
	// Nothing has come in since: cold lags now. What is older than that is not looked for.
	cold.Set(catalogtest.Answers{{query, catalogtest.EmptyVector}})
	p.measureColdEnd(t.Context(), later)
	require.Equal(t, coldEnd{newest: end.UnixMilli(), measured: later, interval: 15 * time.Second}, *p.newest.Load())
	require.Len(t, cold.Requests("query"), 5, "now, and 5, 10, 20 and 40 minutes before")
	cold.Set(catalogtest.Answers{{query, catalogtest.VectorOf(later)}})
	p.options.Cold.status.Store(&Status{})
	p.measureColdEnd(t.Context(), later)
	require.Empty(t, cold.Requests(""), "cold is down")

	// A cold tier that never had any of hot's series has no end.
	cold.Set(catalogtest.Answers{{query, catalogtest.EmptyVector}})
	p = pairOf(t, catalogtest.NewScripted(t, nil), cold, Options{})
	p.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{InjectedLabels: map[string]string{"cluster": "a"}})})
	p.measureColdEnd(t.Context(), now)
	require.Zero(t, p.newest.Load().newest)
}

// Answers of a Prometheus and of a Thanos with two sources.
var (
	hotTold = catalogtest.Answers{
		{"status/config", `{"yaml":"global: {scrape_interval: 15s, evaluation_interval: 20s, external_labels: {cluster: a, replica: r0, prometheus: p0}}\nstorage: {tsdb: {out_of_order_time_window: 10m}}"}`},
		{"status/flags", `{"query.lookback-delta":"5m"}`},
		{"label/cluster/values", `["x"]`}, {"label/", `[]`},
	}
	coldTold = catalogtest.Answers{
		{"status/flags", `{"query.replica-label":"[replica,rule_replica replica]","query.lookback-delta":"4m","query.auto-downsampling":"true","query.instant.default.max_source_resolution":"5m","query.metadata.default-time-range":"1h","query.default-evaluation-interval":"1m"}`},
		{"/series", `[{"__name__":"up","cluster":"a"}]`}, {"[15m]", `{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[41,"1"]]}]}`},
	}
	twoSources = []Store{{LabelSets: []map[string]string{{"cluster": "a", "replica": "r1", "prometheus": "p0"}, {"cluster": "b"}}}}
)

func TestCatalog_Learns(t *testing.T) {
	hot, cold := catalogtest.NewScripted(t, hotTold), catalogtest.NewScripted(t, coldTold)
	p := pairOf(t, hot, cold, Options{ReplicaLabels: []string{"prometheus"}})
	setStores := func(stores []Store) { p.options.Cold.status.Store(&Status{Available: true, Stores: stores}) }
	setStores(twoSources)
	require.True(t, p.ColdDeduplicates())
	p.learn(t.Context())
	learned := p.Snapshot()
	require.Equal(t, []string{"", ""}, []string{learned.Error, learned.AssumedReason})
	require.Equal(t, Settings{
		ExternalLabels: map[string]string{"cluster": "a", "replica": "r0", "prometheus": "p0"}, ScrapeInterval: 15 * time.Second,
		EvaluationInterval: 20 * time.Second, OutOfOrderWindow: 10 * time.Minute, LookbackDelta: 5 * time.Minute, Honored: targets.HonoredLabels{Known: true}, FlagsKnown: true,
	}, learned.Hot)
	require.Equal(t, Settings{
		FlagsKnown: true, ReplicaLabels: []string{"replica", "rule_replica"}, LookbackDelta: 4 * time.Minute, AutoDownsampling: true,
		InstantResolution: 5 * time.Minute, MetadataRange: time.Hour, EvaluationInterval: time.Minute,
	}, learned.Cold)
	require.Equal(t, []string{"prometheus", "replica", "rule_replica"}, learned.ReplicaLabels)
	known := learned.Evidence
	own := map[string]string{"cluster": "a"}
	require.Equal(t, []any{true, true, own, own, []string{"cluster"}}, []any{known.HotLabelsKnown, known.SourcesKnown, known.HotLabels, known.InjectedLabels, known.ConflictingLabels})
	require.Equal(t, []map[string]string{own, {"cluster": "b"}}, known.Sources)
	require.Equal(t, own, known.Distinct)
	require.Equal(t, 40*time.Second, p.coldInterval, "that of cold's own samples")
	require.Contains(t, cold.Requests("/series")[1], "up%7Bcluster%3D%22a%22%7D", "hot's series alone")
	require.Contains(t, hot.Requests("label/cluster")[0], "limit=1&start=0", "all that hot has, and no more than one value")
	require.Empty(t, append(hot.Requests("label/__name__"), cold.Requests("label/__name__")...), "no metric is looked for before a query reads it")

	// A tier that fails or is down leaves what was learned.
	p.learn(t.Context())
	known = p.Snapshot().Evidence
	fail := func(expected string) {
		t.Helper()
		p.learn(t.Context())
		require.Equal(t, expected, p.Snapshot().Error)
		require.Same(t, known, p.Snapshot().Evidence)
	}
	setStores([]Store{})
	fail(errNoStores.Error())
	setStores(twoSources)
	for _, endpoint := range []string{"status/config", "status/flags"} {
		cold.Set(append(catalogtest.Answers{{endpoint, ""}}, coldTold...))
		fail("answered with status 500 (Internal Server Error)")
		cold.Set(coldTold)
		hot.Set(append(catalogtest.Answers{{endpoint, ""}}, hotTold...))
		fail("answered with status 500 (Internal Server Error)")
		hot.Set(hotTold)
	}
	p.options.Hot.status.Store(&Status{})
	fail(errUnavailable.Error())
	p.options.Hot.status.Store(&Status{Available: true})
	p.options.Cold.status.Store(&Status{})
	fail(errUnavailable.Error())
	setStores(twoSources)
	cold.Set(append(catalogtest.Answers{{`up{cluster="a"}`, ""}}, coldTold...))
	p.intervalMeasured = time.Time{}
	p.learn(t.Context())
	require.Empty(t, p.Snapshot().Error)
	require.Zero(t, p.coldInterval, "then that of hot is taken")
}

func TestSince_NothingCoveredMeansTheBeginning(t *testing.T) {
	p := pairOf(t, catalogtest.NewScripted(t, nil), catalogtest.NewScripted(t, nil), Options{})
	p.options.Hot.status.Store(&Status{Available: true, Oldest: tier.NothingCovered})
	require.True(t, p.since().IsZero())
}

func TestLearn_WhatIsAssumedIsSaid(t *testing.T) {
	withConfig := func(config string) catalogtest.Answers {
		return append(catalogtest.Answers{{"status/config", config}}, hotTold[1:]...)
	}
	noLabels := withConfig(`{"yaml":"global: {scrape_interval: 15s}"}`)
	oneSource := []Store{{LabelSets: []map[string]string{{"cluster": "a"}}}}
	for name, test := range map[string]struct {
		hot         catalogtest.Answers
		options     Options
		stores      []Store
		doubt       string
		labels      map[string]string
		labelsKnown bool
	}{
		"everything is told":           {hot: hotTold, stores: twoSources, labels: map[string]string{"cluster": "a", "prometheus": "p0"}, labelsKnown: true},
		"labels by the operator":       {hot: hotTold, stores: twoSources, options: Options{ExternalLabels: map[string]string{"cluster": "b"}}, labels: map[string]string{"cluster": "b"}, labelsKnown: true},
		"the only source":              {hot: noLabels, stores: oneSource, doubt: "cold does not report its sources", labels: map[string]string{}, labelsKnown: true},
		"no labels and two sources":    {hot: noLabels, stores: twoSources, doubt: "hot does not report its external labels", labels: map[string]string{}, labelsKnown: true},
		"no configuration":             {hot: hotTold[1:], stores: twoSources, doubt: "hot does not report its external labels"},
		"labels that are too large":    {hot: withConfig(`{"yaml":"global: {external_labels: {a: ` + strings.Repeat("x", maxLabelBytes) + `}}"}`), stores: twoSources, doubt: "hot does not report its external labels"},
		"declared complete by someone": {hot: noLabels, stores: twoSources, options: Options{Complete: true}, labels: map[string]string{}, labelsKnown: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := pairOf(t, catalogtest.NewScripted(t, test.hot), catalogtest.NewScripted(t, coldTold), test.options)
			p.options.Cold.status.Store(&Status{Available: true, Stores: test.stores})
			p.learn(t.Context())
			learned := p.Snapshot()
			require.Empty(t, learned.Error)
			require.Equal(t, test.doubt == "", learned.AssumedReason == "", learned.AssumedReason)
			require.Contains(t, learned.AssumedReason, test.doubt)
			require.Equal(t, []any{test.labels, test.labelsKnown, test.options.Complete}, []any{learned.Evidence.HotLabels, learned.Evidence.HotLabelsKnown, learned.Evidence.Declared})
		})
	}
}

func TestSettings_ReplicaLabelsThatAreTooLargeDoNotCount(t *testing.T) {
	var found Settings
	found.readFlags(map[string]string{"query.replica-label": "a,b\nc"})
	require.Equal(t, []string{"a", "b", "c"}, found.ReplicaLabels)
	found = Settings{}
	found.readFlags(map[string]string{"query.replica-label": strings.Repeat("x", maxLabelBytes+1)})
	require.Empty(t, found.ReplicaLabels)
}

func TestCannotTell_EndpointThatIsNotServed(t *testing.T) {
	for status, expected := range map[int]bool{300: true, 307: true, 400: true, 401: true, 403: true, 404: true, 405: true, 501: true, 408: false, 422: false, 429: false, 500: false, 502: false, 503: false, 504: false} {
		require.Equal(t, expected, upstream.CannotTell(fmt.Errorf("asked: %w", &upstream.StatusError{Status: status})), status)
	}
	require.True(t, upstream.CannotTell(fmt.Errorf("asked: %w", upstream.ErrNotAnAnswer)))
	require.False(t, upstream.CannotTell(errUnavailable))
}

// What failed is learned again with the next probe, everything else when its time
// has come.
func TestRun_LearnsAgain(t *testing.T) {
	for name, interval := range map[string]time.Duration{"when its time has come": time.Minute, "and not before": time.Hour} {
		t.Run(name, func(t *testing.T) {
			hot, cold := catalogtest.NewScripted(t, append(catalogtest.Answers{{"status/config", ""}}, hotTold...)), catalogtest.NewScripted(t, coldTold)
			synctest.Test(t, func(t *testing.T) {
				c := New(Options{
					LearnInterval: interval,
					Hot:           NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.PipeClient(t, hot.Config.Handler)}),
					Cold:          NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.PipeClient(t, cold.Config.Handler), ProbeInterval: 10 * time.Second}),
				})
				c.options.Hot.status.Store(&Status{Available: true, Oldest: hotOldest})
				c.options.Cold.status.Store(&Status{Available: true, Stores: twoSources})
				c.options.Hot.open()
				c.options.Cold.open()
				require.False(t, c.Probed())
				ctx, stop := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { c.Run(ctx) })
				c.Wait(t.Context())
				require.True(t, c.Probed())
				time.Sleep(15 * time.Second)
				require.Len(t, hot.Requests("status/config"), 2, "what failed is learned again with the next probe")
				require.NotEmpty(t, c.Snapshot().Error)

				hot.Set(hotTold)
				cold.Set(coldTold)
				time.Sleep(10 * time.Second)
				require.Empty(t, c.Snapshot().Error)
				time.Sleep(150 * time.Second)
				require.LessOrEqual(t, len(cold.Requests("timestamp")), 5, "cold's end is measured rarely without queries")
				require.Len(t, hot.Requests("status/config"), 1)
				for range 30 {
					Refresh(t.Context(), c)
					time.Sleep(4 * time.Second)
				}
				require.InDelta(t, map[time.Duration]int{time.Hour: 1, time.Minute: 3}[interval], len(hot.Requests("status/config")), 1)
				stop()
				running.Wait()
			})
		})
	}
}

func TestCatalog_RemembersAnEmptyAnswerForAMinute(t *testing.T) {
	// In a bubble no goroutine may be left behind.
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Hot: NewTier(TierOptions{}), Cold: NewTier(TierOptions{})})
		key, other := promql.Key{1}, promql.Key{2}
		c.RememberEmpty(key)
		time.Sleep(emptyFor - time.Second)
		require.Equal(t, []bool{true, false}, []bool{c.WasEmpty(key), c.WasEmpty(other)})
		time.Sleep(time.Second)
		require.False(t, c.WasEmpty(key))
	})
}
