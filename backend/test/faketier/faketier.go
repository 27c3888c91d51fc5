// Package faketier is a tier that can be made to fail: for what cannot be
// provoked from a real Prometheus, such as errors of a gateway, hanging peers
// and answers that are cut off. It listens on a real socket.
package faketier

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one that reached the tier; probes are left out.
type Request struct {
	// Method, Path and Header are as they came in; Body is read.
	Method, Path string
	Header       http.Header
	Body         string
	// Parameters are those of query string and body together.
	Parameters url.Values
}

// Tier is a running fake. It answers the probes of the gateway like a
// Prometheus whose oldest sample is a day old; everything else is up to its
// handler.
type Tier struct {
	*httptest.Server

	mutex    sync.Mutex
	requests []Request
	handler  http.HandlerFunc
	probes   http.HandlerFunc
}

// New starts a fake that answers every request with Success. Close stops it.
func New() *Tier {
	t := &Tier{handler: Success, probes: Probes}
	t.Server = httptest.NewServer(t)
	return t
}

// Start is New for a test, which stops the fake at its end.
func Start(t testing.TB) *Tier {
	t.Helper()
	started := New()
	t.Cleanup(started.Close)
	return started
}

// Handle sets what answers the requests from now on.
func (t *Tier) Handle(handler http.HandlerFunc) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.handler = handler
}

// HandleProbes sets what answers the probes from now on.
func (t *Tier) HandleProbes(handler http.HandlerFunc) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.probes = handler
}

// Requests returns what reached the tier so far, without the probes.
func (t *Tier) Requests() []Request {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return slices.Clone(t.requests)
}

// ServeHTTP implements http.Handler.
func (t *Tier) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if isProbe(request) {
		t.mutex.Lock()
		handler := t.probes
		t.mutex.Unlock()
		handler(w, request)
		return
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body)) // For the handler.
	parameters := request.URL.Query()
	if form, err := url.ParseQuery(string(body)); err == nil {
		for name, values := range form {
			parameters[name] = append(parameters[name], values...)
		}
	}
	t.mutex.Lock()
	t.requests = append(t.requests, Request{
		Method: request.Method, Path: request.URL.EscapedPath(), Header: request.Header.Clone(), Body: string(body), Parameters: parameters,
	})
	handler := t.handler
	t.mutex.Unlock()
	handler(w, request)
}

func isProbe(request *http.Request) bool {
	return strings.HasPrefix(request.UserAgent(), "tierproxy (probe)")
}

// Probes answers the probes like a Prometheus that started a day ago and has no series named up.
func Probes(w http.ResponseWriter, request *http.Request) {
	dayAgo := time.Now().Add(-24 * time.Hour).UnixMilli()
	switch {
	case request.URL.Query().Get("query") == "vector(1)":
		_, _ = fmt.Fprint(w, Vector("1"))
	case strings.HasSuffix(request.URL.Path, "/blocks"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"blocks":[{"minTime":%d,"maxTime":%d}]}}`, dayAgo, time.Now().UnixMilli())
	case strings.HasSuffix(request.URL.Path, "/runtimeinfo"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"startTime":%q}}`, time.UnixMilli(dayAgo).UTC().Format(time.RFC3339Nano))
	default:
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}
}

// Telling answers the probes whose path or parameters contain one of the keys with
// its data, and others as Probes does. No two keys may fit the same probe.
func Telling(answers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		parameters := request.URL.Query()
		asked := strings.Join(append([]string{request.URL.Path, parameters.Get("query")}, parameters["match[]"]...), " ")
		for part, data := range answers {
			if strings.Contains(asked, part) {
				_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
				return
			}
		}
		Probes(w, request)
	}
}

// Vector is an answer with one sample.
func Vector(value string) string {
	return fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,%q]}]}}`, value)
}

// Success answers with one sample.
func Success(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, Vector("1")) }

// Status answers with an HTTP status and a body.
func Status(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

// Hang answers nothing until the caller gives up.
func Hang(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() }

// CutOff sends the header and half of an answer, then closes the connection.
func CutOff(w http.ResponseWriter, _ *http.Request) {
	answer := Vector("1")
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	_, _ = fmt.Fprint(w, answer[:len(answer)/2])
	_ = http.NewResponseController(w).Flush() // What follows ends the connection anyhow.
	panic(http.ErrAbortHandler)
}

// AsVictoriaMetrics adds to answers what those of a VictoriaMetrics have: the header X-Server-Hostname.
func AsVictoriaMetrics(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("X-Server-Hostname", "vm-0")
		handler(w, request)
	}
}

// VictoriaMetricsProbes answers the probes as handler does, and as a VictoriaMetrics evaluates a constant.
func VictoriaMetricsProbes(handler http.HandlerFunc) http.HandlerFunc {
	return AsVictoriaMetrics(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Query().Get("query") != "vector(1)" {
			handler(w, request)
			return
		}
		_, _ = fmt.Fprint(w, strings.TrimSuffix(Vector("1"), "}")+`,"stats":{"seriesFetched": "0","executionTimeMsec":0}}`)
	})
}
