package engine

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// tiers are a hot and a cold tier, both probed.
type tiers struct {
	hot, cold             *faketier.Tier
	hotClient, coldClient *catalog.Tier
}

func newTiers(t *testing.T) *tiers {
	t.Helper()
	p := &tiers{hot: faketier.New(), cold: faketier.New()}
	t.Cleanup(p.hot.Close)
	t.Cleanup(p.cold.Close)
	p.hotClient = probed(t, tier.Hot, p.hot.URL)
	p.coldClient = probed(t, tier.Cold, p.cold.URL)
	return p
}

func probed(t *testing.T, name tier.Name, address string) *catalog.Tier {
	t.Helper()
	return probedTier(t, address, catalog.TierOptions{Name: name})
}

// probedTier is a tier with options, whose client and probe interval are filled in.
func probedTier(t *testing.T, address string, options catalog.TierOptions) *catalog.Tier {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	options.Client, options.ProbeInterval = client, time.Hour
	made := catalog.NewTier(options)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { made.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; made.Close() })
	made.Wait(t.Context())
	return made
}

func request(t *testing.T, parameters url.Values) *promapi.Request {
	t.Helper()
	made, err := promapi.NewRequest(promapi.Query, "/api/v1/query", parameters, time.Now())
	require.NoError(t, err)
	return made
}

func (p *tiers) query(t *testing.T, parameters url.Values) asking {
	t.Helper()
	return asking{
		Request: request(t, parameters), Hot: p.hotClient, Cold: p.coldClient, Threshold: 15 * time.Minute, Timeout: 10 * time.Second,
	}
}

var up = url.Values{"query": {"up"}}

func body(t *testing.T, response *Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(text)
}

func TestFallBack_ColdAnswersAfterHotFailed(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"502": faketier.Status(502, "bad gateway"), "503": faketier.Status(503, "unavailable"), "504": faketier.Status(504, "timeout"),
		"hang": faketier.Hang,
		"closed without an answer": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTiers(t)
			p.hot.Handle(fault)
			p.cold.Handle(faketier.Status(200, faketier.Vector("7")))
			query := p.query(t, up)
			if name == "hang" {
				query.Timeout = 600 * time.Millisecond
			}
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed}, []any{response.Tier, response.Reason})
			require.JSONEq(t, faketier.Vector("7"), body(t, response))
			require.Len(t, p.cold.Requests(), 1, "cold is asked once")
			require.Equal(t, "up", p.cold.Requests()[0].Parameters.Get("query"), "the body is sent again")
			if name != "hang" && name != "closed without an answer" {
				require.Len(t, p.hot.Requests(), 1, "hot is asked once")
			}
		})
	}
}

func TestPlan_EveryAttemptHasTheSameNow(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(faketier.Status(503, ""))
	query := p.query(t, up)
	// It waited somewhere on its way here.
	received := time.Now().Add(-3 * time.Second)
	var err error
	query.Request, err = promapi.NewRequest(promapi.Query, "/api/v1/query", up, received)
	require.NoError(t, err)
	planned, err := plan(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, received.UnixMilli(), planned.Input.Extent.Newest)
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, tier.ReasonHotFailed, response.Reason)
	require.NoError(t, response.Body.Close())
	expected := promapi.FormatTime(received)
	require.Equal(t, []string{expected}, p.hot.Requests()[0].Parameters["time"])
	require.Equal(t, []string{expected}, p.cold.Requests()[0].Parameters["time"], "the second try is at the same time")
}

func TestFallBack_ColdAnswersForUnreachableHot(t *testing.T) {
	p := newTiers(t)
	p.hot.CloseClientConnections()
	p.hot.Close()
	response, err := do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed}, []any{response.Tier, response.Reason})
	require.NoError(t, response.Body.Close())

	response, err = do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, tier.ReasonHotUnavailable, response.Reason, "the failure was noticed")
	require.NoError(t, response.Body.Close())
}

func TestDo_BothTiersFail(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(faketier.Status(503, ""))
	p.cold.Handle(faketier.Hang)
	query := p.query(t, up)
	query.Timeout = 300 * time.Millisecond
	_, err := do(t.Context(), query)
	requireError(t, err, 503, promapi.ErrorTimeout, "the cold tier did not answer within 300ms")

	p.cold.Close()
	_, err = do(t.Context(), p.query(t, up))
	requireError(t, err, 502, promapi.ErrorUnavailable, "the cold tier failed: it refused the connection")
	var callError *CallError
	require.ErrorAs(t, err, &callError)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed}, []any{callError.Tier, callError.Reason})
}

func requireError(t *testing.T, err error, status int, errorType promapi.ErrorType, message string) {
	t.Helper()
	var apiError *promapi.Error
	require.ErrorAs(t, err, &apiError)
	require.Equal(t, []any{status, errorType, message}, []any{apiError.Status, apiError.Type, apiError.Message})
}

func TestDo_PassesAnswersOnUnchanged(t *testing.T) {
	for _, status := range []int{200, 400, 403, 404, 405, 422, 429, 500} {
		p := newTiers(t)
		p.hot.Handle(faketier.Status(status, "{}"))
		response, err := do(t.Context(), p.query(t, up))
		require.NoError(t, err)
		require.Equal(t, []any{status, tier.Hot}, []any{response.Status, response.Tier})
		require.NoError(t, response.Body.Close())
		require.Empty(t, p.cold.Requests(), "status %d is an answer", status)
	}
	// Where no other tier is left, these are passed on too.
	for _, status := range []int{502, 503, 504} {
		p := newTiers(t)
		p.cold.Handle(faketier.Status(status, "the words of the tier"))
		query := p.query(t, up)
		query.Forced = tier.Cold
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, status, response.Status)
		require.JSONEq(t, fmt.Sprintf(`{"status":"error","errorType":%q,"error":"the cold tier answered with status %d (%s)"}`,
			promapi.ErrorTypeOf(status), status, http.StatusText(status)), body(t, response), "in the shape of the Prometheus API")
	}
}

func TestDo_HidesStatusesMeantForTheGateway(t *testing.T) {
	redirect := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://secret.internal/")
		w.WriteHeader(http.StatusFound)
	}
	for message, fault := range map[string]http.HandlerFunc{
		"the cold tier does not accept the gateway's credentials":               faketier.Status(401, ""),
		"the cold tier answered with a redirect: configure the URL it leads to": redirect,
	} {
		p := newTiers(t)
		p.cold.Handle(fault)
		query := p.query(t, up)
		query.Hot = nil
		_, err := do(t.Context(), query)
		requireError(t, err, 502, promapi.ErrorUnavailable, message)
	}
	p := newTiers(t)
	p.hot.Handle(faketier.Status(401, ""))
	response, err := do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed}, []any{response.Tier, response.Reason}, "cold may accept them")
	require.NoError(t, response.Body.Close())
}

func TestDo_TruncatedAnswerIsAnError(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(faketier.CutOff)
	response, err := do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, tier.Hot, response.Tier)
	_, err = io.ReadAll(response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, response.Body.Close())
	require.Empty(t, p.cold.Requests(), "after the first byte there is no other try")
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, err := writer.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return buffer.Bytes()
}

func TestDo_CompressedAnswersStayCompressed(t *testing.T) {
	p := newTiers(t)
	compressed := zipped(t, faketier.Vector("1"))
	p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(compressed)
	})
	query := p.query(t, up)
	query.Request.Header.Set("Accept-Encoding", "gzip")
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, "gzip", response.Header.Get("Content-Encoding"))
	require.Equal(t, string(compressed), body(t, response))
	require.False(t, response.Rewritten)
	require.Equal(t, "gzip", p.hot.Requests()[0].Header.Get("Accept-Encoding"))
}

func TestDo_WarningsAreAddedToAnyEncoding(t *testing.T) {
	for _, test := range []struct{ accepted, asked, sent string }{
		{"gzip", "gzip", "gzip"},
		{"br, gzip;q=0.5", "gzip", "gzip"},
		{"gzip", "gzip", ""},
		{"br", "identity", ""},
		{"br", "identity", "gzip"}, // Although the gateway asked for none.
	} {
		p := newTiers(t)
		p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
			text := []byte(`{"status":"success","warnings":["its own"],"data":{"resultType":"vector","result":[]}}`)
			if test.sent != "" {
				w.Header().Set("Content-Encoding", test.sent)
				text = zipped(t, string(text))
			}
			_, _ = w.Write(text)
		})
		query := p.query(t, url.Values{"query": {"up"}, "time": {"100"}})
		query.Request.Header.Set("Accept-Encoding", test.accepted)
		query.Forced = tier.Hot
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, test.asked, p.hot.Requests()[0].Header.Get("Accept-Encoding"))
		require.Equal(t, test.accepted, query.Request.Header.Get("Accept-Encoding"), "the request itself is not changed")
		require.Len(t, response.Warnings, 1)
		require.Empty(t, response.Header.Get("Content-Encoding"))
		require.True(t, response.Rewritten)
		require.EqualValues(t, -1, response.ContentLength)
		text := body(t, response)
		require.Contains(t, text, "its own")
		require.Contains(t, text, "the hot tier answered, whose data begins at ")
	}

	p := newTiers(t)
	p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "br") })
	query := p.query(t, url.Values{"query": {"up"}, "time": {"100"}})
	query.Forced = tier.Hot
	_, err := do(t.Context(), query)
	requireError(t, err, 502, promapi.ErrorUnavailable, `the tier answered with content encoding "br" although none was asked for`)
}

func TestPlan_ParametersThatOnlyColdKnows(t *testing.T) {
	for _, name := range coldParameters {
		p := newTiers(t)
		query := p.query(t, url.Values{"query": {"up"}, name: {"true"}})
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, []any{tier.Cold, tier.ReasonColdParameter}, []any{response.Tier, response.Reason}, name)
		require.Equal(t, []string{"true"}, p.cold.Requests()[0].Parameters[name])

		// One that the datasource itself sends with every query says nothing
		// about this one, and does not reach hot.
		query.QueryParams = map[string]string{name: "true"}
		response, err = do(t.Context(), query)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, []any{tier.Hot, tier.ReasonBelowThreshold}, []any{response.Tier, response.Reason}, name)
		require.NotContains(t, p.hot.Requests()[0].Parameters, name)
		require.Equal(t, "up", p.hot.Requests()[0].Parameters.Get("query"))

		query.QueryParams = map[string]string{name: "false"}
		response, err = do(t.Context(), query)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, tier.ReasonColdParameter, response.Reason, "another value is a choice")

		for _, own := range []string{"$v", "${v}", "a${v:queryparam}"} {
			query.QueryParams = map[string]string{name: own}
			response, err = do(t.Context(), query)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, tier.ReasonBelowThreshold, response.Reason, "%s is replaced by the plugin", own)
		}
	}
}

func TestDo_CancelEndsTheCallOfTheTier(t *testing.T) {
	p := newTiers(t)
	asked, gone := make(chan struct{}), make(chan struct{})
	p.hot.Handle(func(_ http.ResponseWriter, request *http.Request) {
		close(asked)
		<-request.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := do(ctx, p.query(t, up))
	require.ErrorIs(t, err, context.Canceled)
	<-gone
	require.Empty(t, p.cold.Requests(), "nobody is left to answer")
	require.True(t, p.hotClient.Status().Available, "that the caller went says nothing about the tier")
}

func TestResponse_CloseEndsTheCall(t *testing.T) {
	p := newTiers(t)
	gone := make(chan struct{})
	p.hot.Handle(func(w http.ResponseWriter, request *http.Request) {
		_, _ = fmt.Fprint(w, "{"+strings.Repeat(" ", 1<<10)) // Enough for the engine to see how the answer begins.
		_ = http.NewResponseController(w).Flush()
		<-request.Context().Done()
		close(gone)
	})
	response, err := do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, tier.Hot, response.Tier)
	require.NoError(t, response.Body.Close())
	<-gone
}

func TestDo_DeadlineCoversTheBody(t *testing.T) {
	p := newTiers(t)
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		_, _ = w.Write([]byte("{"))
		_ = http.NewResponseController(w).Flush()
		<-request.Context().Done()
	})
	query := p.query(t, url.Values{"query": {"up"}, "timeout": {"200ms"}})
	query.Forced = tier.Cold
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	_, err = io.ReadAll(response.Body)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, response.Body.Close())
}

func TestDo_WithoutATierIsAnError(t *testing.T) {
	_, err := do(t.Context(), asking{Request: request(t, up), Threshold: time.Minute, Timeout: time.Second})
	requireError(t, err, 503, promapi.ErrorUnavailable, tier.ErrNoTier.Error())
	require.False(t, errors.As(err, new(*CallError)))
}

// A tier may close a pooled connection at any moment; a POST that meets it is
// sent again.
func TestDo_ClosedPooledConnectionIsNoFailure(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		connection, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = buffer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		_ = buffer.Flush()
		_ = connection.Close()
	})
	for range 50 {
		response, err := do(t.Context(), p.query(t, up))
		require.NoError(t, err)
		require.Equal(t, tier.Hot, response.Tier)
		require.Equal(t, "{}", body(t, response))
	}
}

func TestDo_MemoryOfDecodedAnswersIsBounded(t *testing.T) {
	p := newTiers(t)
	p.cold.Handle(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s{"metric":{},"value":[1,"1"]}]}}`,
			strings.Repeat(`{"metric":{"a":"b"},"value":[1,"1"]},`, 1000))
	})
	query := p.query(t, url.Values{"query": {"up"}, "limit": {"3"}})
	query.Forced, query.Decoded = tier.Cold, admission.NewByteBudget(160<<10) // One datasource may hold half of it.
	first, err := do(t.Context(), query)
	require.NoError(t, err)
	// The answer is in memory until it has been sent. Others are cut while they pass.
	held, _ := query.Decoded.Used()
	require.Greater(t, held, int64(40<<10))
	second, err := do(t.Context(), query)
	require.NoError(t, err)
	most, _ := query.Decoded.Used()
	require.LessOrEqual(t, most, int64(80<<10))
	require.JSONEq(t, body(t, first), body(t, second))
	held, _ = query.Decoded.Used()
	require.Zero(t, held)
}
