package engine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// unprobed are replicas that nothing is known of.
func unprobed(names ...string) []Replica {
	var list []Replica
	for _, name := range names {
		list = append(list, Replica{Hot: catalog.NewTier(catalog.TierOptions{Name: tier.Hot, Replica: name}), Ready: true})
	}
	return list
}

// ordered returns the replicas in the order in which a request asks them.
func ordered(request *promapi.Request, replicas []Replica) []Replica {
	return inOrder(replicas, keyOf(request))
}

func TestReplicas_QueryStaysOnItsReplica(t *testing.T) {
	first := map[string]string{}
	count := map[string]int{}
	for i := range 300 {
		query := fmt.Sprintf("rate(requests_total{instance=%q}[5m])", fmt.Sprint(i))
		for _, names := range [][]string{{"p-0", "p-1", "p-2"}, {"p-2", "p-0", "p-1"}} {
			replicas := unprobed(names...)
			made, err := promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", url.Values{
				"query": {query}, "start": {fmt.Sprint(i)}, "end": {fmt.Sprint(i + len(first))}, "step": {"15"},
			}, time.Now())
			require.NoError(t, err)
			got := ordered(made, replicas)[0].Hot.Replica()
			if known, found := first[query]; found {
				require.Equal(t, known, got, "neither times nor the order of the endpoints matter")
				continue
			}
			first[query] = got
			count[got]++
		}
	}
	for name, share := range count {
		require.InDelta(t, 100, share, 35, name)
	}
	// When a replica goes, only its own queries move.
	for query, known := range first {
		replicas := unprobed("p-0", "p-1")
		if known != "p-2" {
			made, err := promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", url.Values{"query": {query}, "start": {"1"}, "end": {"2"}, "step": {"1"}}, time.Now())
			require.NoError(t, err)
			require.Equal(t, known, ordered(made, replicas)[0].Hot.Replica())
		}
	}
}

func TestReplicas_UnreadyReplicaComesLast(t *testing.T) {
	for i := range 20 {
		replicas := unprobed("p-0", "p-1", "p-2")
		replicas[1].Ready = false
		require.Equal(t, "p-1", ordered(request(t, url.Values{"query": {fmt.Sprint(i)}}), replicas)[2].Hot.Replica())
	}
}

// replicated is a hot tier of two fakes, without cold.
type replicated struct {
	first, second *faketier.Tier
	query         asking
}

func newReplicated(t *testing.T, timeout time.Duration) *replicated {
	t.Helper()
	r := &replicated{first: faketier.New(), second: faketier.New()}
	t.Cleanup(r.first.Close)
	t.Cleanup(r.second.Close)
	r.query = asking{
		Request: request(t, up), Hot: probedReplica(t, "p-0", r.first.URL, 0), Others: []Replica{{Hot: probedReplica(t, "p-1", r.second.URL, 0)}},
		Threshold: 15 * time.Minute, Timeout: timeout,
	}
	return r
}

func probedReplica(t *testing.T, name, address string, retention time.Duration) *catalog.Tier {
	t.Helper()
	return probedTier(t, address, catalog.TierOptions{Name: tier.Hot, Replica: name, TierSettings: catalog.TierSettings{Retention: retention}})
}

func TestReplicas_AnotherReplicaAnswersAfterAFailure(t *testing.T) {
	require.Equal(t, tsdb.ErrClosing.Error(), closing)
	for name, fault := range map[string]http.HandlerFunc{
		"502": faketier.Status(502, "bad gateway"), "503": faketier.Status(503, "unavailable"), "504": faketier.Status(504, "timeout"),
		"it is shutting down":      faketier.Status(422, `{"status":"error","errorType":"execution","error":"open querier for block 01M8ASGBH66Q5KBYNQMNNXG3VZ: open index reader: block is closing"}`),
		"it closes the connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"it breaks off at the beginning": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"status":"success","data":{`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"it hangs": func(_ http.ResponseWriter, incoming *http.Request) { <-incoming.Context().Done() },
		"it hangs after the header": func(w http.ResponseWriter, incoming *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-incoming.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplicated(t, 2*time.Second)
			r.first.Handle(fault)
			response, err := do(t.Context(), r.query)
			require.NoError(t, err)
			require.Equal(t, "p-1", response.Replica)
			require.Equal(t, tier.ReasonOnlyTier, response.Reason)
			require.Empty(t, response.Warnings)
			require.Contains(t, body(t, response), `"success"`)
			// The client repeats what met a connection that was just closed.
			require.NotEmpty(t, r.first.Requests())
			require.Len(t, r.second.Requests(), 1)
		})
	}
}

// Without a cold tier, a replica that counts as down is better than none.
func TestReplicas_ReplicaThatIsDownComesLast(t *testing.T) {
	r := newReplicated(t, 2*time.Second)
	r.first.Handle(faketier.Status(503, "is shutting down"))
	r.query.Others[0].Hot.ReportFailure(io.ErrUnexpectedEOF)
	response, err := do(t.Context(), r.query)
	require.NoError(t, err)
	require.Equal(t, "p-1", response.Replica)
	require.Contains(t, body(t, response), `"success"`)
}

// The replica that holds all that is read is asked, whichever comes first; when
// it fails, the other one answers, with a warning.
func TestReplicas_ReplicaThatCoversTheExtentAnswers(t *testing.T) {
	r := newReplicated(t, 2*time.Second)
	r.query.Hot = probedReplica(t, "p-0", r.first.URL, time.Minute)
	response, err := do(t.Context(), r.query)
	require.NoError(t, err)
	require.Equal(t, "p-1", response.Replica)
	require.Empty(t, response.Warnings)
	_ = body(t, response)

	r.second.Handle(faketier.Status(503, "is shutting down"))
	response, err = do(t.Context(), r.query)
	require.NoError(t, err)
	require.Equal(t, "p-0", response.Replica)
	require.Contains(t, body(t, response), "what lies between is missing")
}

func TestReplicas_QueryErrorsAreNotRetried(t *testing.T) {
	r := newReplicated(t, 2*time.Second)
	r.first.Handle(faketier.Status(422, `{"status":"error","errorType":"execution","error":"many-to-many"}`))
	response, err := do(t.Context(), r.query)
	require.NoError(t, err)
	require.Equal(t, 422, response.Status)
	_ = body(t, response)
	require.Empty(t, r.second.Requests())
}

func TestReplicas_ColdAnswersAfterAllFailed(t *testing.T) {
	r := newReplicated(t, 2*time.Second)
	for _, each := range []*faketier.Tier{r.first, r.second} {
		each.Handle(faketier.Status(503, "unavailable"))
	}
	response, err := do(t.Context(), r.query)
	require.NoError(t, err)
	require.Equal(t, 503, response.Status, "what the last one answers is passed on")
	_ = body(t, response)
	require.Len(t, r.first.Requests(), 1)
	require.Len(t, r.second.Requests(), 1)
}

// A union of both tiers is one even when a replica of hot fails: the next one is
// asked for hot's part, and cold is not asked again.
func TestUnite_TriesAnotherReplica(t *testing.T) {
	lagging := told{"max(timestamp(up{": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())}
	for part, data := range toldByThanos {
		lagging[part] = data
	}
	hang := func(_ http.ResponseWriter, incoming *http.Request) { <-incoming.Context().Done() }
	const refusal = `{"status":"error","errorType":"bad_data","error":"a matcher that is none"}`
	for name, test := range map[string]struct {
		first, second, cold http.HandlerFunc
		expected            string
		asked               int // requests to the second replica
	}{
		"it is down":   {faketier.Status(503, ""), nil, nil, `{"status":"success","data":["a","b","d"],"warnings":["of the second"]}`, 1},
		"it hangs":     {hang, nil, nil, `{"status":"success","data":["a","b","d"],"warnings":["of the second"]}`, 1},
		"half of it":   {faketier.Status(200, `{"status":"success","data":["b"`), nil, nil, `{"status":"success","data":["a","b","d"],"warnings":["of the second"]}`, 1},
		"both do":      {faketier.Status(503, ""), faketier.Status(503, ""), nil, `{"status":"success","data":["a","b"],"warnings":["the hot tier failed: what only that one holds is missing"]}`, 1},
		"cold too":     {faketier.Status(503, ""), nil, faketier.Status(503, ""), `{"status":"success","data":["b","d"],"warnings":["the cold tier failed: what only that one holds is missing","of the second"]}`, 1},
		"it refuses":   {faketier.Status(400, refusal), nil, nil, `{"status":"success","data":["a","b"],"warnings":["the hot tier failed: what only that one holds is missing"]}`, 0},
		"cold refuses": {faketier.Status(503, ""), nil, faketier.Status(400, refusal), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			cold, fakes := faketier.New(), []*faketier.Tier{faketier.New(), faketier.New()}
			t.Cleanup(cold.Close)
			cold.HandleProbes(lagging.handler())
			cold.Handle(faketier.Status(200, `{"status":"success","data":["a","b"]}`))
			coldClient := probed(t, tier.Cold, cold.URL)
			var replicas []Replica
			for i, fake := range fakes {
				t.Cleanup(fake.Close)
				fake.HandleProbes(toldByHot.handler())
				fake.Handle(faketier.Status(200, `{"status":"success","data":["b","d"],"warnings":["of the second"]}`))
				hot := probedReplica(t, fmt.Sprintf("p-%d", i), fake.URL, 0)
				both := catalog.New(catalog.Options{Hot: hot, Cold: coldClient, LearnInterval: time.Hour})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { both.Run(ctx); close(done) }()
				t.Cleanup(func() { cancel(); <-done })
				both.Wait(t.Context())
				require.Empty(t, both.Snapshot().Error)
				replicas = append(replicas, Replica{Hot: hot, Catalog: both})
			}
			fakes[0].Handle(test.first)
			if test.second != nil {
				fakes[1].Handle(test.second)
			}
			if test.cold != nil {
				cold.Handle(test.cold)
			}
			made, err := promapi.NewRequest(promapi.LabelValues, "/api/v1/label/job/values", url.Values{"match[]": {"node_load1"}}, time.Now())
			require.NoError(t, err)
			response, err := do(t.Context(), asking{
				Request: made, Hot: replicas[0].Hot, Catalog: replicas[0].Catalog, Others: replicas[1:], Cold: coldClient,
				Threshold: time.Minute, Timeout: 2 * time.Second,
			})
			require.Len(t, cold.Requests(), 1, "cold is asked once")
			require.Len(t, fakes[1].Requests(), test.asked)
			if test.expected == "" {
				require.ErrorContains(t, err, "a matcher that is none")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tier.Both, response.Tier)
			require.JSONEq(t, test.expected, body(t, response))
			if test.asked > 0 {
				require.Equal(t, "p-1", response.Replica)
			}
		})
	}
}

// A replica that was restarted answers its part of a query, unless another one holds the whole.
func TestReplicas_WholeBelowTheThresholdComesBeforeACut(t *testing.T) {
	p := newSplitTiers(t, told{})
	query := p.rangeQuery(t, nil)
	query.Threshold, query.ReplicasAccepted = 5*time.Hour, true
	query.Hot = probedReplica(t, "p-0", p.hot.URL, time.Hour)
	query.Catalog = catalogOf(t, query.Hot, p.coldClient)
	cut := func() *Plan { // Once cold is compared with the replica.
		var planned *Plan
		require.Eventually(t, func() bool {
			var err error
			planned, err = plan(context.Background(), query)
			return err == nil && planned.Cut != nil
		}, 30*time.Second, 5*time.Millisecond)
		return planned
	}
	cut()

	query.Others = []Replica{{Hot: p.hotClient, Catalog: p.both}}
	planned, err := plan(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Hot, tier.ReasonBelowThreshold, ""}, []any{planned.Tier, planned.Reason, planned.Replica()})

	query.Threshold = 2 * time.Hour // Above it, both replicas answer a part only.
	require.Equal(t, "p-0", cut().Replica(), "a panel stays on its replica")
}
