package catalogtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Failing returns the address of a server in front of another one that fails one request, by its
// number from 1: with status 500, or with an answer that lacks data and has a warning. It counts the
// requests.
func Failing(t testing.TB, target string, number int64, isPartial bool, count *atomic.Int64) string {
	t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(parsed)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch {
		case count.Add(1) != number:
			proxy.ServeHTTP(w, request)
		case isPartial && strings.HasSuffix(request.URL.Path, "/series"):
			_, _ = io.WriteString(w, `{"status":"success","data":[],"warnings":["a store is gone"]}`)
		case isPartial:
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["a store is gone"]}`)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
