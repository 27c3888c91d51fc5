package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
)

const liveDatasource = "/proxy/globaldatasources/metrics"

// startSaved is startLive with a Perses whose answers can be replaced.
func startSaved(t *testing.T, change func(*config.Config)) (*liveGateway, *atomic.Pointer[http.HandlerFunc]) {
	t.Helper()
	answers := &atomic.Pointer[http.HandlerFunc]{}
	handle(answers, fakeperses.Handler("alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {}}))
	perses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { (*answers.Load())(w, request) }))
	t.Cleanup(perses.Close)
	g := startLive(t, func(c *config.Config) {
		c.Perses.URL = perses.URL
		if change != nil {
			change(c)
		}
	})
	g.gateway.permissionInterval = 50 * time.Millisecond
	return g, answers
}

func handle(answers *atomic.Pointer[http.HandlerFunc], handler http.HandlerFunc) {
	answers.Store(&handler)
}

func answerStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func endOf(t *testing.T, event *liveEvent) (reason, message string) {
	t.Helper()
	var end struct{ Reason, Message string }
	require.NoError(t, json.Unmarshal([]byte(event.data), &end))
	return end.Reason, end.Message
}

var liveUp = url.Values{"query": {"up"}, "step": {"1s"}, "range": {"1m"}}

func TestLive_PermissionIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	g, answers := startSaved(t, nil)
	response, _ := g.open(t, liveDatasource, liveUp)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	response, client := g.open(t, liveDatasource, liveUp, "Authorization", "Bearer alice")
	require.Equal(t, http.StatusOK, response.StatusCode)
	client.until("append")
	handle(answers, answerStatus(http.StatusForbidden))
	// An answer of Perses is used for 5 s.
	reason, message := endOf(t, client.until("end"))
	require.Equal(t, "permission", reason)
	require.Contains(t, message, "you may not read")
	require.Nil(t, client.next())
}

// While Perses is away, streams go on for a while.
func TestLive_GoesOnWhilePersesRestarts(t *testing.T) {
	t.Parallel()
	g, answers := startSaved(t, nil)
	_, client := g.open(t, liveDatasource, liveUp, "Authorization", "Bearer alice")
	client.until("append")
	handle(answers, answerStatus(http.StatusBadGateway))
	for range 7 {
		require.Equal(t, "append", client.next().name)
	}
}

func TestLive_ChangedDatasourceSendsASnapshot(t *testing.T) {
	t.Parallel()
	g, answers := startSaved(t, nil)
	g.gateway.permissionInterval = time.Hour
	_, client := g.open(t, liveDatasource, liveUp, "Authorization", "Bearer alice")
	client.until("append")
	handle(answers, fakeperses.Handler("alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {Tiers: `"threshold":"1h",`}}))
	asked := make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // Another request finds the change, within the 5 s for which answers of Perses are used.
		defer close(asked)
		for ctx.Err() == nil {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+liveDatasource+"/api/v1/query?query=up", http.NoBody)
			if err != nil {
				return
			}
			request.Header.Set("Authorization", "Bearer alice")
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	snapshot := client.until("snapshot")
	require.Equal(t, int64(60), snapshot.body.Live.End-snapshot.body.Live.Start)
	client.until("append")
	cancel()
	<-asked
}

// A spec that is invalid now ends the stream.
func TestLive_InvalidDatasourceEndsTheStream(t *testing.T) {
	t.Parallel()
	g, answers := startSaved(t, nil)
	_, client := g.open(t, liveDatasource, liveUp, "Authorization", "Bearer alice")
	client.until("append")
	handle(answers, fakeperses.Handler("alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {Tiers: `"threshold":"soon",`}}))
	reason, message := endOf(t, client.until("end"))
	require.Equal(t, "datasource", reason)
	require.Contains(t, message, "threshold")
}

func TestLive_ShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	g := startLive(t, nil)
	_, client := g.open(t, "", liveUp)
	client.until("append")
	g.gateway.EndStreams()
	end := client.until("end")
	reason, _ := endOf(t, end)
	require.Equal(t, "shutdown", reason)
	wait, err := strconv.Atoi(end.retry)
	require.NoError(t, err)
	require.GreaterOrEqual(t, wait, 1000)
	require.Less(t, wait, 3000)
	require.Nil(t, client.next())
	response, _ := g.open(t, "", liveUp)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
}

func TestLive_StreamsAreLimited(t *testing.T) {
	t.Parallel()
	g := startLive(t, func(c *config.Config) { c.Live.MaxStreamsPerCaller = 1 })
	_, client := g.open(t, "", liveUp)
	client.until("snapshot")
	response, _ := g.open(t, "", liveUp)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "10", response.Header.Get("Retry-After"))

	off := startLive(t, func(c *config.Config) { c.Live.MaxStreams = 0 })
	response, _ = off.open(t, "", liveUp)
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

// A failure of the tier is an error of the stream, which goes on.
func TestLive_ErrorsDoNotEndTheStream(t *testing.T) {
	t.Parallel()
	g := startLive(t, nil)
	_, client := g.open(t, "", liveUp)
	client.until("append")
	g.cold.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"status":"error","errorType":"execution","error":"too many samples"}`))
	})
	require.JSONEq(t, `"execution"`, string(member(t, client.until("error").data, "errorType")))
	g.cold.Handle(serveSteps)
	client.until("append")
}

func member(t *testing.T, object, name string) json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(object), &members))
	return members[name]
}

// Streams of one query share what is confined in the same way only.
func TestLive_NamespacesAreConfined(t *testing.T) {
	t.Parallel()
	g := startLive(t, nil)
	for _, namespace := range []string{"shop", "bank"} {
		_, client := g.open(t, "", url.Values{"query": {"up"}, "namespace": {namespace}})
		require.Equal(t, `up{namespace=~"`+namespace+`"}`, client.until("snapshot").body.Data.Result[0].Metric["query"])
	}
	response, _ := g.open(t, "", url.Values{"query": {"up"}, "namespace": {"shop"}, "storeMatch[]": {"x"}})
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
}
