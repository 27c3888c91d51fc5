package datasource

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/queryrange"
)

// connectionHeaders belong to one connection and are not passed on; neither
// are a tier's cookies.
var connectionHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Set-Cookie", "Www-Authenticate",
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// stream passes an answer on: header, then the bytes as they come in. An
// answer that is cut off aborts the connection, so that nobody takes what went
// out for the whole.
func (h *handler) stream(w http.ResponseWriter, response *queryrange.Response, fields logrus.Fields, started time.Time) {
	defer func() { _ = response.Body.Close() }()
	copyHeader(w.Header(), response.Header)
	w.Header().Set(headerTier, string(response.Tier))
	w.Header().Set(headerReason, string(response.Reason))
	w.Header().Add(headerTiming, timing(response, started))
	if response.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
	} else {
		w.Header().Del("Content-Length")
	}
	w.WriteHeader(response.Status)
	written, err := copyFlushing(w, response.Body)

	outcome := outcomeOf(response.Status)
	var clientError *writeError
	switch {
	case errors.As(err, &clientError):
		outcome = outcomeCanceled
	case err != nil:
		outcome = outcomeAborted
	}
	h.manager.metrics.queries.WithLabelValues(string(response.Tier), string(response.Reason), outcome).Inc()
	h.manager.metrics.upstreamDuration.WithLabelValues(string(response.Tier)).Observe(response.UpstreamDuration.Seconds())
	entry := h.manager.logger.WithFields(fields).WithFields(logrus.Fields{
		"tier": string(response.Tier), "reason": string(response.Reason), "status": response.Status,
		"bytes": written, "duration": time.Since(started).String(), "outcome": outcome,
	})
	if response.Replica != "" {
		entry = entry.WithField("replica", response.Replica)
	}
	if err == nil {
		entry.Debug("query answered")
		return
	}
	if outcome == outcomeAborted {
		entry.WithError(err).Warn("the answer of the tier was cut off, so the connection to the client is aborted")
	}
	panic(http.ErrAbortHandler)
}

func copyHeader(to, from http.Header) {
	dropped := slices.Clone(connectionHeaders)
	for _, value := range from.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			dropped = append(dropped, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for name, values := range from {
		if !slices.Contains(dropped, name) {
			to[name] = slices.Clone(values)
		}
	}
}

// writeError is a failure to write to the client.
type writeError struct{ error }

// copyFlushing copies the body and sends each piece on as soon as it is there.
func copyFlushing(w http.ResponseWriter, body io.Reader) (int64, error) {
	buffer, _ := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	controller := http.NewResponseController(w)
	var total int64
	for {
		n, readError := body.Read(buffer[:])
		if n > 0 {
			written, err := w.Write(buffer[:n])
			total += int64(written)
			if err != nil {
				return total, &writeError{err}
			}
			if err := controller.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return total, &writeError{err}
			}
		}
		if errors.Is(readError, io.EOF) {
			return total, nil
		}
		if readError != nil {
			return total, readError
		}
	}
}
