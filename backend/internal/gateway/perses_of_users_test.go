package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// persesOfUsers lets every caller read every datasource. With authentication, the
// token of a caller is the name of the user. As Perses does, it reads the session
// cookies only if there are both, and lets them win.
type persesOfUsers struct {
	*httptest.Server
	authenticates bool
	lookups       atomic.Int64 // of datasources
}

func newPersesOfUsers(t *testing.T, authenticates bool) *persesOfUsers {
	t.Helper()
	p := &persesOfUsers{authenticates: authenticates}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *persesOfUsers) user(request *http.Request) string {
	payload, payloadError := request.Cookie("jwtPayload")
	_, signatureError := request.Cookie("jwtSignature")
	if payloadError == nil && signatureError == nil {
		return payload.Value
	}
	return strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
}

// ServeHTTP implements http.Handler.
func (p *persesOfUsers) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	user := p.user(request)
	if (p.authenticates && user == "") || (!p.authenticates && strings.Contains(request.URL.Path, "/user")) {
		http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if request.URL.Path == "/api/v1/user/whoami" {
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "User", "metadata": map[string]any{"name": user}})
		return
	}
	p.lookups.Add(1)
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	kind, metadata := "GlobalDatasource", map[string]any{"name": parts[len(parts)-1]}
	if parts[2] == "projects" {
		kind, metadata["project"] = "Datasource", parts[3]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": kind, "metadata": metadata,
		"spec": map[string]any{"plugin": map[string]any{"kind": "TieredPrometheusDatasource", "spec": map[string]any{
			"proxy": map[string]any{"kind": "HTTPProxy", "spec": map[string]any{"url": "http://tierproxy:9190/proxy" + strings.TrimPrefix(request.URL.Path, "/api/v1")}},
		}}},
	})
}
