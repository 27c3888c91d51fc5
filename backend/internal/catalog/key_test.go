package catalog

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Calls that a tier could answer differently are not taken for the same one.
func TestKeyOf_EveryPartOfACall(t *testing.T) {
	changes := map[string]func(*upstream.Outgoing){
		"Method":   func(o *upstream.Outgoing) { o.Method = http.MethodPost },
		"Path":     func(o *upstream.Outgoing) { o.Path = "/api/v1/series" },
		"RawQuery": func(o *upstream.Outgoing) { o.RawQuery = "query=down" },
		"Body":     func(o *upstream.Outgoing) { o.Body = []byte("query=down") },
		"Header":   func(o *upstream.Outgoing) { o.Header = http.Header{"Accept": {"another"}} },
	}
	shared := &promapi.Request{Endpoint: promapi.QueryRange}
	for field := range reflect.TypeFor[upstream.Outgoing]().Fields() {
		require.Contains(t, changes, field.Name, "a new field belongs into the key")
		changed := upstream.Outgoing{}
		changes[field.Name](&changed)
		require.NotEqual(t, keyOf(shared, &upstream.Outgoing{}), keyOf(shared, &changed), field.Name)
	}

	// Those of the caller's headers that go to a tier.
	incoming := httptest.NewRequest(http.MethodPost, "/api/v1/query", nil)
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "Traceparent", "Tracestate", "Cookie", "Authorization", "X-Anything"} {
		incoming.Header.Set(name, "one")
	}
	request, err := promapi.ReadRequest(incoming, promapi.Query, "/api/v1/query", time.Now())
	require.NoError(t, err)
	changesNoAnswer := map[string]bool{"User-Agent": true, "Traceparent": true, "Tracestate": true, "Content-Type": true}
	for name := range request.Header {
		other := request.Header.Clone()
		other.Set(name, "another")
		isSame := keyOf(shared, &upstream.Outgoing{Header: request.Header}) == keyOf(shared, &upstream.Outgoing{Header: other})
		require.Equal(t, changesNoAnswer[name], isSame, name)
	}
}
