//go:build e2e

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// exchangeTimeout bounds one case. Every case takes milliseconds, apart from the
// few that wait for a limit of the gateway.
const exchangeTimeout = 20 * time.Second

// maxResponseBytes bounds what is read of one response.
const maxResponseBytes = 1 << 20

// lines joins the lines of a request with CR LF.
func lines(list ...string) string { return strings.Join(list, "\r\n") }

// send is a request without a body, as the last one of its connection.
func send(method, target string, headers ...string) string {
	return lines(slices.Concat([]string{method + " " + target + " HTTP/1.1", "Host: gateway", "Connection: close"}, headers, []string{"", ""})...)
}

// get is a GET with more headers.
func get(target string, headers ...string) string { return send("GET", target, headers...) }

// post is a POST of a body to a target, as a form unless headers say otherwise.
func post(target, body string, headers ...string) string {
	if !slices.ContainsFunc(headers, func(header string) bool { return strings.HasPrefix(header, "Content-Type") }) {
		headers = append([]string{"Content-Type: application/x-www-form-urlencoded"}, headers...)
	}
	return send("POST", target, append(headers, fmt.Sprintf("Content-Length: %d", len(body)))...) + body
}

// form is a POST of a form to the endpoint query.
func form(body string, headers ...string) string { return post("/api/v1/query", body, headers...) }

// response is what came back for one request.
type response struct {
	status int
	header http.Header
	body   string
	// whole is set if the body ended as it said it would.
	whole bool
}

// exchange sends bytes on a connection of its own and returns the responses, up
// to the end of the connection. halfClose ends the sending side first. more, if
// not nil, goes on sending until its connection fails.
func exchange(t *testing.T, address, raw string, halfClose bool, more func(io.Writer)) []response {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	require.NoError(t, connection.SetDeadline(time.Now().Add(exchangeTimeout)))
	var sending sync.WaitGroup
	sending.Go(func() {
		_, err := io.WriteString(connection, raw) // It fails when the gateway has answered and closed, which is its right.
		if err == nil && more != nil {
			more(connection)
		}
		if tcp, is := connection.(*net.TCPConn); is && halfClose {
			_ = tcp.CloseWrite()
		}
	})
	defer sending.Wait()
	defer func() { _ = connection.Close() }()
	method, _, _ := strings.Cut(raw, " ")
	reader := bufio.NewReader(connection)
	var list []response
	for {
		got, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return list
		}
		body, err := io.ReadAll(io.LimitReader(got.Body, maxResponseBytes))
		list = append(list, response{status: got.StatusCode, header: got.Header, body: string(body), whole: err == nil && len(body) < maxResponseBytes})
		if err != nil || len(body) == maxResponseBytes {
			return list
		}
	}
}

// statuses are those of responses, with "cut" behind one that ended early and
// "closed" for none at all.
func statuses(list []response) string {
	if len(list) == 0 {
		return "closed"
	}
	var words []string
	for _, each := range list {
		words = append(words, fmt.Sprint(each.status))
		if !each.whole {
			words = append(words, "cut")
		}
	}
	return strings.Join(words, " ")
}

// recorder is a tier that notes what reaches it.
type recorder struct {
	*httptest.Server

	mutex   sync.Mutex
	reached []string      // method, target and body
	headers []http.Header // of the same requests
	answer  http.HandlerFunc
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{answer: answerOne}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// answerOne answers every request with one sample.
func answerOne(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(request.URL.Path, "/query") || strings.HasSuffix(request.URL.Path, "/query_range") {
		faketier.Success(w, request)
		return
	}
	_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
}

// ServeHTTP answers the gateway's own questions, and notes everything else.
func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.UserAgent(), "tierproxy (probe)") {
		w.Header().Set("Content-Type", "application/json")
		faketier.Probes(w, request)
		return
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		body = append(body, " then "+err.Error()...)
	}
	header := request.Header.Clone()
	header.Set("Host", request.Host)
	r.mutex.Lock()
	r.reached = append(r.reached, strings.TrimSpace(request.Method+" "+request.RequestURI+" "+string(body)))
	r.headers = append(r.headers, header)
	answer := r.answer
	r.mutex.Unlock()
	answer(w, request)
}

// answerWith sets what answers from now on.
func (r *recorder) answerWith(answer http.HandlerFunc) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.answer = answer
}

// take returns what reached the tier since the last call.
func (r *recorder) take() (reached []string, headers []http.Header) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	reached, headers = r.reached, r.headers
	r.reached, r.headers = nil, nil
	return reached, headers
}

func readAll(t *testing.T, reader io.Reader) []byte {
	t.Helper()
	content, err := io.ReadAll(reader)
	require.NoError(t, err)
	return content
}
