package queryrange

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// emptyPeek bounds how much of an answer is read to see that it is empty.
	emptyPeek = 4 << 10
	// maxErrorBytes bounds the error of a tier that is read.
	maxErrorBytes = 64 << 10
)

// finish makes the answer of the tier that of the gateway: labels, limit,
// warnings, and errors in one language.
func (c *call) finish(ctx context.Context, response *Response, decision tier.Decision) error {
	if response.assembled {
		return nil
	}
	if response.Status >= http.StatusBadRequest {
		if answered, err := c.answerLocally(response); answered {
			return err
		}
		return c.translateError(ctx, response, decision)
	}
	if c.changes(decision.Tier) {
		if err := c.change(response, decision.Tier); err != nil {
			return err
		}
	}
	return response.addWarnings(decision.Warnings)
}

// changes tells whether the answer of a tier has to be decoded.
func (c *call) changes(name tier.Name) bool {
	switch c.query.Request.Endpoint {
	case promapi.Series, promapi.Labels, promapi.QueryExemplars:
		return name == tier.Hot && len(c.planned.added) > 0
	case promapi.Query, promapi.QueryRange:
		// Thanos does not know the limit of these.
		return name == tier.Cold && c.limit() > 0
	default:
		return false
	}
}

// limit is what the request asks for, or zero.
func (c *call) limit() int {
	limit, err := strconv.Atoi(c.query.Request.Parameters.Get("limit"))
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}

func (c *call) change(response *Response, name tier.Name) error {
	envelope, err := response.envelope()
	if err != nil {
		return err
	}
	if name == tier.Hot {
		envelope.Data, err = promapi.AddLabels(c.query.Request.Endpoint, envelope.Data, c.planned.added)
	} else {
		var truncated bool
		envelope.Data, truncated, err = promapi.LimitResult(envelope.Data, c.limit())
		if truncated {
			envelope.Warnings = append(envelope.Warnings, promapi.TruncatedWarning)
		}
	}
	if err != nil {
		return err
	}
	return response.replace(envelope)
}

// part is what one tier contributes to a union.
type part struct {
	response *Response
	envelope *promapi.Envelope
	err      error
}

// partOf asks one tier for its part.
func (c *call) partOf(ctx context.Context, name tier.Name) part {
	var made part
	made.response, made.err = c.try(ctx, tier.Decision{Tier: name, Warnings: []string{"decoded"}})
	if made.err == nil {
		made.envelope, made.err = made.response.envelope()
	}
	if made.err == nil && name == tier.Hot {
		made.envelope.Data, made.err = promapi.AddLabels(c.query.Request.Endpoint, made.envelope.Data, c.planned.added)
	}
	return made
}

// isRefused tells whether a tier has answered that the request is wrong.
func (p part) isRefused() bool {
	apiError, is := errors.AsType[*promapi.Error](p.err)
	return is && apiError.Status < http.StatusInternalServerError
}

// unite asks both tiers at once and joins their answers. When a replica of hot
// fails, the next one is asked; when one of the tiers fails, the other's answer
// goes out with a warning; when one does not know the endpoint, the other's
// answer is the whole. The decision is the one that counts.
func (c *call) unite(ctx context.Context) (*Response, tier.Decision, error) {
	var hot, cold part
	var group errgroup.Group
	group.Go(func() error {
		hot = c.partOf(ctx, tier.Hot)
		return nil
	})
	group.Go(func() error {
		cold = c.partOf(ctx, tier.Cold)
		return nil
	})
	_ = group.Wait() // The parts hold the errors.
	for hot.err != nil && !hot.isRefused() && !cold.isRefused() && ctx.Err() == nil && c.nextReplica(ctx, c.planned.Decision) {
		hot = c.partOf(ctx, tier.Hot)
	}
	var apiError *promapi.Error
	decision := c.planned.Decision
	elsewhere := endpointRules[c.query.Request.Endpoint].elsewhere
	switch {
	case hot.err != nil && cold.err != nil, isOverload(cold.err):
		return nil, decision, cold.err
	case isOverload(hot.err):
		return nil, decision, hot.err
	case elsewhere && cold.err != nil && unknownTo(cold.response):
		_ = cold.response.Body.Close()
		return hot.response, tier.Decision{Tier: tier.Hot, Reason: tier.ReasonOnlyTier}, hot.response.replace(hot.envelope)
	case elsewhere && hot.err != nil && unknownTo(hot.response):
		_ = hot.response.Body.Close()
		return cold.response, tier.Decision{Tier: tier.Cold, Reason: tier.ReasonOnlyTier}, cold.response.replace(cold.envelope)
	case errors.As(cold.err, &apiError) && apiError.Status == http.StatusBadRequest:
		return nil, decision, cold.err // What one Prometheus would refuse is refused.
	case cold.err != nil:
		return hot.response, decision, c.half(hot, tier.Cold)
	case hot.err != nil:
		return cold.response, decision, c.half(cold, tier.Hot)
	}
	data, truncated, err := c.united(hot.envelope.Data, cold.envelope.Data)
	if err != nil {
		return nil, decision, err
	}
	united := &promapi.Envelope{
		Data:     data,
		Warnings: append(hot.envelope.Warnings, cold.envelope.Warnings...),
		Infos:    append(hot.envelope.Infos, cold.envelope.Infos...),
	}
	if truncated {
		united.Warnings = append(united.Warnings, promapi.TruncatedWarning)
	}
	_ = hot.response.Body.Close()
	response := cold.response
	response.Warnings = decision.Warnings
	return response, decision, response.replace(united)
}

// united joins the data of both tiers. truncated tells that a limit cut it.
func (c *call) united(hot, cold json.RawMessage) (data json.RawMessage, truncated bool, err error) {
	switch c.query.Request.Endpoint {
	case promapi.Rules:
		data, err = promapi.UniteRules(hot, cold)
		return data, false, err
	case promapi.Alerts:
		data, err = promapi.UniteAlerts(hot, cold, c.planned.added)
		return data, false, err
	default:
		return promapi.Unite(c.query.Request.Endpoint, hot, cold, c.limit())
	}
}

// unknownTo tells whether an answer says that its tier does not know the
// endpoint.
func unknownTo(response *Response) bool { return response != nil && isUnknown(response.Status) }

// half makes an answer of the part that is left of a union of which the other
// tier failed.
func (c *call) half(left part, failed tier.Name) error {
	left.envelope.Warnings = append([]string{fmt.Sprintf("the %s tier failed: what only that one holds is missing", failed)}, left.envelope.Warnings...)
	return left.response.replace(left.envelope)
}

// envelope reads the whole answer.
func (r *Response) envelope() (*promapi.Envelope, error) {
	body, err := r.plain()
	if err != nil {
		_ = r.Body.Close()
		return nil, err
	}
	counted := &countedReader{source: body, memory: r.decoded}
	envelope, err := promapi.ReadEnvelope(r.Status, counted)
	_ = r.Body.Close()
	if counted.exceeded {
		err = &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: errNoMemory,
			Message: "the answer has to be read as a whole, and such answers would take more memory than limits.decoded_memory allows: select fewer series"}
	}
	if err != nil {
		counted.release()
		return nil, err
	}
	// The tier is done; the answer is in memory until it has been sent.
	r.Body = &releasing{Reader: http.NoBody, release: sync.OnceFunc(counted.release)}
	return envelope, nil
}

// errNoMemory is met by an answer that has to be read as a whole.
var errNoMemory = errors.New("no memory is left for the answer")

// countedReader counts what is read into memory.
type countedReader struct {
	source   io.Reader
	memory   *upstream.Memory
	taken    int
	exceeded bool
}

// Read implements io.Reader.
func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	if !c.memory.Take(n) {
		c.exceeded = true
		return 0, errNoMemory
	}
	c.taken += n
	return n, err
}

func (c *countedReader) release() { c.memory.Give(c.taken) }

// releasing returns memory when it is closed.
type releasing struct {
	io.Reader
	release func()
}

// Close returns the memory.
func (r *releasing) Close() error {
	r.release()
	return nil
}

// replace puts another body into the answer.
func (r *Response) replace(envelope *promapi.Envelope) error {
	text, err := envelope.Bytes()
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	r.setBody(text)
	return nil
}

func (r *Response) setBody(text []byte) {
	r.Header = r.Header.Clone()
	for _, name := range []string{"Content-Encoding", "Content-Length", "ETag"} {
		r.Header.Del(name)
	}
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(text))
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(text), r.Body}
}

// isEmpty looks at the beginning of the answer, which stays to be read.
func (r *Response) isEmpty() bool {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		body, err := r.plain()
		if err != nil {
			return false
		}
		r.Header = r.Header.Clone()
		r.Header.Del("Content-Encoding")
		r.ContentLength = -1
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
	}
	start, err := readWhileEmpty(r.Body)
	ended := errors.Is(err, io.EOF)
	rest := io.Reader(r.Body)
	if err != nil && !ended {
		rest = errorReader{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), r.Body}
	return ended && promapi.IsEmpty(start)
}

// readWhileEmpty reads for as long as what it has read can be the beginning of
// an answer that holds nothing, so that the others are not held up.
func readWhileEmpty(body io.Reader) ([]byte, error) {
	start := make([]byte, 0, 512)
	for len(start) < emptyPeek && promapi.MayBeEmpty(start) {
		start = slices.Grow(start, 512)
		n, err := body.Read(start[len(start):cap(start)])
		start = start[:len(start)+n]
		if err != nil {
			return start, err
		}
	}
	return start, nil
}

// errorReader returns an error that was met before.
type errorReader struct{ err error }

// Read returns the error.
func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

func (r *Response) setError(apiError *promapi.Error) error {
	encoded, err := json.Marshal(map[string]string{"status": "error", "errorType": string(apiError.Type), "error": apiError.Message})
	if err != nil {
		return fmt.Errorf("write the error: %w", err)
	}
	r.Status = apiError.Status
	r.setBody(encoded)
	return nil
}

// plain returns the body, decompressed.
func (r *Response) plain() (io.Reader, error) {
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return r.Body, nil
	case "gzip":
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Message: "the tier's answer could not be decompressed", Cause: err}
		}
		return unzipped, nil
	default:
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the tier answered with content encoding %q although none was asked for", encoding)
	}
}

// addWarnings puts the warnings into a successful answer.
func (r *Response) addWarnings(warnings []string) error {
	r.Warnings = warnings
	if len(warnings) == 0 {
		return nil
	}
	body, err := r.plain()
	if err != nil {
		return err
	}
	changed, err := promapi.AddWarnings(body, warnings)
	if err != nil {
		return fmt.Errorf("add warnings to the answer: %w", err)
	}
	r.Header.Del("Content-Encoding")
	r.Header.Del("Content-Length")
	r.Header.Del("ETag")
	r.ContentLength = -1
	r.Body = struct {
		io.Reader
		io.Closer
	}{changed, r.Body}
	return nil
}
