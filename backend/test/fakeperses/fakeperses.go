// Package fakeperses answers like the API of Perses for some datasources of our
// kind, for tests that need no real Perses.
package fakeperses

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Datasource is what a datasource says, in JSON.
type Datasource struct {
	// Tiers are members of its spec, each with a comma behind it.
	Tiers string
	// Headers are those of its proxy, without braces.
	Headers string
}

// Perses is a running fake.
type Perses struct {
	*httptest.Server

	asked atomic.Int64
}

// Start starts a Perses with datasources by their path below /api/v1. Only callers
// with the bearer token session may read them; every caller if it is empty.
func Start(t testing.TB, session string, datasources map[string]Datasource) *Perses {
	t.Helper()
	p := &Perses{}
	handler := Handler(session, datasources)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		p.asked.Add(1)
		handler(w, request)
	}))
	t.Cleanup(p.Close)
	return p
}

// Asked returns how many requests arrived so far.
func (p *Perses) Asked() int64 { return p.asked.Load() }

// Handler answers the requests of a Perses: see Start.
func Handler(session string, datasources map[string]Datasource) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		path := strings.TrimPrefix(request.URL.Path, "/api/v1")
		found, is := datasources[path]
		switch {
		case session != "" && request.Header.Get("Authorization") != "Bearer "+session:
			w.WriteHeader(http.StatusUnauthorized)
		case !is:
			w.WriteHeader(http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(found.document(strings.Split(path, "/")))
		}
	}
}

// document returns the datasource as Perses does. The parts of its path name it.
func (d Datasource) document(parts []string) map[string]any {
	metadata := map[string]string{"name": parts[len(parts)-1]}
	if parts[1] == "projects" {
		metadata["project"] = parts[2]
	}
	spec := fmt.Sprintf(`{%s"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/x","headers":{%s}}}}`, d.Tiers, d.Headers)
	return map[string]any{"metadata": metadata, "spec": map[string]any{"plugin": map[string]any{
		"kind": "TieredPrometheusDatasource", "spec": json.RawMessage(spec),
	}}}
}
