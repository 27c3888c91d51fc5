package gaps

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// closed stands for an answer whose connection is closed in the middle.
const closed = -1

// tap forwards the requests of a client to a server, and notes them.
type tap struct {
	asker
	mutex  sync.Mutex
	asked  []string
	failed int // the number of the request that fails, from 1; zero for none
	status int // the status of its answer, or closed
}

func tapOf(t *testing.T, target string) *tap {
	t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	noted, proxy := &tap{}, httputil.NewSingleHostReverseProxy(parsed)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		query, _ := url.QueryUnescape(request.URL.RawQuery)
		noted.mutex.Lock()
		noted.asked = append(noted.asked, request.URL.Path+"?"+query)
		fails, status := len(noted.asked) == noted.failed, noted.status
		noted.mutex.Unlock()
		switch {
		case !fails:
			proxy.ServeHTTP(w, request)
		case status == closed:
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush() // The client may be gone.
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(server.Close)
	noted.asker = asker{catalogtest.Asking(t, server.URL)}
	return noted
}

// fail forgets what was asked, and lets a request from now on fail.
func (n *tap) fail(number, status int) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.asked, n.failed, n.status = nil, number, status
}

// requests returns what was asked since the last call that contains a text.
func (n *tap) requests(text string) (found []string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, each := range n.asked {
		if strings.Contains(each, text) {
			found = append(found, each)
		}
	}
	n.asked = nil
	return found
}

// matrix returns a result of a series that has samples some seconds before a time.
func matrix(at time.Time, ago ...float64) string {
	var values [][2]any
	for _, each := range ago {
		values = append(values, [2]any{float64(at.UnixMilli())/1000 - each, "1"})
	}
	encoded, _ := json.Marshal(map[string]any{"resultType": "matrix", "result": []any{map[string]any{"metric": map[string]string{}, "values": values}}})
	return string(encoded)
}
