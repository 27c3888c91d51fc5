//go:build e2e

package oracle

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// unwell is a proxy in front of cold. Its fault concerns every request, also those of the
// gateway's own.
type unwell struct {
	*httptest.Server
	fault atomic.Pointer[fault]
}

// fault answers a request in cold's place, or returns false.
type fault func(http.ResponseWriter, *http.Request) (answered bool)

func newUnwell(t *testing.T, cold string) *unwell {
	t.Helper()
	parsed, err := url.Parse(cold)
	require.NoError(t, err)
	u, proxy := &unwell{}, httputil.NewSingleHostReverseProxy(parsed)
	u.Server = httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if fault := u.fault.Load(); fault == nil || !(*fault)(response, request) {
			proxy.ServeHTTP(response, request)
		}
	}))
	t.Cleanup(u.Close)
	return u
}

// slow takes so long for everything.
func slow(duration time.Duration) fault {
	return func(response http.ResponseWriter, request *http.Request) bool {
		select {
		case <-time.After(duration):
			return false
		case <-request.Context().Done():
			response.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	}
}

func errs(response http.ResponseWriter, _ *http.Request) bool {
	response.WriteHeader(http.StatusInternalServerError)
	return true
}

// limited answers two requests a second.
func limited() fault {
	limiter := rate.NewLimiter(2, 2)
	return func(response http.ResponseWriter, _ *http.Request) bool {
		if limiter.Allow() {
			return false
		}
		response.WriteHeader(http.StatusTooManyRequests)
		return true
	}
}

// TestColdUnwell_HotAnswersAndTheGatewayAsksLess lets a Thanos become slow, err, or limit the
// rate of requests. Hot goes on answering what it holds, and the gateway's own requests become
// fewer.
func TestColdUnwell_HotAnswersAndTheGatewayAsksLess(t *testing.T) {
	w, oracle, hot, cold := coldWorld(t)
	questions := []question{{endpoint: "query", values: url.Values{"query": {"sum(node_load1)"}, "time": {seconds(w.now)}}}}
	for _, asked := range w.coldsQuestions() {
		if asked.endpoint != "labels" { // Cold's have other labels than the oracle's.
			questions = append(questions, asked)
		}
	}
	for name, fault := range map[string]fault{"slow": slow(10 * time.Second), "errs": errs, "limited": limited()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUnwell(t, cold)
			g := w.gateway(t, hot, u.URL, func(settings *config.Config) { settings.Cache.Enabled = false })
			// look asks everything for some seconds. It returns how many requests for evidence and
			// comparisons cold got meanwhile.
			look := func() (own int) {
				before := evidenceRequests(t, g)
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
					for _, asked := range questions {
						expected, err := ask(t.Context(), oracle, asked)
						require.NoError(t, err)
						got, err := ask(t.Context(), g.URL, asked)
						require.NoError(t, err)
						require.Empty(t, difference(expected, got), "%s", asked)
						require.Empty(t, got.warnings, "%s", asked)
					}
				}
				return evidenceRequests(t, g) - before
			}
			well := look()
			u.fault.Store(&fault)
			look()
			unwell := look()
			t.Logf("requests: %d while cold is well, %d later", well, unwell)
			require.LessOrEqual(t, unwell, 4, "pauses are two seconds at least now")
			require.Greater(t, well, unwell)
		})
	}
}

// evidenceRequests returns how many requests a gateway has sent to cold by which it learns about
// metrics. Those that find out whether cold answers go on at every probe.interval.
func evidenceRequests(t *testing.T, g *runningGateway) int {
	t.Helper()
	return ownRequests(t, g, `\{kind="(?:series|names|samples|sources)",outcome="[^"]*",tier="cold"\}`)
}
