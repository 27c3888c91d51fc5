package catalog

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestKindOf_WhoWritesTheSamplesOfASource(t *testing.T) {
	live := time.Now().Add(-2 * time.Hour).UnixMilli()
	of := func(kinds ...string) (stores []Store) {
		for _, kind := range kinds {
			stores = append(stores, Store{Kind: kind, Servers: 1, MinTime: live})
		}
		return stores
	}
	for name, test := range map[string]struct {
		stores   []Store
		expected sourceKind
		live     int64
	}{
		"a sidecar":                             {of("sidecar"), sidecarSource, 0},
		"a sidecar and its blocks":              {of("store", "sidecar"), sidecarSource, live},
		"blocks":                                {of("store"), blockSource, 0},
		"blocks of two gateways":                {of("store", "parquet-gateway"), blockSource, 0},
		"a ruler":                               {of("rule"), ownSource, 0},
		"a ruler and its blocks":                {of("rule", "store"), ownSource, live},
		"a receiver":                            {of("receive"), receiverSource, 0},
		"a receiver and its blocks":             {of("receive", "store"), receiverSource, live},
		"a receiver with the labels of another": {[]Store{{Kind: "receive", Servers: 2}}, hiddenSource, 0},
		"two sidecars with the same labels":     {[]Store{{Kind: "sidecar", Servers: 2}}, sidecarSource, 0},
		"a query behind the query":              {of("query"), hiddenSource, 0},
		"that, and a sidecar":                   {of("query", "sidecar"), hiddenSource, 0},
		"a kind that is not known":              {of("new"), hiddenSource, 0},
	} {
		kind, since := kindOf(test.stores)
		require.Equal(t, []any{test.expected, test.live}, []any{kind, since}, name)
	}
}

func TestUntil_WhenASourceIsComplete(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	before := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	measured := func(newest, settled, hole int64) measuredEnd {
		return measuredEnd{at: now, newest: newest, settled: settled, hole: hole, interval: 30 * time.Second}
	}
	const unknown = 1
	for name, test := range map[string]struct {
		kind     sourceKind
		end      measuredEnd
		expected int64
	}{
		"a sidecar":                            {sidecarSource, measured(before(0), 0, 0), before(time.Minute)},
		"that takes remote writes of the past": {sidecarSource, measured(before(5*time.Hour), 0, 0), before(5*time.Hour + time.Minute)},
		"a receiver":                           {receiverSource, measured(before(0), 0, 0), before(time.Hour + time.Minute)},
		"a receiver that is hours behind":      {receiverSource, measured(before(5*time.Hour), 0, 0), before(6*time.Hour + time.Minute)},
		"blocks":                               {blockSource, measured(before(2*time.Hour), before(2*time.Hour), 0), before(2*time.Hour + time.Minute)},
		"blocks of which the newest ones are loaded first": {blockSource, measured(before(2*time.Hour), before(8*time.Hour), 0), before(8*time.Hour + time.Minute)},
		"blocks that were looked at once":                  {blockSource, measured(before(2*time.Hour), 0, 0), unknown},
		"blocks end before the samples of the server":      {sidecarSource, measured(before(0), 0, before(4*time.Hour)), before(4 * time.Hour)},
		"a ruler":              {ownSource, measuredEnd{}, notBounded},
		"who writes is hidden": {hiddenSource, measuredEnd{}, before(24 * time.Hour)},
		"it is gone":           {blockSource, measured(0, 0, 0), notBounded},
		"it was gone an hour ago, and may be back": {blockSource, measuredEnd{at: now.Add(-time.Hour)}, unknown},
		"it was measured an hour ago":              {sidecarSource, measuredEnd{at: now.Add(-time.Hour), newest: before(time.Hour)}, before(time.Hour)},
		"not measured":                             {sidecarSource, measuredEnd{}, unknown},
		"an error":                                 {sidecarSource, measuredEnd{at: now, newest: before(0), err: http.ErrHandlerTimeout}, unknown},
	} {
		source := storedSource{kind: test.kind, scope: `cluster="a"`}
		until, err := source.until(&test.end, now)
		if test.expected == unknown {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, test.expected, until, name)
	}
}

// thanosOf is a tier that lists stores, in front of a server with samples. It notes what it is asked.
type thanosOf struct {
	*httptest.Server

	mutex  sync.Mutex
	told   map[string]string // data by the end of the path; empty for 404
	proxy  http.Handler
	asked  []string
	failed bool
	lost   string // the value of job of which a store was lost
}

func newThanosOf(t *testing.T, told map[string]string, now time.Time, parts ...catalogtest.Wrote) *thanosOf {
	t.Helper()
	base, err := url.Parse(catalogtest.MemoryOf(t, now, parts...))
	require.NoError(t, err)
	of := &thanosOf{told: told, proxy: httputil.NewSingleHostReverseProxy(base)}
	of.Server = httptest.NewServer(of)
	t.Cleanup(of.Close)
	return of
}

// ServeHTTP implements http.Handler.
func (s *thanosOf) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	query, _ := url.QueryUnescape(request.URL.RawQuery)
	isProbe := strings.Contains(query, "vector(1)") || strings.Contains(request.URL.Path, "/stores") || strings.Contains(request.URL.Path, "/runtimeinfo") || strings.Contains(request.URL.Path, "/buildinfo")
	if !isProbe {
		s.asked = append(s.asked, request.URL.Path+"?"+query)
	}
	failed, lost := s.failed, s.lost
	s.mutex.Unlock()
	switch {
	case lost != "" && strings.HasSuffix(request.URL.Path, "/stores"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, strings.Replace(s.told["/stores"], `"b","lastError":null`, `"b","lastError":"gone"`, 1))
		return
	case lost != "" && strings.HasSuffix(request.URL.Path, "/query_range") && strings.Contains(query, lost):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, catalogtest.EmptyMatrix)
		return
	case lost != "" && strings.Contains(query, lost):
		_, _ = fmt.Fprint(w, `{"status":"success","data":[]}`)
		return
	}
	for path, data := range s.told {
		if strings.HasSuffix(request.URL.Path, path) {
			if data == "" {
				http.NotFound(w, request)
				return
			}
			_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
			return
		}
	}
	if failed && !isProbe {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.proxy.ServeHTTP(w, request)
}

// questions returns what was asked since the last call, besides probes.
func (s *thanosOf) questions() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	list := s.asked
	s.asked = nil
	return list
}

// coldOnlyOf returns what is known of a tier, with its probes running.
func coldOnlyOf(t *testing.T, address string, options ColdOnlyOptions, settings TierSettings) *ColdOnly {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	options.Cold = NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: 20 * time.Millisecond, TierSettings: settings})
	options.LearnInterval = 10 * time.Second
	made := NewColdOnly(options)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { options.Cold.Run(ctx) })
	running.Go(func() { made.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); options.Cold.Close() })
	options.Cold.Wait(t.Context())
	return made
}

// require waits until what cold has of a selector is known, and returns until when it has everything, as an age.
func (c *ColdOnly) require(t *testing.T, now time.Time, selector string) (age time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		c.Refresh(t.Context())
		until, err := c.CompleteUntil(selecting(t, selector), time.Now())
		if err != nil {
			return false
		}
		age = now.Sub(time.UnixMilli(until))
		return true
	}, 30*time.Second, 10*time.Millisecond)
	return age
}

const sidecarsOfThanos = `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"job":"a"}],"minTime":1,"maxTime":9223372036854775807}],
	"store":[{"name":"b","lastError":null,"labelSets":[{"job":"late"},{"job":"gone"}],"minTime":1,"maxTime":%[1]d}],
	"receive":[{"name":"c","lastError":null,"labelSets":[{"job":"receiver"}],"minTime":1,"maxTime":9223372036854775807}]}`

func newThanosWithSources(t *testing.T, now time.Time) *thanosOf {
	t.Helper()
	return newThanosOf(t, map[string]string{"/stores": fmt.Sprintf(sidecarsOfThanos, now.UnixMilli()), "/flags": `{"query.replica-label":"[replica]","query.lookback-delta":"5m"}`, "/config": ""}, now,
		catalogtest.Wrote{From: 30 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a", "receiver"}},
		catalogtest.Wrote{From: 30 * time.Hour, To: 3 * time.Hour, Jobs: []string{"late"}},
		catalogtest.Wrote{From: 40 * time.Hour, To: 30 * time.Hour, Jobs: []string{"gone"}})
}

func TestColdOnly_FollowsTheSourcesThatAreRead(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	thanos := newThanosWithSources(t, now)
	c := coldOnlyOf(t, thanos.URL, ColdOnlyOptions{}, TierSettings{})
	time.Sleep(200 * time.Millisecond)
	require.Subset(t, []string{"/api/v1/status/flags?"}, thanos.questions(), "nobody has asked for anything")
	require.Contains(t, c.KeptState(time.Now()).Why.Detail, "no query has needed it")
	require.Empty(t, thanos.questions(), "looking at the health asks for nothing")
	require.InDelta(t, 0, c.require(t, now, `up{job="a"}`).Minutes(), 2.5)
	for _, asked := range thanos.questions() {
		require.True(t, strings.Contains(asked, "/status/") || strings.Contains(asked, `job="a"`), "only one source is read: %s", asked)
		require.True(t, strings.Contains(asked, "/status/") || strings.Contains(asked, "dedup=false"), asked)
	}
	require.Equal(t, []string{"replica"}, c.Snapshot().ReplicaLabels)
	require.True(t, c.Deduplicates())
	require.InDelta(t, 181, c.require(t, now, `up{job="late"}`).Minutes(), 1.5)
	require.InDelta(t, 61, c.require(t, now, `up{job="receiver"}`).Minutes(), 2.5)
	require.Less(t, c.require(t, now, `up{job="gone"}`), time.Minute, "it ended more than a day ago")
	require.InDelta(t, 181, c.require(t, now, `up`).Minutes(), 1.5, "of all, the one that is furthest behind counts")
	state := c.KeptState(time.Now())
	require.Equal(t, FreshnessMeasured, state.Freshness)
	require.InDelta(t, 181, now.Sub(time.UnixMilli(state.Until)).Minutes(), 1.5)
	require.Equal(t, []string{`the source {job="late"} of the cold tier gets its samples late`, "one source of the cold tier gets its samples late"}, []string{state.Why.For(true), state.Why.For(false)})
}

func TestColdOnly_KnowsNothingOfASourceThatCannotBeMeasured(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	thanos := newThanosWithSources(t, now)
	c := coldOnlyOf(t, thanos.URL, ColdOnlyOptions{}, TierSettings{})
	c.require(t, now, `up{job="a"}`)
	thanos.mutex.Lock()
	thanos.failed = true
	thanos.mutex.Unlock()
	require.Eventually(t, func() bool {
		c.Refresh(t.Context())
		_, err := c.CompleteUntil(selecting(t, `up{job="late"}`), time.Now())
		require.Error(t, err)
		return strings.Contains(err.Error(), "could not be measured")
	}, 30*time.Second, 10*time.Millisecond)
	thanos.mutex.Lock()
	thanos.failed = false
	thanos.mutex.Unlock()
	require.InDelta(t, 181, c.require(t, now, `up{job="late"}`).Minutes(), 1.5)
}

func TestColdOnly_TierThatDoesNotListItsStores(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	const config, flags = `{"yaml":"global: {scrape_interval: 30s}"}`, `{"storage.tsdb.min-block-duration":"2h","web.enable-remote-write-receiver":"%t"}`
	for name, test := range map[string]struct {
		config, flags string
		declared      bool
		lag           time.Duration
		to            time.Duration // of the samples
		expected      time.Duration
		freshness     string
		window        time.Duration // of out-of-order samples
	}{
		"a Prometheus":                             {config: config, flags: fmt.Sprintf(flags, false), expected: time.Minute, freshness: FreshnessMeasured},
		"one that takes remote writes":             {config: config, flags: fmt.Sprintf(flags, true), expected: 61 * time.Minute, freshness: FreshnessMeasured},
		"one with a large head":                    {config: config, flags: `{"storage.tsdb.min-block-duration":"6h","web.enable-otlp-receiver":"true"}`, expected: 181 * time.Minute, freshness: FreshnessMeasured},
		"one with an out-of-order window":          {config: `{"yaml":"storage: {tsdb: {out_of_order_time_window: 40m}}"}`, flags: fmt.Sprintf(flags, true), expected: 21 * time.Minute, freshness: FreshnessMeasured, window: 40 * time.Minute},
		"by a feature flag":                        {config: config, flags: `{"storage.tsdb.min-block-duration":"2h","enable-feature":"x,remote-write-receiver"}`, expected: 61 * time.Minute, freshness: FreshnessMeasured},
		"one that is behind":                       {config: config, flags: fmt.Sprintf(flags, false), to: 5 * time.Hour, expected: 301 * time.Minute, freshness: FreshnessMeasured},
		"one that was behind for more than a day":  {config: config, flags: fmt.Sprintf(flags, false), to: 28 * time.Hour, expected: 24 * time.Hour, freshness: FreshnessMeasured},
		"one that reads others":                    {config: `{"yaml":"remote_read: [{url: http://x}]"}`, flags: fmt.Sprintf(flags, false), expected: 24 * time.Hour, freshness: FreshnessDeclared},
		"nothing is told, and nothing is declared": {expected: 24 * time.Hour, freshness: FreshnessDeclared},
		"the freshness is declared":                {declared: true, expected: time.Minute, freshness: FreshnessDeclared},
		"the lag is declared":                      {lag: 2 * time.Hour, expected: 2 * time.Hour, freshness: FreshnessDeclared},
		"it is further behind than that":           {lag: 2 * time.Hour, to: 4 * time.Hour, expected: 241 * time.Minute, freshness: FreshnessDeclared},
		"another configuration":                    {config: config, expected: 24 * time.Hour, freshness: FreshnessDeclared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.to == 0 {
				test.to = catalogtest.Ahead
			}
			told := map[string]string{"/stores": "", "/flags": test.flags, "/config": test.config}
			server := newThanosOf(t, told, now, catalogtest.Wrote{From: 30 * time.Hour, To: test.to, Jobs: []string{"a"}})
			c := coldOnlyOf(t, server.URL, ColdOnlyOptions{IsDeclared: test.declared}, TierSettings{Lag: test.lag})
			require.InDelta(t, test.expected.Minutes(), c.require(t, now, "up").Minutes(), 2.5)
			state := c.KeptState(time.Now())
			require.Equal(t, test.freshness, state.Freshness)
			require.InDelta(t, (test.expected + test.window).Minutes(), now.Sub(time.UnixMilli(state.Until)).Minutes(), 2.5)
			isTold := test.freshness == FreshnessMeasured || test.declared || test.lag > 0
			require.Equal(t, !isTold, strings.Contains(state.Why.Detail, "set routing.freshness"), state.Why.Detail)
			for _, asked := range server.questions() {
				require.NotContains(t, asked, "dedup")
			}
		})
	}
}

// A store gateway may end before the samples of the sidecar begin.
func TestColdOnly_HoleBetweenBlocksAndTheServer(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	stores := fmt.Sprintf(`{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"job":"a"}],"minTime":%[1]d,"maxTime":9223372036854775807}],
		"store":[{"name":"b","lastError":null,"labelSets":[{"job":"a"}],"minTime":1,"maxTime":%[1]d}]}`, now.Add(-2*time.Hour).UnixMilli())
	flags := `{"query.lookback-delta":"5m"}`
	for end, expected := range map[time.Duration]time.Duration{2 * time.Hour: 0, 5 * time.Hour: 5 * time.Hour, 27 * time.Hour: 0} {
		t.Run(fmt.Sprint("blocks end ", end, " before now"), func(t *testing.T) {
			thanos := newThanosOf(t, map[string]string{"/stores": stores, "/flags": flags, "/config": ""}, now,
				catalogtest.Wrote{From: 2 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}}, catalogtest.Wrote{From: 30 * time.Hour, To: end, Jobs: []string{"a"}})
			c := coldOnlyOf(t, thanos.URL, ColdOnlyOptions{}, TierSettings{})
			require.InDelta(t, expected.Minutes(), c.require(t, now, "up").Minutes(), 2.5)
		})
	}
}

func TestColdOnly_ManySources(t *testing.T) {
	now := time.Now()
	c := coldOnlyOf(t, newThanosWithSources(t, now).URL, ColdOnlyOptions{}, TierSettings{})
	stores := make([]Store, mostSourcesOfCold+1)
	for i := range stores {
		stores[i] = Store{Kind: "sidecar", Servers: 1, LabelSets: []map[string]string{{"cluster": fmt.Sprint(i)}}}
	}
	list, err := selecting(t, "up")()
	require.NoError(t, err)
	_, err = c.storesUntil(stores, list, now)
	require.ErrorContains(t, err, "at most 500")
	require.Empty(t, c.inUse(now), "none of them is followed")
	_, err = c.storesUntil(stores[1:], list, now)
	require.ErrorContains(t, err, "not known yet")
	require.Len(t, c.due(now), mostSourcesOfCold, "all are looked at first")
	for _, source := range c.sources {
		source.known = measuredEnd{at: now.Add(-time.Minute), newest: 1}
	}
	require.Len(t, c.due(now), endsPerLook, "and a few at a time after that")
	require.Empty(t, c.due(now.Add(11*time.Minute)), "nobody reads them any more")
	require.Len(t, c.sources, mostSourcesOfCold)
	c.due(now.Add(2 * time.Hour))
	require.Empty(t, c.sources)
}

// A Thanos that has just lost a store answers without a warning, as if its sources were gone.
func TestColdOnly_ALostStoreMakesNoSourceGone(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	thanos := newThanosWithSources(t, now)
	c := coldOnlyOf(t, thanos.URL, ColdOnlyOptions{}, TierSettings{})
	c.require(t, now, `up{job="a"}`)
	lose := func(job string) {
		thanos.mutex.Lock()
		defer thanos.mutex.Unlock()
		thanos.lost = job
	}
	lose("late")
	for ends := time.Now().Add(time.Second); time.Now().Before(ends); time.Sleep(10 * time.Millisecond) {
		c.Refresh(t.Context())
		_, err := c.CompleteUntil(selecting(t, `up{job="late"}`), time.Now())
		require.Error(t, err)
	}
	lose("")
	require.InDelta(t, 181, c.require(t, now, `up{job="late"}`).Minutes(), 1.5)
}

func TestColdOnly_QueriesWaitForOldSettingsOnly(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	thanos := newThanosWithSources(t, now)
	var c *ColdOnly
	quickest := time.Hour // A busy machine may keep one of them waiting.
	for range 5 {
		c = coldOnlyOf(t, thanos.URL, ColdOnlyOptions{}, TierSettings{})
		began := time.Now()
		c.Refresh(t.Context())
		quickest = min(quickest, time.Since(began))
	}
	require.Less(t, quickest, ownrequest.Patience/2, "the first query does not wait")
	c.require(t, now, `up{job="a"}`)
	old := *c.Snapshot()
	old.LearnedAt = time.Now().Add(-time.Hour)
	c.learned.Store(&old)
	_, err := c.CompleteUntil(selecting(t, `up{job="a"}`), time.Now())
	require.ErrorContains(t, err, settingsNotKnown)
	require.Eventually(t, func() bool {
		c.Refresh(t.Context())
		return time.Since(c.Snapshot().LearnedAt) < 30*time.Minute
	}, 30*time.Second, time.Millisecond)
}
