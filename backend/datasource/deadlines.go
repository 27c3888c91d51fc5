package datasource

import (
	"net/http"
	"time"
)

const (
	// arrivalTimeout is how long a request takes at most until its query begins:
	// until its body is there, Perses has answered, and tiers have been looked up.
	arrivalTimeout = 30 * time.Second
	// bodyTimeout is how long the body of a request takes at most to arrive, if
	// query.timeout is not shorter.
	bodyTimeout = 10 * time.Second
)

// limitTime sets the deadlines of a request on its connection, whatever server
// it came through. Without them, a client that sends half a body or does not
// read its answer holds a goroutine, memory and a slot of a tier until it goes.
//
// The answer of a query has an earlier deadline, that of the query: see stream.
// The function that it returns is called after the answer; not where the answer
// was aborted.
func (m *Manager) limitTime(w http.ResponseWriter, incoming *http.Request) (done func()) {
	controller, now := http.NewResponseController(w), time.Now()
	// A writer that takes no deadline, as in a test of a program that uses this
	// library, has no connection to bound.
	_ = controller.SetWriteDeadline(now.Add(arrivalTimeout + time.Duration(m.config.Query.Timeout)))
	if hasBody(incoming) {
		// It also bounds how long the server waits for a body that no code reads.
		_ = controller.SetReadDeadline(now.Add(arrivalTimeout))
	}
	return func() {
		server, _ := incoming.Context().Value(http.ServerContextKey).(*http.Server)
		if incoming.ProtoMajor == 1 && (server == nil || server.WriteTimeout <= 0) {
			// Such a server sets no deadline for the next request on the connection,
			// which may be one for another handler.
			_ = controller.SetWriteDeadline(time.Time{})
		}
	}
}

func hasBody(incoming *http.Request) bool {
	return incoming.Body != nil && incoming.Body != http.NoBody
}

// limitAdminTime is limitTime for the admin address. Profiles take as long as
// they are asked to; the server's own write timeout bounds them.
func limitAdminTime(w http.ResponseWriter, incoming *http.Request) {
	if hasBody(incoming) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}
