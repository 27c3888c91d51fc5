package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// soon is far longer than what is waited for takes, and far less than for ever.
const soon = 20 * time.Second

// dial connects to the gateway and sends what is given, as it is.
func (g *served) dial(t *testing.T, raw string) net.Conn {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(soon)))
	_, err = io.WriteString(connection, raw)
	require.NoError(t, err)
	return connection
}

func TestHandler_PassesOnOnlyListedHeadersOfATier(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		for _, name := range []string{
			"Clear-Site-Data", "Refresh", "Location", "Access-Control-Allow-Origin", "X-Tier-Cache", "X-Tier-Choice", "Set-Cookie", "Content-Disposition", "Link",
			"Strict-Transport-Security", "Server", "X-Anything", "ETag", "Cache-Control", "X-Request-Id", "Trailer-Of-The-Tier",
		} {
			header.Set(name, "of-the-tier")
		}
		header.Set("Content-Type", "text/plain")
		header.Set("Content-Security-Policy", "of-the-tier")
		header.Set("Vary", "Accept-Encoding")
		faketier.Success(w, r)
	})
	response, body := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	for name, values := range response.Header {
		require.NotContains(t, strings.Join(values, " "), "of-the-tier", name)
	}
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.Equal(t, "Accept-Encoding", response.Header.Get("Vary"))
	for _, target := range []string{query, "/api/v1/query", "/nothing", "/-/healthy", "/api/v1/datasources/health", "/"} {
		response, _ := g.ask(t, http.MethodGet, target, "")
		require.Equal(t, []string{"nosniff"}, response.Header.Values("X-Content-Type-Options"), target)
		require.Len(t, response.Header.Values("Content-Security-Policy"), 1, target)
		require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'", target)
	}
}

func TestHandler_AClientThatDoesNotReadGivesItsSlotBack(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) {
		settings.Query.Timeout = config.Duration(500 * time.Millisecond)
		settings.Pool.Size = 1
	})
	began := make(chan struct{}, 1)
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("query") != "large" {
			faketier.Success(w, r)
			return
		}
		began <- struct{}{}
		piece := `{"status":"success","data":"` + strings.Repeat("x", 1<<20)
		for {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	})
	silent := g.dial(t, "GET /api/v1/query?query=large HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	require.Eventually(t, func() bool {
		response, _ := g.ask(t, http.MethodGet, query, "")
		return response.StatusCode == http.StatusOK && response.Header.Get("X-Tier") == "hot"
	}, soon, 10*time.Millisecond)
	require.NoError(t, silent.SetDeadline(time.Now().Add(soon)))
	_, err := io.Copy(io.Discard, silent)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is ended")
}

func TestHandler_ABodyHasToArriveInTime(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Query.Timeout = config.Duration(200 * time.Millisecond) })
	for _, target := range []string{"/api/v1/query", "/api/v1/metrics/query", "/api/v1/datasources/check", "/api/v1/labels", "/nothing"} {
		connection := g.dial(t, "POST "+target+" HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nquery=")
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err, target)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, response.StatusCode, target)
		require.NoError(t, response.Body.Close())
		_, err = io.Copy(io.Discard, connection)
		require.NoError(t, err, "%s: the connection ends", target)
	}
	require.Empty(t, g.hot.Requests())
}

func TestHandler_BodiesAreBoundedOneByOneAndTogether(t *testing.T) {
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	g := newGateway(t, func(settings *config.Config) { settings.Limits.RequestMemory = 4 << 20 })
	for target, body := range map[string]string{
		"/api/v1/query": "query=" + strings.Repeat("x", 300<<10), "/api/v1/metrics/query": `{"query":"` + strings.Repeat("x", 300<<10) + `"}`,
		"/api/v1/datasources/check": `{"x":"` + strings.Repeat("x", 300<<10) + `"}`,
	} {
		response, answer := g.ask(t, http.MethodPost, target, body)
		require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode, "%s: %s", target, answer)
		require.Contains(t, answer, "is larger than 262144 bytes", target)
	}
	// One caller gets a quarter of the memory, of which a body takes four times its
	// size.
	padding := strings.Repeat("x", 150<<10)
	body := "query=up&padding=" + padding
	hold := func() net.Conn {
		return g.dial(t, fmt.Sprintf("POST /api/v1/query HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", form, len(body)+1, body))
	}
	ask := func() (*http.Response, string) {
		return g.ask(t, http.MethodPost, "/api/v1/query", url.Values{"query": {"up"}, "padding": {padding}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	held := hold()
	require.Eventually(t, func() bool {
		response, answer := ask()
		if response.StatusCode == http.StatusOK {
			// It came first, and the one that is to be held may have been refused.
			_ = held.Close()
			held = hold()
			return false
		}
		return response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "1" && strings.Contains(answer, "limits.request_memory")
	}, soon, 10*time.Millisecond)
	response, answer := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode, answer)
	require.NoError(t, held.Close())
	require.Eventually(t, func() bool {
		response, _ := ask()
		return response.StatusCode == http.StatusOK
	}, soon, 10*time.Millisecond)
	settings := config.Default()
	settings.Limits.RequestMemory = 1 << 20
	require.ErrorContains(t, settings.Validate(), "limits.request_memory: is 1048576, and must be at least 4194304")
}

func TestHandler_TheQueryStringIsBounded(t *testing.T) {
	g := newGateway(t, nil)
	response, answer := g.ask(t, http.MethodGet, "/api/v1/query?query=up&x="+strings.Repeat("x", 300<<10), "")
	require.Equal(t, http.StatusRequestURITooLong, response.StatusCode, answer)
	require.Empty(t, g.hot.Requests())
}
