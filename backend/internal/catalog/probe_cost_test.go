package catalog

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// TestProbe_AsksHotForLittle counts what probes ask a hot tier with many targets: every question
// names a metric and has a bound, and none reads all targets after the first probe.
func TestProbe_AsksHotForLittle(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	var jobs []string
	for i := range 100 {
		jobs = append(jobs, "job"+string(rune('a'+i%26))+strings.Repeat("x", i/26))
	}
	target, err := url.Parse(catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: catalogtest.Ahead, Jobs: jobs}))
	require.NoError(t, err)
	var mutex sync.Mutex
	var asked []url.Values
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		asked = append(asked, request.URL.Query())
		mutex.Unlock()
		forward.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
	hot.probe(t.Context())
	require.Empty(t, hot.Status().Error)
	require.Less(t, len(asked), 60, "the first probe")
	for _, each := range asked {
		if each.Has("match[]") {
			require.NotEmpty(t, each.Get("limit"), each)
			require.Contains(t, each.Get("match[]"), "up", each)
		}
		require.NotContains(t, each.Get("query"), "up{}", "it reads all targets")
	}
	hot.probe(t.Context()) // Now it is known that nothing changes.
	asked = nil
	hot.probe(t.Context())
	require.Len(t, asked, 1)
	require.Regexp(t, `^\{__name__="up", instance="\w+:80", job="\w+"\}\[\d+ms\]$`, asked[0].Get("query"))
}

func TestProbe_AsksColdForLittle(t *testing.T) {
	const one = `{"store":[{"labelSets":[{"cluster":"a"}],"minTime":1,"maxTime":2}]}`
	for name, test := range map[string]struct {
		stores   catalogtest.Answers
		expected string
	}{
		"a Thanos":     {catalogtest.Answers{{"/stores", one}}, "/api/v1/stores?"},
		"a Prometheus": {nil, "/api/v1/query?query=vector%281%29"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := append(test.stores, catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}}...)
			server := catalogtest.NewScripted(t, answers)
			cold := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
			cold.probe(t.Context())
			server.Set(answers)
			cold.probe(t.Context())
			require.Equal(t, []string{test.expected}, server.Requests(""))

			server.Set(nil)
			cold.probe(t.Context())
			require.False(t, cold.Status().Available)
			server.Set(answers)
			cold.probe(t.Context())
			require.Equal(t, len(test.stores) > 0, cold.Status().Stores != nil)
			require.Len(t, server.Requests("/stores"), 1, "after a failure, everything is asked")
		})
	}
}

// TestProbe_AsksAnUnusedTierForLittle closes the connections of a cold tier after each probe, as a
// client does that keeps them for a short time. Only a query needs to know whether another server
// answers now.
func TestProbe_AsksAnUnusedTierForLittle(t *testing.T) {
	server := catalogtest.NewScripted(t, catalogtest.Answers{
		{"/stores", `{"store":[{"labelSets":[{"cluster":"a"}],"minTime":1,"maxTime":2}]}`}, {"vector(1)", catalogtest.EmptyVector},
	})
	client := catalogtest.Client(t, server.URL)
	cold := NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: time.Hour})
	asked := func() int {
		client.Close() // It closes idle connections only.
		before := len(server.Requests(""))
		cold.probes.Once(func() bool { return cold.probe(t.Context()) })
		return len(server.Requests("")) - before
	}
	require.Greater(t, asked(), 1, "the first probe is a whole one")
	require.Equal(t, 1, asked())
	require.Equal(t, 1, asked())
	cold.probes.Refresh(time.Time{})
	require.Greater(t, asked(), 1, "a query uses it")
	cold.probes.Refresh(time.Time{})
	require.Greater(t, asked(), 1, "the connection is another one again")
}

// scraping is a Prometheus with one series named up that it scrapes every 15 s, until it stops.
type scraping struct{ stopped atomic.Int64 }

var rangeOf = regexp.MustCompile(`\[(\d+)ms\]`)

func (s *scraping) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	const series, every = `{"__name__":"up","job":"a"}`, 15_000
	var data string
	query := request.URL.Query()
	span := rangeOf.FindStringSubmatch(query.Get("query"))
	switch {
	case strings.HasSuffix(request.URL.Path, "/values"):
		data = `["a"]`
	case strings.HasSuffix(request.URL.Path, "/series"):
		data = "[" + series + "]"
	case strings.HasSuffix(request.URL.Path, "/blocks"):
		data = fmt.Sprintf(`{"blocks":[{"minTime":%d,"maxTime":%d}]}`, time.Now().Add(-10*time.Minute).UnixMilli(), time.Now().UnixMilli())
	case strings.HasSuffix(request.URL.Path, "/query") && span != nil:
		at, _ := strconv.ParseFloat(query.Get("time"), 64)
		long, _ := strconv.ParseInt(span[1], 10, 64)
		until := int64(at * 1000)
		var samples []string
		for time := (until - long + every - 1) / every * every; time <= min(until, s.stopped.Load()); time += every {
			samples = append(samples, fmt.Sprintf(`[%d,"1"]`, time/1000))
		}
		data = fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":%s,"values":[%s]}]}`, series, strings.Join(samples, ","))
	case strings.HasSuffix(request.URL.Path, "/query_range"):
		data = catalogtest.EmptyMatrix // It examines every sample.
	case strings.HasSuffix(request.URL.Path, "/query"):
		data = catalogtest.EmptyVector
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
}

// A query after a long time without any does not rely on what was known then.
func TestRefresh_AfterAPauseTheStatusIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prometheus := &scraping{}
		prometheus.stopped.Store(math.MaxInt64)
		var requests atomic.Int64
		hot := NewTier(TierOptions{
			Name: tier.Hot, Client: catalogtest.PipeClient(t, prometheus), ProbeInterval: 5 * time.Second,
			OnRequest: func(ownrequest.Kind, time.Duration, error) { requests.Add(1) },
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { hot.Run(ctx); close(done) }()
		time.Sleep(5 * time.Minute)
		require.Empty(t, hot.Status().Error)
		requests.Store(0)
		time.Sleep(30 * time.Minute)
		require.LessOrEqual(t, requests.Load(), int64(34+4*7), "without a query, one request each minute, and a whole probe every five minutes")

		prometheus.stopped.Store(time.Now().UnixMilli())
		time.Sleep(50 * time.Second)
		Refresh(t.Context(), nil, hot)
		require.False(t, hot.Status().Available)
		require.Contains(t, hot.Status().Error, "no samples come in")
		prometheus.stopped.Store(math.MaxInt64)
		time.Sleep(10 * time.Second)
		Refresh(t.Context(), nil, hot)
		synctest.Wait()
		require.True(t, hot.Status().Available, "a tier that is unavailable is probed all the time")
		stop()
		<-done
	})
}
