package gateway

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// aliveInterval is the time after which a comment is sent on a stream without events.
	aliveInterval = 15 * time.Second
	// eventTimeout is how long a client may take to accept an event, and a second more for each
	// eventChunk bytes.
	eventTimeout = 30 * time.Second
	eventChunk   = 64 << 10
	// reconnectAfter is how long a client waits before it connects again. At the end of all streams,
	// each client gets another time up to mostReconnectAfter, so that they do not come all at once.
	reconnectAfter     = time.Second
	mostReconnectAfter = 3 * time.Second
)

// eventWriter writes Server-Sent Events: see the HTML standard.
type eventWriter struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	sent       int // events
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	return &eventWriter{w: w, controller: http.NewResponseController(w)}
}

// begin sends the header.
func (e *eventWriter) begin() {
	header := e.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx buffers answers otherwise.
	e.w.WriteHeader(http.StatusOK)
	_ = e.write(appendRetry(nil, reconnectAfter)) // The first event fails, too.
}

// update sends a snapshot or an append.
func (e *eventWriter) update(update *live.Update) error {
	head := append([]byte("id: "), formatSeconds(update.ID)...)
	return e.event(head, string(update.Kind), update.Body)
}

// failed sends an error in the shape of the Prometheus API.
func (e *eventWriter) failed(err error) error {
	return e.event(nil, string(live.Failed), promapi.ErrorBody(err, e.w.Header().Get(promapi.HeaderRequestID)))
}

// end sends the reason for the end of the stream.
func (e *eventWriter) end(end *live.EndError) error {
	head := []byte(nil)
	if end.Reason == live.EndShutdown {
		head = appendRetry(nil, reconnectAfter+rand.N(mostReconnectAfter-reconnectAfter)) //nolint:gosec // G404: it spreads requests.
	}
	body, err := json.Marshal(struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}{end.Reason, end.Message})
	if err != nil {
		return err
	}
	return e.event(head, "end", body)
}

// keepAlive sends a comment.
func (e *eventWriter) keepAlive() error { return e.write([]byte(": keep-alive\n\n")) }

// event sends an event. body has no line break.
func (e *eventWriter) event(head []byte, name string, body []byte) error {
	e.sent++
	if len(head) > 0 && head[len(head)-1] != '\n' {
		head = append(head, '\n')
	}
	head = append(append(append(head, "event: "...), name...), "\ndata: "...)
	return e.write(head, body, []byte("\n\n"))
}

// write sends texts, and waits until the connection has taken them.
func (e *eventWriter) write(texts ...[]byte) error {
	length := 0
	for _, text := range texts {
		length += len(text)
	}
	// Only a writer without a connection has no deadlines.
	_ = e.controller.SetWriteDeadline(time.Now().Add(eventTimeout + time.Duration(length/eventChunk)*time.Second))
	for _, text := range texts {
		if _, err := e.w.Write(text); err != nil {
			return err
		}
	}
	return e.controller.Flush()
}

// appendRetry appends the time after which a client connects again.
func appendRetry(text []byte, after time.Duration) []byte {
	return append(strconv.AppendInt(append(text, "retry: "...), after.Milliseconds(), 10), '\n')
}

// formatSeconds returns a time in milliseconds as seconds.
func formatSeconds(milliseconds int64) string {
	return strconv.FormatFloat(float64(milliseconds)/1000, 'f', -1, 64)
}
