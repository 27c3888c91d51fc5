package engine

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Response is the answer to a query, its body unread: that of a tier, or one made of
// the answers of tiers and the cache.
type Response struct {
	// Tier and Reason say who answered and why. Tier is empty if no tier was queried.
	Tier   tier.Name
	Reason tier.Reason
	// Replica is the name of the server of hot that answered; empty if cold answered,
	// or hot has no replicas.
	Replica string
	// Source is Plan.Source for the tier that answered.
	Source string
	// Warnings are those that the gateway has put into the body.
	Warnings []string
	// Status, Header and Body are as the tier sent them, compressed or not, unless they
	// had to be changed. Reading returns an error if the tier or the deadline truncates
	// the body. Close ends the upstream call.
	Status int
	Header http.Header
	Body   io.ReadCloser
	// Gzip reads the body in gzip, where that takes less than to read and compress it; otherwise it
	// is nil. Only one of Body and Gzip is read. Body is closed.
	Gzip io.Reader
	// ContentLength is the length of the body in bytes, or -1.
	ContentLength int64
	// Rewritten is set if the gateway wrote or changed the body, which is not compressed then. If
	// it is not set, the body is what the tier sent, byte for byte.
	Rewritten bool
	// UpstreamDuration is the time until the header of the answer, all attempts
	// together.
	UpstreamDuration time.Duration
	// Cache is how much of it came from the cache; nil where there is none.
	Cache *CacheUse
	// TooLarge is set if the answer was not put together from pieces, of both tiers or of the
	// cache, because they would take too much memory.
	TooLarge bool

	plan *Plan // of the attempt that was answered
	// isMetricsQL is set if a VictoriaMetrics has evaluated it: see recognize.
	isMetricsQL bool
	reading     reading
	budget      *admission.BudgetShare // see Options.Decoded
}

// response returns an answer to the attempt. Its status, header and body are still
// missing.
func (a attempt) response() *Response {
	made := &Response{reading: a.reading, budget: a.plan.engine.options.Decoded.Of(a.plan.query.Datasource.Name)}
	made.answers(a)
	return made
}

// answers makes the answer one to the given attempt.
func (r *Response) answers(a attempt) {
	r.Tier, r.Reason, r.Replica, r.Warnings, r.plan = a.Tier, a.Reason, a.replica(), a.Warnings, a.plan
	r.Source = a.plan.Source(a.Tier)
}

// CallError says which tier and reason an error belongs to.
type CallError struct {
	// Tier and Reason are those of the attempt that failed.
	Tier   tier.Name
	Reason tier.Reason
	// Replica and Source are as in Response.
	Replica, Source string
	// Err is an Error of the Prometheus API.
	Err error
	// response is the answer if it is an error of the API, unread and in memory; nil if
	// there is none. isRefusal is set if that error is about the query.
	response  *Response
	isRefusal bool
}

// Error returns the text of Err.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }

// markTooLarge sets TooLarge.
func (r *Response) markTooLarge() {
	r.TooLarge = true
	if r.Cache == nil && r.plan != nil && r.plan.stepwise != nil {
		r.Cache = r.plan.report(CacheUse{Result: CacheNever, Steps: r.plan.stepwise.grid.Len()})
	}
}

// failed returns the error of an attempt.
func (a attempt) failed(err error) error {
	return &CallError{Tier: a.Tier, Reason: a.Reason, Replica: a.replica(), Source: a.plan.Source(a.Tier), Err: err}
}

// failed is attempt.failed for an answer that turned out to be none.
func (r *Response) failed(err error) error {
	return &CallError{Tier: r.Tier, Reason: r.Reason, Replica: r.Replica, Source: r.Source, Err: err}
}

// readFrom lets the body be read from another reader. It is closed as before.
func (r *Response) readFrom(body io.Reader) {
	r.Gzip = nil
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
}

// setBody puts a JSON text that was written here in place of the body.
func (r *Response) setBody(text []byte) {
	r.setHeader()
	r.ContentLength = int64(len(text))
	r.readFrom(bytes.NewReader(text))
}

// setHeader makes the header that of a JSON text that was written here.
func (r *Response) setHeader() {
	r.Header = r.Header.Clone()
	r.Header.Del("Content-Encoding")
	r.Rewritten = true
	r.Header.Set("Content-Type", "application/json")
}

// setError puts an error in place of the answer.
func (r *Response) setError(apiError *promapi.Error) {
	r.Status = apiError.Status
	r.setJSON(map[string]any{"status": "error", "errorType": apiError.Type, "error": apiError.Message})
}

// setJSON puts an answer of the gateway itself in place of the body.
func (r *Response) setJSON(answer map[string]any) {
	text, _ := json.Marshal(answer) // What is parsed or read from JSON can be encoded.
	r.setBody(text)
}

// made returns a success that was made here, of so many bytes.
func (a attempt) made(body io.ReadCloser, length int64) *Response {
	made := a.response()
	made.Status, made.Header, made.Body, made.ContentLength, made.Rewritten = http.StatusOK, jsonHeader(), body, length, true
	return made
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// endingBody is a body that ends something when it is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

// Close closes the body, then ends what belongs to it.
func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
