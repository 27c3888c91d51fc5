package upstream

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Calls that a tier could answer differently are not taken for the same one.
func TestSameness_EveryPartOfACall(t *testing.T) {
	changes := map[string]func(*outgoing){
		"method":   func(o *outgoing) { o.method = http.MethodPost },
		"path":     func(o *outgoing) { o.path = "/api/v1/series" },
		"rawQuery": func(o *outgoing) { o.rawQuery = "query=down" },
		"body":     func(o *outgoing) { o.body = []byte("query=down") },
		"header":   func(o *outgoing) { o.header = http.Header{"Accept": {"another"}} },
	}
	for field := range reflect.TypeFor[outgoing]().Fields() {
		require.Contains(t, changes, field.Name, "a new field belongs into the sameness")
		changed := outgoing{}
		changes[field.Name](&changed)
		require.NotEqual(t, outgoing{}.sameness(), changed.sameness(), field.Name)
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
		isSame := outgoing{header: request.Header}.sameness() == outgoing{header: other}.sameness()
		require.Equal(t, changesNoAnswer[name], isSame, name)
	}
}

// Another file makes another transport.
func TestMaterial_EveryPartIsInItsHash(t *testing.T) {
	changes := map[string]func(*tlsMaterial){
		"authorities": func(m *tlsMaterial) { m.authorities = []byte("x") },
		"onlyThese":   func(m *tlsMaterial) { m.onlyThese = true },
		"certificate": func(m *tlsMaterial) { m.certificate = []byte("x") },
		"key":         func(m *tlsMaterial) { m.key = []byte("x") },
	}
	seen := map[[32]byte]string{tlsMaterial{}.hash(): "none"}
	for field := range reflect.TypeFor[tlsMaterial]().Fields() {
		require.Contains(t, changes, field.Name)
		var changed tlsMaterial
		changes[field.Name](&changed)
		require.NotContains(t, seen, changed.hash(), field.Name)
		seen[changed.hash()] = field.Name
	}
}
