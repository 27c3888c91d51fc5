// Package promapi is the Prometheus HTTP API on the wire: the table of endpoints,
// requests, errors, decoding of answers, and warnings that are added without it. It
// imports nothing of this project.
package promapi

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxBodyBytes bounds the body of a request, in bytes.
const maxBodyBytes = 4 << 20

const formContentType = "application/x-www-form-urlencoded"

// forwardedHeaders is the allow-list of request headers towards a tier.
// Cookies and credentials of the caller are not on it, and never will be.
var forwardedHeaders = []string{"Accept", "Accept-Encoding", "User-Agent", "Traceparent", "Tracestate"}

// Request is one request to the Prometheus API, read completely. Its methods
// return changed copies, so that several goroutines can send it.
type Request struct {
	// Method is GET or POST.
	Method string
	// Endpoint is the one that is called.
	Endpoint Endpoint
	// Path is the escaped path below the datasource, such as /api/v1/query.
	Path string
	// Label is the label of a label_values request, unescaped; otherwise empty.
	Label string
	// RawQuery is the query string as it came in.
	RawQuery string
	// Body is the form body as it came in; nil for GET.
	Body []byte
	// Header holds the request headers that may go to a tier.
	Header http.Header
	// Parameters are those of query string and body together.
	Parameters url.Values
	TimeRange  TimeRange
	// ReceivedAt is the time that "now" means for the whole request.
	ReceivedAt time.Time
}

// ReadRequest reads an incoming request for the given endpoint. path is the
// escaped path below the datasource and now the time of the request.
//
// GET carries its parameters in the query string, POST in query string and
// body; the body is a form whatever its content type claims. It returns an
// Error with status 400 when a parameter cannot be understood or is given
// twice with different values, 413 when the body is too large and 415 when it
// is compressed.
func ReadRequest(incoming *http.Request, endpoint Endpoint, path string, now time.Time) (*Request, error) {
	request := &Request{
		Method: incoming.Method, Endpoint: endpoint, Path: path, RawQuery: incoming.URL.RawQuery,
		Header: make(http.Header, len(forwardedHeaders)+1), ReceivedAt: now,
	}
	for _, name := range forwardedHeaders {
		if values := incoming.Header[name]; len(values) > 0 {
			request.Header[name] = slices.Clip(values) // Nobody changes them.
		}
	}
	parameters, err := url.ParseQuery(request.RawQuery)
	if err != nil {
		return nil, BadData("parse the query string: %s", err)
	}
	if incoming.Method == http.MethodPost {
		form, err := request.readBody(incoming)
		if err != nil {
			return nil, err
		}
		for name, values := range form {
			parameters[name] = append(parameters[name], values...)
		}
	}
	return request, request.interpret(parameters)
}

// NewRequest returns a POST request with these parameters, for example of the Go
// library. It returns the same errors as ReadRequest.
func NewRequest(endpoint Endpoint, path string, parameters url.Values, now time.Time) (*Request, error) {
	request := &Request{
		Method: http.MethodPost, Endpoint: endpoint, Path: path, Body: []byte(parameters.Encode()),
		Header: http.Header{"Content-Type": {formContentType}}, ReceivedAt: now,
	}
	return request, request.interpret(parameters)
}

// For returns the request as one to another endpoint. It returns the same errors as
// ReadRequest.
func (r *Request) For(endpoint Endpoint) (*Request, error) {
	other := *r
	other.Endpoint = endpoint
	return &other, other.interpret(r.Parameters)
}

// interpret sets what follows from the parameters.
func (r *Request) interpret(parameters url.Values) error {
	r.Parameters = parameters
	if r.Endpoint == LabelValues {
		r.Label, r.Path = labelOfPath(r.Path)
	}
	if err := checkSingleValues(parameters); err != nil {
		return err
	}
	if check := r.Endpoint.Traits().check; check != nil {
		if err := check(parameters); err != nil {
			return err
		}
	}
	var err error
	r.TimeRange, err = parseTimeRange(r.Endpoint, parameters, r.ReceivedAt)
	return err
}

// singleValued are the parameters of which the API reads one value only. One server
// reads the first and another the last, and could evaluate another query than this one.
var singleValued = []string{
	"query", "time", "start", "end", "step", "timeout", "lookback_delta", "limit", "stats",
	"dedup", "partial_response", "max_source_resolution", "engine",
}

func checkSingleValues(parameters url.Values) error {
	for _, name := range singleValued {
		values := parameters[name]
		for _, value := range values {
			if value != values[0] {
				return BadData("parameter %q is given more than once with different values, for example in the URL and in the body: send it once", name)
			}
		}
	}
	return nil
}

// readBody reads a form body, whatever its content type, and keeps its bytes. It
// rewrites a multipart form as a plain one.
func (r *Request) readBody(incoming *http.Request) (url.Values, error) {
	if encoding := incoming.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, Errorf(http.StatusUnsupportedMediaType, ErrorBadData, "the request body has content encoding %q: send it uncompressed", encoding)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, incoming.Body, maxBodyBytes))
	if err != nil {
		return nil, BodyError("the request body", err)
	}
	r.Body = body
	r.Header.Set("Content-Type", formContentType)
	mediaType, parameters, _ := mime.ParseMediaType(incoming.Header.Get("Content-Type"))
	if mediaType != "multipart/form-data" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, BadData("parse the request body as a form: %s", err)
		}
		return form, nil
	}
	form, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).ReadForm(maxBodyBytes)
	if err != nil {
		return nil, BadData("parse the request body as a multipart form: %s", err)
	}
	defer func() { _ = form.RemoveAll() }()
	if len(form.File) > 0 {
		return nil, BadData("the request body holds a file: send parameters only")
	}
	r.Body = []byte(url.Values(form.Value).Encode())
	return form.Value, nil
}

// Without returns the request without the named parameters. It returns the
// request itself if it has none of them.
func (r *Request) Without(names ...string) *Request {
	if !slices.ContainsFunc(names, r.Parameters.Has) {
		return r
	}
	removed := url.Values{}
	for _, name := range names {
		removed[name] = nil
	}
	return r.With(removed)
}

// With returns the request with other values for the given parameters. A
// parameter without values is removed. All others stay where they are, in the URL
// or the body: a proxy in front of a tier may read some in the URL only.
func (r *Request) With(parameters url.Values) *Request {
	if len(parameters) == 0 {
		return r
	}
	changed, added := *r, url.Values{}
	changed.Parameters = maps.Clone(r.Parameters)
	for name, values := range parameters {
		delete(changed.Parameters, name)
		if len(values) > 0 {
			changed.Parameters[name], added[name] = values, values
		}
	}
	if r.Method != http.MethodPost {
		changed.RawQuery = editForm(r.RawQuery, parameters, added)
		return &changed
	}
	changed.RawQuery = editForm(r.RawQuery, parameters, nil)
	changed.setForm(editForm(string(r.Body), parameters, added))
	return &changed
}

// editForm returns a form without some parameters and with others. The bytes of the
// rest stay as they are.
func editForm(form string, removed, added url.Values) string {
	var fields []string
	for field := range strings.SplitSeq(form, "&") {
		key, _, _ := strings.Cut(field, "=")
		if name, err := url.QueryUnescape(key); field != "" && (err != nil || !removed.Has(name)) {
			fields = append(fields, field)
		}
	}
	if len(added) > 0 {
		fields = append(fields, added.Encode())
	}
	return strings.Join(fields, "&")
}

// AtItsTime returns an instant query without a time with the time that "now" means for
// it, so that all tiers evaluate it at the same time. It returns others as they are.
func (r *Request) AtItsTime() *Request {
	if r.Endpoint != Query || r.Parameters.Get("time") != "" {
		return r
	}
	return r.With(url.Values{"time": {FormatTime(r.TimeRange.Start)}})
}

// Only returns the request with these parameters and no others.
func (r *Request) Only(parameters url.Values) *Request {
	changed := *r
	changed.Parameters, changed.RawQuery = parameters, parameters.Encode()
	if r.Method == http.MethodPost {
		changed.setForm(changed.RawQuery)
		changed.RawQuery = ""
	}
	return &changed
}

// setForm sets the body of a copy, which shares its header with the original.
func (r *Request) setForm(form string) {
	r.Body, r.Header = []byte(form), r.Header.Clone()
	r.Header.Set("Content-Type", formContentType)
}

// ownOfThresholds are the parameters of the alert_thresholds endpoint that the rules
// endpoint does not have, or has with another meaning.
var ownOfThresholds = []string{"alert", "match[]", "metric"}

// ForAlertingRules returns the request to the rules endpoint from whose answer the answer
// to a request for alert thresholds is made. It has the parameters of the request that
// select no rules.
func (r *Request) ForAlertingRules() (*Request, error) {
	rules := *r
	rules.Method, rules.Endpoint, rules.Path, rules.Body = http.MethodGet, Rules, "/api/v1/rules", nil
	rules.Header = r.Header.Clone()
	rules.Header.Del("Content-Type")
	rules.Header.Del("Accept-Encoding") // The answer is read here.
	parameters := maps.Clone(r.Parameters)
	for _, name := range ownOfThresholds {
		delete(parameters, name)
	}
	parameters.Set("type", "alert")
	parameters.Set("exclude_alerts", "true")
	rules.RawQuery = parameters.Encode()
	return &rules, rules.interpret(parameters)
}
