package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// namesServer is a tier that has some metric names, of which some are in other sources. It
// counts the requests for them.
type namesServer struct {
	mutex         sync.Mutex
	names, others []string
	aged          []string // of others, without samples of the last half hour
	delay         time.Duration
	status        int
	warnings      string // an answer's list of them
	requests      []string
}

func (s *namesServer) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	delay, status := s.delay, s.status
	match := request.URL.Query().Get("match[]")
	s.requests = append(s.requests, request.URL.Path+" "+match)
	s.mutex.Unlock()
	select {
	case <-time.After(delay):
	case <-request.Context().Done():
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	named := s.names
	if strings.Contains(match, "!=") {
		named = s.others
		start, _ := strconv.ParseFloat(request.URL.Query().Get("start"), 64)
		if time.Since(time.UnixMilli(int64(start*1000))) > 30*time.Minute {
			named = slices.Concat(s.others, s.aged)
		}
	}
	list := []string{}
	for _, name := range named {
		if match == "" || regexp.MustCompile(`["|]`+name+`["|]`).MatchString(match) {
			list = append(list, name)
		}
	}
	var data any = list
	if strings.HasSuffix(request.URL.Path, "/series") {
		series := []map[string]string{}
		for _, name := range list[:min(1, len(list))] {
			series = append(series, map[string]string{"__name__": name})
		}
		data = series
	}
	body, _ := json.Marshal(data) // It cannot fail.
	_, _ = fmt.Fprintf(w, `{"status":"success","data":%s,"warnings":[%s]}`, body, s.warnings)
}

// change changes the server, and forgets the requests.
func (s *namesServer) change(change func(*namesServer)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change(s)
	s.requests = nil
}

// count returns the number of requests so far.
func (s *namesServer) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.requests)
}

// namesWorld is a catalog over two such tiers, in a bubble of synctest. Their probes do not run.
type namesWorld struct {
	*Catalog
	hot, cold *namesServer
}

func inNamesWorld(t *testing.T, test func(t *testing.T, w *namesWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hot := &namesServer{names: []string{"a", "b", "c", "shared"}}
		cold := &namesServer{names: []string{"a", "b", "c", "shared", "elsewhere"}, others: []string{"shared", "elsewhere"}}
		w, stop := newNamesWorld(t, hot, cold, nil)
		test(t, w)
		stop()
	})
}

// newNamesWorld returns a catalog over two tiers, and a function that stops its looks.
func newNamesWorld(t *testing.T, hot, cold *namesServer, store *evidence.Store) (w *namesWorld, stop func()) {
	t.Helper()
	newTier := func(name tier.Name, server *namesServer) *Tier {
		return NewTier(TierOptions{
			Name: name, Client: catalogtest.PipeClient(t, server), ProbeInterval: 5 * time.Second, LearnInterval: time.Minute, Evidence: store, EvidenceKey: promql.KeyOf(string(name)),
		})
	}
	w = &namesWorld{hot: hot, cold: cold, Catalog: New(Options{Hot: newTier(tier.Hot, hot), Cold: newTier(tier.Cold, cold)})}
	w.options.Hot.status.Store(&Status{Available: true, Oldest: time.Now().Add(-14 * 24 * time.Hour).UnixMilli()})
	w.options.Cold.status.Store(&Status{Available: true, Stores: twoSources})
	lab := map[string]string{"cluster": "lab"}
	w.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{
		HotLabels: lab, HotLabelsKnown: true, InjectedLabels: lab, Distinct: lab, SourcesKnown: true, Sources: []map[string]string{lab, {"cluster": "other"}},
	})})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.options.Hot.names.Run(ctx) })
	running.Go(func() { w.options.Cold.names.Run(ctx) })
	return w, func() { cancel(); running.Wait() }
}

// read returns the completeness of hot for a query of the last hour, or of a longer time.
func (w *namesWorld) read(t *testing.T, back time.Duration, texts ...string) (tier.Completeness, string) {
	t.Helper()
	needed := w.Snapshot().Evidence.Requires(promql.KeyOf(texts...), func() (list []promql.Selector, err error) {
		for _, text := range texts {
			selector, err := promql.ParseSelector(text)
			require.NoError(t, err)
			list = append(list, selector)
		}
		return list, nil
	})
	now := time.Now()
	is, why := w.Completeness(t.Context(), needed, now.Add(-back).UnixMilli(), now.UnixMilli())
	return is, why.Detail
}

func (w *namesWorld) requireComplete(t *testing.T, back time.Duration, texts ...string) {
	t.Helper()
	is, why := w.read(t, back, texts...)
	require.Equal(t, tier.Complete, is, why)
}

func TestEvidence_IsGatheredForWhatIsRead(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		time.Sleep(time.Hour)
		require.Zero(t, w.hot.count()+w.cold.count(), "nothing is read, so nothing is requested")
		w.requireComplete(t, time.Hour, `a`, `b{x="y"}`)
		// The look for the first name may begin before the second name is known.
		for _, request := range w.hot.requests {
			require.Regexp(t, `^/api/v1/label/__name__/values {__name__=("a"|"b"|~"a\|b")}$`, request)
		}
		for _, request := range w.cold.requests {
			require.Regexp(t, `^/api/v1/series {__name__=("a"|"b"|~"a\|b"),cluster!="lab"}$`, request)
		}
		known := w.cold.count()
		require.LessOrEqual(t, known, 2)
		w.requireComplete(t, time.Minute, `b`, `a`)
		require.Equal(t, known, w.cold.count(), "it is known")
		w.requireComplete(t, 30*time.Hour, `a`)
		require.Equal(t, known+1, w.cold.count(), "that is a longer time")
		w.requireComplete(t, 24*time.Hour, `a`)
		require.Equal(t, known+1, w.cold.count())

		is, why := w.read(t, time.Hour, `a`, `shared`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, "another source than hot has the metric shared too", why)
		is, why = w.read(t, time.Hour, `elsewhere`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, "hot has no metric elsewhere", why)
		before := w.cold.count()
		w.requireComplete(t, time.Hour, `shared{cluster="lab"}`)
		require.Equal(t, before, w.cold.count(), "it names all of hot's external labels")
	})
}

func TestEvidence_IsNotGatheredForWhatHotCannotAnswer(t *testing.T) {
	for name, status := range map[string]*Status{
		"hot is down":               {Oldest: 0},
		"its coverage is unknown":   {Available: true, Oldest: tier.NothingCovered},
		"it covers nothing of that": {Available: true, Oldest: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()},
	} {
		t.Run(name, func(t *testing.T) {
			inNamesWorld(t, func(t *testing.T, w *namesWorld) {
				w.options.Hot.status.Store(status)
				is, why := w.read(t, time.Hour, `a`)
				require.Equal(t, tier.Incomplete, is)
				require.Contains(t, why, "not known yet")
				require.Zero(t, w.cold.count())
			})
		})
	}
}

func TestEvidence_AbsenceIsRenewedWhileInUse(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.requireComplete(t, time.Hour, `a`, `b`, `c`)
		w.cold.change(func(*namesServer) {})
		w.hot.change(func(*namesServer) {})
		for range 12 {
			time.Sleep(5 * time.Second)
			w.requireComplete(t, time.Hour, `a`)
		}
		require.InDelta(t, 8, w.cold.count(), 4, "at most one request per probe interval, for all names")
		require.Contains(t, w.cold.requests[0], `{__name__=~"a|b|c",cluster!="lab"}`)
		require.Zero(t, w.hot.count(), "presence is not renewed")

		w.cold.change(func(s *namesServer) { s.others = append(s.others, "b") })
		time.Sleep(10 * time.Second) // the probe interval and 5 s
		is, _ := w.read(t, time.Hour, `b`)
		require.Equal(t, tier.Incomplete, is, "another source has it since")
		w.requireComplete(t, time.Hour, `a`)
		w.cold.change(func(s *namesServer) { s.aged = append(s.aged, "c") })
		for range 3 {
			time.Sleep(30 * time.Second)
			is, _ = w.read(t, time.Hour, `c`)
		}
		require.Equal(t, tier.Incomplete, is, "another source has old samples of it since")
		w.cold.change(func(s *namesServer) { s.others = nil })
		time.Sleep(23 * time.Hour)
		is, _ = w.read(t, time.Hour, `b`)
		require.Equal(t, tier.Incomplete, is, "presence counts for a day")
		require.LessOrEqual(t, w.cold.count(), 10*60/4, "names that are not read are not renewed after ten minutes")
		time.Sleep(2 * time.Hour)
		w.requireComplete(t, time.Hour, `b`)
	})
}

func TestEvidence_AfterAPauseItIsRenewedFirst(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		for _, pause := range []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour} {
			w.cold.change(func(s *namesServer) { s.others = []string{"shared"} })
			w.requireComplete(t, time.Hour, `a`, `b`)
			time.Sleep(pause)
			require.LessOrEqual(t, w.cold.count(), 2, "nothing is renewed that nobody reads")
			w.cold.change(func(s *namesServer) { s.others = []string{"a"} })
			is, _ := w.read(t, time.Hour, `a`)
			require.Equal(t, tier.Incomplete, is, "another source has it for a while")
			w.requireComplete(t, time.Hour, `b`)
			require.LessOrEqual(t, w.cold.count(), 3)
			time.Sleep(25 * time.Hour)
		}
	})
}

func TestEvidence_SlowTierCostsNoQueryMoreThanTheWait(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.cold.change(func(s *namesServer) { s.delay = 10 * time.Second })
		began := time.Now()
		is, why := w.read(t, time.Hour, `a`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, "it is not known yet whether another source has the metric a", why)
		require.Equal(t, evidenceWait, time.Since(began))
		time.Sleep(10 * time.Second)
		w.requireComplete(t, time.Hour, `a`)
		w.cold.change(func(*namesServer) {})
		for range 20 {
			time.Sleep(time.Minute)
			w.requireComplete(t, time.Hour, `a`)
		}
		require.LessOrEqual(t, w.cold.count(), 12, "each renewal takes ten seconds, and the next one comes a hundred seconds later")
	})
}

func TestEvidence_FailingTierIsLeftAlone(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.requireComplete(t, time.Hour, `a`)
		w.cold.change(func(s *namesServer) { s.status = http.StatusServiceUnavailable })
		for range 9 {
			time.Sleep(time.Minute)
			w.requireComplete(t, time.Hour, `a`)
			is, _ := w.read(t, time.Hour, `b`)
			require.Equal(t, tier.Incomplete, is, "nothing is known of it")
		}
		stats := w.options.Cold.names.Stats(`cluster!="lab"`, time.Now())
		require.Equal(t, []int{2, 1}, []int{stats.InUse, stats.Missing})
		require.Equal(t, "answered with status 503 (Service Unavailable)", stats.Error)
		require.Less(t, w.cold.count(), 20, "the pauses get longer")
		time.Sleep(2 * time.Minute)
		is, _ := w.read(t, time.Hour, `a`)
		require.Equal(t, tier.Incomplete, is, "evidence that is not renewed does not count for ever")

		w.cold.change(func(s *namesServer) { s.status = 0 })
		time.Sleep(2 * time.Minute)
		w.requireComplete(t, time.Hour, `a`, `b`)
		require.Zero(t, w.options.Cold.names.Stats(`cluster!="lab"`, time.Now()).Missing)
	})
}

func TestEvidence_PartialAnswers(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.requireComplete(t, time.Hour, `a`)
		w.cold.change(func(s *namesServer) { s.warnings = `"one of the stores is down"` })
		is, _ := w.read(t, time.Hour, `b`)
		require.Equal(t, tier.Incomplete, is, "the store that is down may have it")
		require.LessOrEqual(t, w.cold.count(), 2, "the query does not ask again and again")
		time.Sleep(time.Hour)
		is, _ = w.read(t, time.Hour, `a`)
		require.Equal(t, tier.Incomplete, is)
		is, _ = w.read(t, time.Hour, `shared`)
		require.Equal(t, tier.Incomplete, is)
	})
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.requireComplete(t, time.Hour, `a`)
		w.cold.change(func(s *namesServer) { s.warnings = `"one of the stores is down"` })
		for range 23 * 12 {
			time.Sleep(5 * time.Minute)
			w.requireComplete(t, time.Hour, `a`)
		}
		for range 2 * 12 {
			time.Sleep(5 * time.Minute)
			_, _ = w.read(t, time.Hour, `a`)
		}
		is, _ := w.read(t, time.Hour, `a`)
		require.Equal(t, tier.Incomplete, is, "what a store had a day ago says nothing of today")
	})
}

func TestEvidence_PatternsAreComparedWithTheNamesOfBothTiers(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		w.requireComplete(t, time.Hour, `{__name__=~"[abc]"}`)
		is, why := w.read(t, time.Hour, `{__name__=~"[abs].*"}`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, "another source than hot has the metric shared too", why)
		is, why = w.read(t, time.Hour, `{__name__=~"else.*"}`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, "hot has no metric elsewhere", why)
		w.cold.change(func(s *namesServer) { s.names, s.others = append(s.names, "bb"), append(s.others, "bb") })
		time.Sleep(10 * time.Second)
		is, why = w.read(t, time.Hour, `{__name__=~"[abc]+"}`)
		require.Equal(t, tier.Incomplete, is)
		require.Contains(t, why, "bb", "cold has a new name")
		time.Sleep(time.Hour)
		w.cold.change(func(*namesServer) {})
		time.Sleep(time.Hour)
		require.Zero(t, w.cold.count(), "nobody uses a pattern any more")
	})
}

func TestFind_ManyNamesInFewRequests(t *testing.T) {
	inNamesWorld(t, func(t *testing.T, w *namesWorld) {
		var selectors []string
		for i := range 250 {
			selectors = append(selectors, fmt.Sprintf("a_name_%d", i))
		}
		w.hot.change(func(s *namesServer) {
			s.names = append(s.names, selectors...)
		})
		w.requireComplete(t, time.Hour, selectors...)
		require.LessOrEqual(t, w.cold.count(), 20, "one for each hundred, and some for those that came first")
		is, _ := w.read(t, time.Hour, strings.Repeat("x", evidence.LongestName+1))
		require.Equal(t, tier.Incomplete, is)
	})
}
