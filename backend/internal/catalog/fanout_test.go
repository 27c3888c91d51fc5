package catalog

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

type set = map[string]string

// storesOf returns a store for each label set.
func storesOf(sets ...set) (stores []Store) {
	for _, each := range sets {
		stores = append(stores, Store{Kind: "sidecar", LabelSets: []map[string]string{each}, MinTime: hotOldest, MaxTime: math.MaxInt64, Servers: 1})
	}
	return stores
}

// listing is the status of a tier that lists its stores.
func listing(stores []Store, sources ...SourceStatus) *Status {
	return &Status{Available: true, Stores: stores, Sources: sources, sets: setsOf(stores)}
}

// flagsOf are the answers of a Thanos that removes replica labels.
func flagsOf(replicaLabels string) catalogtest.Answers {
	return catalogtest.Answers{{"status/flags", fmt.Sprintf(`{"query.replica-label":%q}`, replicaLabels)}, {"/series", `[]`}}
}

func TestLearn_HotThatListsItsStores(t *testing.T) {
	const removesReplica = "[replica]"
	a0, a1, b, c := set{"cluster": "a", "replica": "0"}, set{"cluster": "a", "replica": "1"}, set{"cluster": "b"}, set{"cluster": "c"}
	for name, test := range map[string]struct {
		hotFlags, coldFlags string
		hot, cold           []set
		sources, unlike     []map[string]string
		refused             bool
		others              evidence.Group
	}{
		"both deduplicate":             {removesReplica, removesReplica, []set{a0, a1, b}, []set{a0, a1, b, c}, []map[string]string{{"cluster": "a"}, b}, nil, false, `cluster!~"a|b"`},
		"neither deduplicates":         {"", "", []set{a0, b}, []set{a0, a1, b}, []map[string]string{a0, b}, nil, false, "cluster!~\"a|b\"\ncluster=\"a\",replica!=\"0\""},
		"cold alone deduplicates":      {"", removesReplica, []set{a0, a1, b}, []set{a0, a1, b}, []map[string]string{{"cluster": "a"}, b}, []map[string]string{{"cluster": "a"}}, false, `cluster!~"a|b"`},
		"hot alone deduplicates":       {removesReplica, "", []set{a0, b}, []set{a0, b, c}, []map[string]string{{"cluster": "a"}, b}, []map[string]string{{"cluster": "a"}}, false, `cluster!~"a|b"`},
		"hot alone, without effect":    {"[other]", "", []set{b}, []set{b, c}, []map[string]string{b}, nil, false, `cluster!="b"`},
		"cold has none of its sources": {"", "", []set{a0, b}, []set{c}, []map[string]string{a0, b}, nil, true, "cluster!~\"a|b\"\ncluster=\"a\",replica!=\"0\""},
		"cold lacks one":               {"", "", []set{b, {"cluster": "z"}}, []set{b, c}, []map[string]string{b, {"cluster": "z"}}, nil, false, `cluster!~"b|z"`},
	} {
		t.Run(name, func(t *testing.T) {
			hot, cold := catalogtest.NewScripted(t, flagsOf(test.hotFlags)), catalogtest.NewScripted(t, flagsOf(test.coldFlags))
			p := pairOf(t, hot, cold, Options{ExternalLabels: set{"not": "asked"}})
			p.options.Hot.status.Store(listing(storesOf(test.hot...)))
			p.options.Cold.status.Store(&Status{Available: true, Stores: storesOf(test.cold...)})
			p.learn(t.Context())
			learned := p.Snapshot()
			require.Empty(t, learned.Error+learned.AssumedReason)
			known := learned.Evidence
			require.ElementsMatch(t, test.sources, known.HotSources)
			for _, source := range known.Unlike {
				require.Contains(t, test.unlike, source)
			}
			require.Equal(t, []any{len(test.unlike) > 0, test.refused, test.others}, []any{len(known.Unlike) > 0, known.Refusal != tier.Note{}, learned.groupOfOthers()})
			require.Empty(t, known.InjectedLabels, "its series carry them")
			require.False(t, p.hasNewSource())
			p.options.Hot.status.Store(listing(storesOf(test.hot[1:]...)))
			require.True(t, p.hasNewSource(), "hot has fewer sources now")
		})
	}
}

func TestLearn_HotThatListsItsStoresAndAColdThatDoesNot(t *testing.T) {
	for name, test := range map[string]struct {
		values   string // of the label in cold
		expected []map[string]string
		refused  bool
	}{
		"more":          {`["a","b","c"]`, []map[string]string{{"cluster": "a"}, {"cluster": "b"}, {}, {"cluster": "c"}}, false},
		"one is absent": {`["b"]`, []map[string]string{{"cluster": "b"}, {}}, false},
		"none":          {`["x"]`, []map[string]string{{}, {"cluster": "x"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hot := catalogtest.NewScripted(t, flagsOf(""))
			cold := catalogtest.NewScripted(t, append(catalogtest.Answers{{"label/cluster", test.values}}, flagsOf("")...))
			p := pairOf(t, hot, cold, Options{})
			p.options.Hot.status.Store(listing(storesOf(set{"cluster": "a"}, set{"cluster": "b"})))
			p.learn(t.Context())
			known := p.Snapshot().Evidence
			require.True(t, known.SourcesKnown)
			require.Equal(t, test.expected, known.Sources)
			require.Equal(t, test.refused, known.Refusal != tier.Note{})
		})
	}
}

// selecting returns selectors as a request has them.
func selecting(t *testing.T, texts ...string) func() ([]promql.Selector, error) {
	t.Helper()
	var list []promql.Selector
	for _, text := range texts {
		selector, err := promql.ParseSelector(text)
		require.NoError(t, err)
		list = append(list, selector)
	}
	return func() ([]promql.Selector, error) { return list, nil }
}

func TestOf_TheStateOfTheSourcesThatAreRead(t *testing.T) {
	p := pairOf(t, catalogtest.NewScripted(t, nil), catalogtest.NewScripted(t, nil), Options{})
	require.Same(t, p, p.Of(nil), "a Prometheus is one source")
	stores := storesOf(set{"cluster": "a"}, set{"cluster": "b"}, set{"cluster": "c"}, set{"cluster": "d"})
	sources := sourceStates(stores, nil)
	for i := range sources {
		sources[i].IsFollowed, sources[i].Available, sources[i].Oldest = true, true, hotOldest+int64(i)
	}
	sources[2].Notes, sources[2].Oldest = []tier.Note{tier.PublicNote("a store is missing")}, tier.NothingCovered
	sources[3].Available = false
	status := listing(stores, sources...)
	status.summarize()
	p.options.Hot.status.Store(status)
	p.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{}), hotSets: setsOf(stores)})
	now := time.Now()
	for selector, expected := range map[string]tier.State{
		`up{cluster="a"}`:    {Available: true, Oldest: hotOldest},
		`up{cluster=~"a|b"}`: {Available: true, Oldest: hotOldest + 1},
		`up{cluster="c"}`:    {Available: true, Oldest: tier.NothingCovered, Notes: sources[2].Notes},
		`up{cluster="d"}`:    {Oldest: hotOldest + 3},
		`up`:                 {Oldest: tier.NothingCovered, Notes: sources[2].Notes},
	} {
		expected.Configured, expected.Newest = true, now.UnixMilli()
		require.Equal(t, expected, p.Of(selecting(t, selector)).HotState(now), selector)
	}
	require.Same(t, p.Of(selecting(t, `up{cluster="a"}`)), p.Of(selecting(t, `x{cluster="a"}`)), "views are kept")
	require.Same(t, p, p.Of(selecting(t, `up{cluster="z"}`)), "nothing of hot is read")
	both := p.Of(selecting(t, `up{cluster="a"}`, `up{cluster="b"}`))
	require.Equal(t, int64(hotOldest+1), both.HotState(now).Oldest, "all selectors count")
	require.Equal(t, int64(hotOldest), p.since().Add(time.Hour).UnixMilli())

	// A store that is forgotten, or new, is not covered before the sources are learned again.
	p.options.Hot.status.Store(listing(stores[:1], sources[:1]...))
	require.Equal(t, tier.NothingCovered, p.Of(selecting(t, `up{cluster="a"}`)).HotState(now).Oldest)
	p.options.Hot.status.Store(&Status{Available: true})
	require.Equal(t, tier.NothingCovered, p.Of(selecting(t, `up{cluster="a"}`)).HotState(now).Oldest)
}

func TestChoose_FollowsTheSourcesThatQueriesRead(t *testing.T) {
	var inUse sourcesInUse
	var sources []SourceStatus
	key := func(i int) string { return fmt.Sprintf(`{cluster="%02d"}`, i) }
	for i := range scopesFollowed + 4 {
		sources = append(sources, SourceStatus{key: key(i)})
	}
	now := time.Now()
	require.Len(t, inUse.choose(sources, now), scopesFollowed)
	require.False(t, inUse.use([]string{key(0)}, now))
	require.True(t, inUse.use([]string{key(10)}, now.Add(time.Second)), "it is not followed yet")
	followed := inUse.choose(sources, now)
	require.Contains(t, followed, key(0))
	require.Contains(t, followed, key(10), "it takes the place of one that is not used")
	for i := range scopesFollowed {
		inUse.use([]string{key(i)}, now.Add(time.Minute))
	}
	followed = inUse.choose(sources, now.Add(2*time.Minute))
	require.Contains(t, followed, key(10), "what is followed and used stays")
	require.Len(t, followed, scopesFollowed)
	followed = inUse.choose(sources, now.Add(sourceUnusedFor+2*time.Second))
	require.NotContains(t, followed, key(10), "others are used, and it is not any more")
	require.LessOrEqual(t, len(inUse.used), scopesFollowed)
}

// A Thanos that does not list its stores any more may have lost one. A server that never does is no Thanos.
func TestProbe_HotThatStopsListingItsStores(t *testing.T) {
	stores := catalogtest.Answers{{"/stores", `{"sidecar":[{"labelSets":[{"cluster":"a"}],"minTime":1700000000000,"maxTime":9223372036854775807}]}`}}
	answers := catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}, {"/query", catalogtest.EmptyVector}, {"/values", `[]`}}
	told := catalogtest.NewScripted(t, append(stores, answers...))
	hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, told.URL), ProbeInterval: time.Hour})
	hot.probe(t.Context())
	require.True(t, hot.ListsStores())
	told.Set(append(catalogtest.Answers{{"/stores", ""}}, answers...))
	hot.probe(t.Context())
	require.Equal(t, []any{false, storesUnreadable}, []any{hot.Status().Available, hot.Status().Error})
	told.Set(append(stores, answers...))
	hot.probe(t.Context())
	require.True(t, hot.Status().Available)
}
