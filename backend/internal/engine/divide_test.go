package engine

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// withCores is a Thanos with the engine of Prometheus.
func withCores(cores int) told {
	return told{"/status/flags": `{"query.promql-engine":"prometheus","query.mode":"local"}`, "/status/runtimeinfo": fmt.Sprintf(`{"GOMAXPROCS":%d}`, cores)}
}

// week asks for a week.
func (p *cachedTiers) week(t *testing.T, more url.Values) asking {
	t.Helper()
	parameters := url.Values{"step": {"600"}}
	maps.Copy(parameters, more)
	return p.at(t, 0, 7*24*time.Hour, parameters)
}

// ranges returns the starts and ends that cold was asked for, in order.
func (p *cachedTiers) ranges() (list [][2]string) {
	for _, each := range p.cold.Requests() {
		list = append(list, [2]string{each.Parameters.Get("start"), each.Parameters.Get("end")})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return int(secondsOf(a[0]) - secondsOf(b[0])) })
	return list
}

func secondsOf(text string) float64 {
	seconds, _ := strconv.ParseFloat(text, 64)
	return seconds
}

func TestDivide_ColdAnswersPartsAtOnce(t *testing.T) {
	p := newCachedTiersThat(t, withCores(8))
	atOnce := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(6)
	go func() { entered.Wait(); close(atOnce) }()
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		entered.Done()
		select {
		case <-atOnce:
		case <-time.After(time.Minute):
			t.Error("the parts are not asked for at once")
		}
		steps("a", "gaps")(w, request)
	})
	query := p.week(t, url.Values{"limit": {"3"}})
	query.Timeout = 2 * time.Minute
	response := p.do(t, query)
	require.Equal(t, []any{CacheMiss, 1009}, []any{response.Cache.Result, response.Cache.Steps})
	asked := p.ranges()
	require.Len(t, asked, 6, "a bit less than seven days are cold's")
	require.Equal(t, query.Request.Parameters.Get("start"), asked[0][0])
	for i, each := range asked {
		length := secondsOf(each[1]) - secondsOf(each[0]) + 600
		require.InDelta(t, 7.0/6, length/86400, 0.02)
		if i > 0 {
			require.InDelta(t, 600, secondsOf(each[0])-secondsOf(asked[i-1][1]), 1e-3, "they neither overlap nor leave a step out")
		}
	}

	// The parts are kept as one entry.
	p.cold.Handle(steps("a", "gaps"))
	p.warm(t, p.week(t, nil))
	require.Equal(t, CacheHit, p.do(t, p.at(t, 0, 3*24*time.Hour, url.Values{"step": {"600"}})).Cache.Result)
}

func TestDivide_PartsOfADeduplicatingColdStartEarly(t *testing.T) {
	cold := withCores(3)
	cold["/status/flags"] = `{"query.promql-engine":"prometheus","query.replica-label":"[replica]"}`
	p := newCachedTiersThat(t, cold)
	p.do(t, p.week(t, url.Values{"query": {"rate(up[20m])"}}))
	asked := p.ranges()
	require.Len(t, asked, 3)
	// Window and lookback, and one step: the last step before a part is 600 s before it.
	require.InDelta(t, (25+10)*60-600, secondsOf(asked[0][1])-secondsOf(asked[1][0]), 600+1e-3)
	require.Greater(t, secondsOf(asked[0][1])-secondsOf(asked[1][0]), 900.0)
}

func TestDivide_OnlyWhereItHelps(t *testing.T) {
	flags := func(text string) told {
		cold := withCores(8)
		cold["/status/flags"] = text
		return cold
	}
	week := url.Values{}
	for name, test := range map[string]struct {
		cold  told
		more  url.Values
		parts int
	}{
		"the engine of Prometheus":          {withCores(4), week, 4},
		"a Prometheus":                      {flags(`{"storage.tsdb.path":"data","query.max-concurrency":"5"}`), week, 5},
		"fewer queries at once than cores":  {flags(`{"query.promql-engine":"prometheus","query.max-concurrent":"2"}`), week, 2},
		"one core":                          {withCores(1), week, 1},
		"unknown cores":                     {told{"/status/flags": `{"query.promql-engine":"prometheus"}`}, week, 1},
		"the engine of Thanos":              {flags(`{"query.promql-engine":"thanos"}`), week, 1},
		"distributed queries":               {flags(`{"query.promql-engine":"prometheus","query.mode":"distributed"}`), week, 1},
		"another server":                    {flags(`{"search.maxConcurrentRequests":"16"}`), week, 1},
		"a server that does not tell":       {told{}, week, 1},
		"another engine for this query":     {withCores(8), url.Values{"engine": {"thanos"}}, 1},
		"a long window":                     {withCores(8), url.Values{"query": {"rate(up[12h])"}}, 1},
		"a long window, parts of four days": {withCores(8), url.Values{"query": {"rate(up[6h])"}}, 3},
		"few steps":                         {withCores(8), url.Values{"step": {"21600"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newCachedTiersThat(t, test.cold)
			p.do(t, p.week(t, test.more))
			require.Len(t, p.cold.Requests(), test.parts)
		})
	}
	t.Run("a short range", func(t *testing.T) {
		p := newCachedTiersThat(t, withCores(8))
		p.do(t, p.at(t, 0, 47*time.Hour, url.Values{"step": {"60"}}))
		require.Len(t, p.cold.Requests(), 1)
		p.do(t, p.at(t, 0, 50*time.Hour, url.Values{"step": {"61"}}))
		require.Len(t, p.cold.Requests(), 3)
	})
}

// Six panels of a dashboard keep the cores of cold busy: none is divided further.
func TestDivide_NotWhileColdIsBusy(t *testing.T) {
	p := newCachedTiersThat(t, withCores(6))
	end, entered := make(chan struct{}), make(chan struct{}, 100)
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		entered <- struct{}{}
		<-end
		steps("a", "gaps")(w, request)
	})
	var running sync.WaitGroup
	ask := func(i int) {
		running.Go(func() {
			query := p.week(t, url.Values{"step": {strconv.Itoa(600 + i)}})
			query.Timeout = time.Minute
			response, err := do(t.Context(), query)
			if err == nil {
				_ = response.Body.Close()
			}
		})
	}
	for i := range 3 { // Undivided ones.
		running.Go(func() {
			query := p.at(t, 0, 30*time.Hour, url.Values{"step": {strconv.Itoa(300 + i)}})
			query.Timeout = time.Minute
			if response, err := do(t.Context(), query); err == nil {
				_ = response.Body.Close()
			}
		})
		<-entered
	}
	ask(0) // It gets what is left of the cores.
	for range 3 {
		<-entered
	}
	ask(1)
	<-entered
	require.Len(t, p.cold.Requests(), 3+3+1)
	close(end)
	running.Wait()
}

func TestDivide_PartsInFlightCountOnce(t *testing.T) {
	p := newCachedTiersThat(t, withCores(20))
	end, entered := make(chan struct{}), make(chan struct{}, 100)
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		entered <- struct{}{}
		<-end
		steps("a", "gaps")(w, request)
	})
	var running sync.WaitGroup
	running.Go(func() {
		query := p.week(t, nil)
		query.Timeout = time.Minute
		if response, err := do(t.Context(), query); err == nil {
			_ = response.Body.Close()
		}
	})
	for range 6 {
		<-entered
	}
	h := p.coldClient.Headroom("", admission.Caller{}, 30)
	h.Release()
	close(end)
	running.Wait()
	require.Equal(t, 20-6, h.Calls())
}

func TestDivide_ErrorOfAPartIsTheAnswer(t *testing.T) {
	p := newCachedTiersThat(t, withCores(8))
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		if time.Since(time.UnixMilli(int64(1000*secondsOf(request.Form.Get("end"))))) > 132*time.Hour { // The first part.
			faketier.Status(422, `{"status":"error","errorType":"execution","error":"many-to-many matching not allowed"}`)(w, request)
			return
		}
		<-request.Context().Done() // The first error ends the calls for the others.
	})
	query := p.week(t, nil)
	query.Timeout = time.Minute
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, 422, response.Status)
	require.Contains(t, body(t, response), "many-to-many")
	require.Zero(t, p.engine.held())
	require.Eventually(t, func() bool { // The calls have ended.
		h := p.coldClient.Headroom("", admission.Caller{}, 8)
		defer h.Release()
		return h.Calls() == 8
	}, 30*time.Second, time.Millisecond)
}
