package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// bufferBytes is the part of an answer that is in memory while it streams.
const bufferBytes = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// stream sends an answer to the client as it arrives. If the answer is truncated, stream aborts
// the connection, so that the client does not take the part for the whole answer.
func (g *Gateway) stream(w http.ResponseWriter, incoming *http.Request, response *engine.Response, resolved *resolve.Resolved, request *promapi.Request, started, deadline time.Time) {
	defer func() { _ = response.Body.Close() }()
	header := w.Header()
	copyHeader(header, response.Header)
	if response.Tier != "" {
		header[headerTier] = []string{string(response.Tier)}
	}
	header[headerReason] = []string{string(response.Reason)}
	if response.Source != "" {
		header[headerSource] = []string{response.Source}
	}
	if response.Cache != nil {
		header[headerCache] = []string{fmt.Sprintf("%s; steps=%d/%d", response.Cache.Result, response.Cache.Cached, response.Cache.Steps)}
	}
	if response.TooLarge {
		header[headerNotCut] = []string{"too-large"}
	}
	header[headerTiming] = []string{timing(response, started)}
	if response.ContentLength >= 0 {
		header["Content-Length"] = []string{strconv.FormatInt(response.ContentLength, 10)}
	} else {
		delete(header, "Content-Length")
	}
	_, span := tracing.Start(incoming.Context(), "stream the answer")
	written, err := g.send(&deadlineWriter{ResponseWriter: w, controller: http.NewResponseController(w), deadline: deadline}, incoming, response)
	tracing.End(span, err, upstream.Describe)

	outcome := telemetry.OutcomeOf(response.Status)
	if _, isClients := errors.AsType[*writeError](err); isClients {
		outcome = telemetry.OutcomeCanceled
	} else if err != nil {
		outcome = telemetry.OutcomeAborted
	}
	if response.Tier != "" {
		g.core.Metrics.Count(response.Tier, response.Reason, outcome)
		g.core.Metrics.Answered(response.Tier, response.UpstreamDuration)
		g.core.Metrics.AnsweredBySource(response.Source)
	}
	took := time.Since(started)
	slow := g.isSlow(took)
	if err == nil && !slow && !g.logger.Logger.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	entry := g.logger.
		WithFields(g.requestFields(incoming.Context(), header.Get(promapi.HeaderRequestID), resolved, request)).
		WithFields(answeredBy(response.Tier, response.Reason, response.Replica, response.Source)).
		WithFields(logrus.Fields{"status": response.Status, "bytes": written, "duration": took.String(), "outcome": outcome})
	if response.Cache != nil {
		entry = entry.WithFields(logrus.Fields{"cache": response.Cache.Result, "cached_steps": response.Cache.Cached, "steps": response.Cache.Steps})
	}
	switch {
	case outcome == telemetry.OutcomeAborted:
		entry.WithError(err).Warn("the answer of the tier was truncated: tierproxy aborts the connection to the client")
	case slow:
		entry.Warn(messageSlow)
	case err != nil:
		entry.Debug(messageCanceled)
	default:
		entry.Debug("query answered")
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// timing returns the Server-Timing header of an answer, in milliseconds. It has the time until
// the tier's response header, if a tier was queried, and the time of tierproxy itself.
func timing(response *engine.Response, started time.Time) string {
	text := make([]byte, 0, 64)
	if response.Tier != "" {
		text = append(text, "upstream;dur="...)
		text = appendMilliseconds(text, response.UpstreamDuration)
		text = append(text, `;desc="`...)
		text = append(text, response.Tier...)
		text = append(text, `", `...)
	}
	text = append(text, "tierproxy;dur="...)
	return string(appendMilliseconds(text, time.Since(started)-response.UpstreamDuration))
}

func appendMilliseconds(text []byte, duration time.Duration) []byte {
	return strconv.AppendFloat(text, float64(duration)/float64(time.Millisecond), 'f', 3, 64)
}

// passedHeaders are the headers of a tier's response that the gateway forwards. It drops all
// others, such as cookies and instructions to browsers.
var passedHeaders = []string{"Content-Encoding", "Retry-After", "Vary"}

// copyHeader copies the forwarded headers of a response.
func copyHeader(to, from http.Header) {
	for _, name := range passedHeaders {
		if values := from[name]; len(values) > 0 {
			to[name] = slices.Clone(values)
		}
	}
	to["Content-Type"] = []string{contentType(from.Get("Content-Type"))}
}

// contentType returns application/json, with the charset of the tier's content type if it is
// UTF-8. It drops the rest, because browsers interpret a list such as
// "application/json;a=b,text/html" as its last element.
func contentType(ofTier string) string {
	const kind = "application/json"
	if ofTier == kind {
		return kind
	}
	given, parameters, err := mime.ParseMediaType(ofTier)
	if err == nil && given == kind && strings.EqualFold(parameters["charset"], "utf-8") {
		return kind + "; charset=utf-8"
	}
	return kind
}

// writeError is an error of writing to the client.
type writeError struct{ error }

// stallTimeout is the time in which a client has to accept up to bufferBytes of an answer. A
// slow client occupies a slot of the tier.
const stallTimeout = 5 * time.Second

// send writes an answer behind its header, compressed if tierproxy made or changed it and the
// client accepts that. It returns the number of bytes. A *writeError means that the client
// failed, not the tier.
func (g *Gateway) send(to *deadlineWriter, incoming *http.Request, response *engine.Response) (int64, error) {
	if !response.Rewritten {
		to.WriteHeader(response.Status)
		err := copyFlushing(to, response.Body)
		return to.total, err
	}
	varyByEncoding(to.Header())
	c := &compressor{to: to, status: response.Status, encoding: promapi.BestEncoding(incoming.Header), encoders: g.encoders, from: compressedFrom}
	if promapi.RefusesPlain(incoming.Header) {
		c.from = 0
	}
	if c.encoding == promapi.EncodingPlain || (response.ContentLength >= 0 && response.ContentLength < int64(c.from)) {
		to.WriteHeader(response.Status)
		err := copyFlushing(to, response.Body)
		return to.total, err
	}
	if response.Gzip != nil && promapi.PrefersNothingToGzip(incoming.Header) {
		header := to.Header()
		header["Content-Encoding"] = []string{promapi.EncodingGzip}
		delete(header, "Content-Length")
		to.WriteHeader(response.Status)
		err := copyFlushing(to, response.Gzip)
		return to.total, err
	}
	err := c.copy(response.Body)
	return to.total, err
}

// copyFlushing copies body to the client and flushes each piece.
func copyFlushing(to *deadlineWriter, body io.Reader) error {
	buffer, _ := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buffer)
	for {
		n, readError := body.Read(buffer[:])
		if n > 0 {
			to.extend()
			if _, err := to.Write(buffer[:n]); err != nil {
				return &writeError{err}
			}
		}
		if errors.Is(readError, io.EOF) {
			return nil // The server flushes the rest together with the end of the response.
		}
		if n > 0 {
			if err := to.flush(); err != nil {
				return &writeError{err}
			}
		}
		if readError != nil {
			return readError
		}
	}
}

// deadlineWriter writes to a client that has to accept what is written in time.
type deadlineWriter struct {
	http.ResponseWriter

	controller *http.ResponseController
	deadline   time.Time
	total      int64 // bytes that were written
}

// extend gives the client stallTimeout, until the deadline, for up to bufferBytes.
func (w *deadlineWriter) extend() {
	if until := time.Now().Add(stallTimeout); until.Before(w.deadline) {
		_ = w.controller.SetWriteDeadline(until)
	} else {
		_ = w.controller.SetWriteDeadline(w.deadline)
	}
}

// Write implements io.Writer.
func (w *deadlineWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.total += int64(n)
	return n, err
}

// flush sends what was written.
func (w *deadlineWriter) flush() error {
	if err := w.controller.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
