package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// served is a served Manager with two fake tiers.
type served struct {
	*httptest.Server
	manager   *datasource.Manager
	hot, cold *faketier.Tier
	transport http.RoundTripper // nil for http.DefaultTransport
}

func newGateway(t *testing.T, change func(*config.Config)) *served {
	t.Helper()
	return newGatewayAt(t, faketier.Start(t), faketier.Start(t), change)
}

// newGatewayAt is newGateway with tiers that answer as the test wants from the first
// probe on.
func newGatewayAt(t *testing.T, hot, cold *faketier.Tier, change func(*config.Config)) *served {
	t.Helper()
	g := &served{hot: hot, cold: cold}
	settings := running.TwoTiers(g.hot.URL, g.cold.URL)
	if change != nil {
		change(&settings)
	}
	g.manager = running.Manager(t, settings)
	g.Server = httptest.NewServer(gateway.New(g.manager))
	t.Cleanup(g.Close)
	return g
}

// bubbleInterval is the probe interval in a bubble.
const bubbleInterval = 15 * time.Second

// newGatewayInBubble is newGateway in a bubble of testing/synctest, whose clock is not the real
// one: waitForProbes takes no time. prepare, if not nil, sets the answers of the tiers before
// their first probe.
func newGatewayInBubble(t *testing.T, change func(*config.Config), prepare func(*served)) *served {
	t.Helper()
	network := &faketier.Network{}
	g := &served{hot: network.Start(t, "hot:9090"), cold: network.Start(t, "cold:9090")}
	if prepare != nil {
		prepare(g)
	}
	settings := running.TwoTiers(g.hot.URL, g.cold.URL)
	settings.Probe.Interval = config.Duration(bubbleInterval)
	if change != nil {
		change(&settings)
	}
	g.manager = running.Manager(t, settings, core.WithNetwork(&upstream.Network{Dial: network.Dial}).(datasource.Option))
	g.Server = network.Serve(t, "gateway:9190", gateway.New(g.manager))
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	g.transport = transport
	return g
}

// waitForProbes waits for the next probes in a bubble: intervals differ by up to a tenth.
func waitForProbes() {
	time.Sleep(bubbleInterval * 8 / 5) // After that, health waits for the next probes.
	synctest.Wait()
}

// health returns everything that is known of the tiers.
func (g *served) health(t *testing.T) resolve.Health {
	t.Helper()
	own, err := core.Of(g.manager).Resolver.Default()
	require.NoError(t, err)
	return own.Health(time.Now(), true)
}

// ask makes a request and returns the answer with its body.
func (g *served) ask(t *testing.T, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.URL+target, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	transport := g.transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(text)
}

const query = "/api/v1/query?query=up"

func TestHandler_AnswerNamesTierAndReason(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Of-The-Tier", "kept")
		w.Header().Set("Set-Cookie", "jwtPayload=stolen")
		w.Header().Set("Www-Authenticate", "Basic")
		faketier.Success(w, r)
	})
	response, body := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, faketier.Vector("1"), body)
	require.Equal(t, "hot", response.Header.Get("X-Tier"))
	require.Equal(t, "below-threshold", response.Header.Get("X-Tier-Reason"))
	require.Regexp(t, regexp.MustCompile(`^upstream;dur=\d+\.\d{3};desc="hot", tierproxy;dur=\d+\.\d{3}$`), response.Header.Get("Server-Timing"))
	require.Empty(t, response.Header.Values("X-Of-The-Tier"))
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.Empty(t, response.Header.Values("Set-Cookie"))
	require.Empty(t, response.Header.Values("Www-Authenticate"))
	require.False(t, response.Close, "only what comes from Perses is answered without keep-alive")
}

func TestHandler_CallerChoosesTheTier(t *testing.T) {
	g := newGateway(t, nil)
	for choice, expected := range map[string]string{
		"hot": "hot forced", "cold": "cold forced", " COLD ": "cold forced", "auto": "hot below-threshold", "": "hot below-threshold",
	} {
		response, _ := g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", choice)
		require.Equal(t, expected, response.Header.Get("X-Tier")+" "+response.Header.Get("X-Tier-Reason"), "%q", choice)
	}
	response, body := g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "warm", "X-Request-Id", "1")
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.JSONEq(t, `{"status":"error","errorType":"bad_data","error":"the header X-Tier-Choice is \"warm\": it must be hot, cold or auto","requestId":"1"}`, body)
}

func TestHandler_RefusesAmbiguousPaths(t *testing.T) {
	g := newGateway(t, nil)
	for path, status := range map[string]int{
		"/api/v1/%2e%2e/admin":                      400,
		"/api/v1/../query":                          400,
		"/./api/v1/query":                           400,
		"/api/v1/label/a%2Fb/values":                400,
		"/api/v1/label/a%252Fb/values":              400,
		"/api/v1/label/a%5Cb/values":                400,
		"/proxy/globaldatasources/..%2Fmetrics/api": 400,
		"/proxy/globaldatasources/../metrics/":      400,
		"/api/v1/label/job/values":                  200,
		"/api/v1/label/caf%C3%A9/values":            200,
		"/api/v1/admin/tsdb/delete_series":          403,
		"/api/v1/write":                             403,
		"/-/reload":                                 403,
		"/-/quit":                                   403,
		"/api/v1/targets/secret":                    404,
		"/graph":                                    404,
		"/proxy":                                    404,
		"/proxy/":                                   404,
		"/proxy/unsaved/globaldatasources/api/v1":   404,
		"/proxy/projects/p/dashboards/d/datasources/n/api/v1/query": 404,
	} {
		response, body := g.raw(t, http.MethodGet, path)
		require.Equal(t, status, response.StatusCode, "%s: %s", path, body)
		if status != http.StatusOK {
			var decoded map[string]string
			require.NoError(t, json.Unmarshal([]byte(body), &decoded), body)
			require.Equal(t, "error", decoded["status"])
			require.NotEmpty(t, decoded["errorType"])
			require.NotEmpty(t, decoded["error"])
		}
	}
	require.Len(t, append(g.hot.Requests(), g.cold.Requests()...), 2, "nothing else reached a tier")
}

// raw sends the request line as it is, which Go's client would tidy up.
func (g *served) raw(t *testing.T, method, path string) (*http.Response, string) {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n", method, path)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

func TestHandler_PassesRequestsOnUnchanged(t *testing.T) {
	g := newGateway(t, nil)
	// Parameters in URL and body, a form under another content type, unknown ones.
	response, _ := g.ask(t, http.MethodPost, "/api/v1/query?unknown=%2B1&stats=all", "query=up%7Ba%3D%22b%22%7D&x=+y&time=7.0", "Content-Type", "text/plain", "Cookie", "jwtPayload=secret", "X-Scope-OrgID", "other")
	require.Equal(t, http.StatusOK, response.StatusCode)
	seen := g.cold.Requests()[0]
	require.Equal(t, http.MethodPost, seen.Method)
	require.Equal(t, "query=up%7Ba%3D%22b%22%7D&x=+y&time=7.0", seen.Body)
	require.Equal(t, url.Values{"unknown": {"+1"}, "stats": {"all"}, "query": {`up{a="b"}`}, "x": {" y"}, "time": {"7.0"}}, seen.Parameters)
	require.NotContains(t, seen.Header, "Cookie")
	require.NotContains(t, seen.Header, "X-Scope-Orgid")

	response, body := g.ask(t, http.MethodPost, "/api/v1/query", strings.Repeat("x", 5<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
	require.Contains(t, body, `"errorType":"bad_data"`)
}

func TestHandler_SendsTheTimeOfNow(t *testing.T) {
	g := newGateway(t, nil)
	before := time.Now().Add(-time.Millisecond)
	response, _ := g.ask(t, http.MethodPost, "/api/v1/query?unknown=%2B1", "query=up%7Ba%3D%22b%22%7D&x=+y")
	require.Equal(t, http.StatusOK, response.StatusCode)
	seen := g.hot.Requests()[0]
	at, err := strconv.ParseFloat(seen.Parameters.Get("time"), 64)
	require.NoError(t, err)
	require.WithinRange(t, time.UnixMilli(int64(math.Round(at*1000))), before, time.Now())
	require.Equal(t, "query=up%7Ba%3D%22b%22%7D&x=+y&time="+seen.Parameters.Get("time"), seen.Body, "the bytes of all others stay")

	// With one tier there is no decision that it could differ from.
	g = newGateway(t, func(settings *config.Config) { settings.Hot.URL = "" })
	response, _ = g.ask(t, http.MethodGet, "/api/v1/query?query=up", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, url.Values{"query": {"up"}}, g.cold.Requests()[0].Parameters)
}

// untimed is what reaches a tier without the times that the gateway adds.
func untimed(parameters url.Values) url.Values {
	rest := maps.Clone(parameters)
	rest.Del("time")
	if rest.Get("start") == "0" {
		rest.Del("start")
	}
	return rest
}

func TestHandler_CutOffAnswerAbortsTheConnection(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		g := newGateway(t, nil)
		g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
			if !chunked {
				faketier.CutOff(w, r)
			}
			_, _ = w.Write([]byte(`{"status":"success","data":`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		response, err := http.Get(g.URL + query)
		require.NoError(t, err, "the header is out before the tier fails")
		require.Equal(t, http.StatusOK, response.StatusCode)
		_, err = io.ReadAll(response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "half an answer must not pass for a whole one")
		require.NoError(t, response.Body.Close())
		require.Empty(t, g.cold.Requests())
	}
}

func TestHandler_StreamsAnswers(t *testing.T) {
	g := newGateway(t, nil)
	received := make(chan struct{})
	g.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":["first",`))
		_ = http.NewResponseController(w).Flush()
		<-received
		_, _ = w.Write([]byte(`"second"]}`))
	})
	response, err := http.Get(g.URL + query)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	first := make([]byte, len(`{"data":["first",`))
	_, err = io.ReadFull(response.Body, first)
	require.NoError(t, err)
	close(received)
	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, `{"data":["first","second"]}`, string(first)+string(rest))
}

func TestHandler_ErrorsHaveThePrometheusShape(t *testing.T) {
	g := newGateway(t, nil)
	_, _ = g.ask(t, http.MethodGet, query, "") // It waits until the gateway knows what the tiers hold.
	g.hot.Close()
	g.cold.Close()
	response, body := g.ask(t, http.MethodGet, query, "", "X-Request-Id", "1")
	require.Equal(t, http.StatusBadGateway, response.StatusCode)
	require.JSONEq(t, `{"status":"error","errorType":"unavailable","error":"the cold tier failed: it refused the connection","requestId":"1"}`, body)
	require.Equal(t, "cold", response.Header.Get("X-Tier"))
	require.Equal(t, "hot-failed", response.Header.Get("X-Tier-Reason"))
}

func TestHealth_FollowsTheTiers(t *testing.T) {
	synctest.Test(t, testHealthFollowsTheTiers)
}

func testHealthFollowsTheTiers(t *testing.T) {
	g := newGatewayInBubble(t, nil, nil)
	response, body := g.ask(t, http.MethodGet, "/api/v1/datasources/health", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	var health struct {
		Status             string    `json:"status"`
		ThanosEndpoint     string    `json:"thanos_endpoint"`
		PrometheusEndpoint string    `json:"prometheus_endpoint"`
		ServiceDiscovery   *bool     `json:"service_discovery"`
		LastCheck          time.Time `json:"last_check"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &health))
	require.Equal(t, []string{"healthy", g.cold.URL, g.hot.URL}, []string{health.Status, health.ThanosEndpoint, health.PrometheusEndpoint})
	require.NotNil(t, health.ServiceDiscovery)
	require.WithinDuration(t, time.Now(), health.LastCheck, 10*time.Second)
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		response, _ = g.ask(t, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, response.StatusCode, path)
	}

	g.hot.HandleProbes(faketier.Status(503, ""))
	waitForProbes()
	_, body = g.ask(t, http.MethodGet, "/api/v1/datasources/health", "")
	require.Contains(t, body, `"available":false`)
	require.Contains(t, body, `"status":"degraded"`)
	response, _ = g.ask(t, http.MethodGet, query, "")
	require.Equal(t, "hot-unavailable", response.Header.Get("X-Tier-Reason"))
	g.cold.HandleProbes(faketier.Status(503, ""))
	waitForProbes()
	response, body = g.ask(t, http.MethodGet, "/api/v1/datasources/health", "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Contains(t, body, `"status":"unhealthy"`)
	response, _ = g.ask(t, http.MethodGet, "/-/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	response, _ = g.ask(t, http.MethodGet, "/-/healthy", "")
	require.Equal(t, http.StatusOK, response.StatusCode, "restarting tierproxy would not help the tiers")

	_, body = g.ask(t, http.MethodGet, "/metrics", "")
	for _, line := range []string{
		`tierproxy_queries_total{outcome="success",reason="hot-unavailable",tier="cold"} 1`,
		`tierproxy_queries_total{outcome="success",reason="older-than-hot",tier="cold"} 0`,
		`tierproxy_tier_available{tier="hot"} 0`,
		`tierproxy_query_duration_seconds_count{endpoint="query"} 1`,
		`tierproxy_queries_in_flight 0`,
	} {
		require.Contains(t, body, line+"\n")
	}
}

func TestLogs_HoldNeitherQueriesNorCredentials(t *testing.T) {
	tier := faketier.Start(t)
	logger, logged := test.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	manager := running.Start(t, running.TwoTiers("", tier.URL), logger)
	g := &served{Server: httptest.NewServer(gateway.New(manager))}
	t.Cleanup(g.Close)
	ask := func() {
		for _, path := range []string{"/api/v1/query?query=hushhush", "/api/v1/query?query=hushhush&time=x", "/unknown?query=hushhush"} {
			g.ask(t, http.MethodGet, path, "", "Authorization", "Bearer hushhush", "Cookie", "jwtPayload=hushhush")
			g.ask(t, http.MethodPost, path, "query=hushhush", "Authorization", "Bearer hushhush", "Cookie", "jwtPayload=hushhush")
		}
	}
	ask()
	tier.Close()
	ask()
	entries := logged.AllEntries()
	require.Greater(t, len(entries), 8)
	for _, entry := range entries {
		text, err := entry.String()
		require.NoError(t, err)
		require.NotContains(t, text, "hushhush")
	}
}

func TestRoot_WithPersesServesSavedDatasourcesOnly(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Perses.URL = "http://127.0.0.1:1" })
	response, body := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.Contains(t, body, "/proxy/globaldatasources/NAME")
	response, body = g.ask(t, http.MethodGet, "/proxy/globaldatasources/metrics"+query, "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, body)
	require.Contains(t, body, "Perses")
	require.NotContains(t, body, "127.0.0.1")
	require.True(t, response.Close, "Perses never uses a connection twice")
	for _, path := range []string{"/-/ready", "/-/healthy", "/metrics", "/api/v1/datasources/health"} {
		response, _ = g.ask(t, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, response.StatusCode, path)
	}

	g = newGateway(t, nil)
	response, body = g.ask(t, http.MethodGet, "/proxy/globaldatasources/metrics"+query, "")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.Contains(t, body, "set perses.url")
}
