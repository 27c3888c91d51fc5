package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// answerHeaders are all headers that an answer with the body of a tier may have.
var answerHeaders = []string{
	"Cache-Control", "Content-Encoding", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "Retry-After", "Server-Timing",
	"Vary", "X-Content-Type-Options", "X-Request-Id", "X-Tier", "X-Tier-Cache", "X-Tier-Reason",
}

// A tier sends every header by which it could reach into the browser, or pass for
// tierproxy.
func TestAnswerHeader_OnlyTheListPasses(t *testing.T) {
	for _, status := range []int{200, 400, 422, 500} {
		g := newGateway(t, func(c *config.Config) { c.Hot.URL = "" })
		g.cold.Handle(func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			for _, name := range []string{
				"Access-Control-Allow-Credentials", "Access-Control-Allow-Origin", "Alt-Svc", "Cache-Control", "Clear-Site-Data",
				"Content-Disposition", "Content-Location", "ETag", "Last-Modified", "Link", "Location", "Refresh", "Report-To", "Server", "Service-Worker-Allowed",
				"Set-Cookie", "Strict-Transport-Security", "Timing-Allow-Origin", "Trailer", "Warning", "Www-Authenticate", "X-Accel-Redirect",
				"X-Frame-Options", "X-Of-The-Tier", "X-Sendfile", "X-Tier-Anything", "X-Tier-Cache", "X-Xss-Protection",
			} {
				header.Set(name, "forged")
			}
			for _, name := range []string{"Content-Security-Policy", "Server-Timing", "X-Content-Type-Options", "X-Request-Id", "X-Tier", "X-Tier-Reason"} {
				header.Set(name, "forged")
			}
			header.Set("Vary", "Accept-Encoding")
			header.Set("Retry-After", "7")
			w.WriteHeader(http.StatusEarlyHints)
			header.Set("Trailer", "X-Trailer")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, faketier.Vector("1"))
			header.Set("X-Trailer", "forged")
			header.Set(http.TrailerPrefix+"X-Later", "forged")
		})
		response, _ := g.ask(t, http.MethodGet, query, "")
		require.Equal(t, status, response.StatusCode)
		for name, values := range response.Header {
			require.True(t, slices.Contains(answerHeaders, name), "%s: %v", name, values)
			require.NotContains(t, strings.Join(values, ","), "forged", name)
		}
		require.Empty(t, response.Trailer)
		require.Equal(t, "Accept-Encoding", response.Header.Get("Vary"))
		require.Equal(t, "7", response.Header.Get("Retry-After"))
	}
}

func TestAnswerHeader_ContentTypeIsOneOfTheAPI(t *testing.T) {
	const page = "<!doctype html><script>alert(1)</script>"
	for _, test := range []struct {
		given    string
		status   int
		expected string
	}{
		{"application/json", 200, "application/json"},
		{"application/json; charset=utf-8", 200, "application/json; charset=utf-8"},
		{"Application/JSON;charset=UTF-8", 200, "application/json; charset=utf-8"},
		{"application/json; charset=utf-7", 200, "application/json"},
		{"application/json;a=b,text/html", 200, "application/json"},
		{"application/json, image/svg+xml", 200, "application/json"},
		{"image/svg+xml", 200, "application/json"},
		{"", 200, "application/json"},
		{"text/html; charset=utf-8", 400, "application/json"},
		{"application/xhtml+xml", 422, "application/json"},
		{"application/json", 422, "application/json"},
		{"", 500, "application/json"},
		{"not a type", 500, "application/json"},
	} {
		t.Run(fmt.Sprintf("%d %s", test.status, test.given), func(t *testing.T) {
			g := newGateway(t, func(c *config.Config) { c.Hot.URL = "" })
			g.cold.Handle(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = []string{test.given}
				w.WriteHeader(test.status)
				if test.status == http.StatusOK {
					faketier.Success(w, r)
					return
				}
				_, _ = io.WriteString(w, page)
			})
			response, _ := g.ask(t, http.MethodGet, query, "")
			require.Equal(t, test.status, response.StatusCode)
			require.Equal(t, []string{test.expected}, response.Header.Values("Content-Type"))
		})
	}
}

func TestAnswerHeader_NoAnswerIsAPageOfItsOwn(t *testing.T) {
	g := newGateway(t, nil)
	for _, path := range []string{
		query, "/api/v1/query?query=(", "/api/v1/nothing", "/proxy/unknown", "/..", "/-/healthy", "/-/ready", "/metrics", "/",
		"/api/v1/datasources/health", "/api/v1/datasources/explain?query=up", "/api/v1/datasources/check", "/api/v1/metrics/query", "/api/v1/alert_thresholds",
	} {
		response, _ := g.raw(t, http.MethodGet, path)
		require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"), path)
		if path != "/" {
			require.Contains(t, response.Header.Get("Content-Security-Policy"), "sandbox", path)
			continue
		}
		require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	}
}
