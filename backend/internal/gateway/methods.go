package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

var read = []string{http.MethodGet, http.MethodHead}

// gatewayEndpoints are the methods of tierproxy's own endpoints.
var gatewayEndpoints = map[string][]string{
	"/": read, "/metrics": read, "/-/healthy": read, "/-/ready": read, healthPath: read,
	explainPath: {http.MethodGet, http.MethodPost}, checkPath: {http.MethodPost}, metricsQueryPath: {http.MethodPost}, livePath: {http.MethodGet},
}

// isOpen reports whether every caller may use a path.
func (r route) isOpen() bool {
	return r.saved == nil && slices.Contains([]string{"/", "/-/healthy", "/-/ready", "/metrics", healthPath}, r.path)
}

// methodsOf returns the methods of a path except OPTIONS, or nil for a path that is not served.
func methodsOf(target route) []string {
	if methods, exists := gatewayEndpoints[target.path]; exists {
		return methods
	}
	if endpoint, err := promapi.MatchEndpoint(target.path); err == nil {
		return endpoint.Methods
	}
	return nil
}

// checkMethod returns an Error with status 405 for a method that a path does not support. It
// returns an Error with status 403 for a CORS preflight request: a page of another origin must
// not use the Perses session of its visitor.
func checkMethod(incoming *http.Request, target route) error {
	methods := methodsOf(target)
	switch {
	case methods == nil || slices.Contains(methods, incoming.Method):
		return nil
	case incoming.Method != http.MethodOptions:
		return promapi.MethodNotAllowed(target.path, incoming.Method, append(slices.Clone(methods), http.MethodOptions))
	case incoming.Header.Get("Access-Control-Request-Method") != "":
		return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"pages of another origin may not query tierproxy: query through Perses, or serve both under one host")
	}
	return nil
}

// serveOptions responds with the methods of a path, as Prometheus does.
func serveOptions(w http.ResponseWriter, target route) {
	methods := methodsOf(target)
	if methods == nil {
		_, err := promapi.MatchEndpoint(target.path)
		promapi.WriteError(w, err)
		return
	}
	w.Header().Set("Allow", strings.Join(append(slices.Clone(methods), http.MethodOptions), ", "))
	w.WriteHeader(http.StatusNoContent)
}

// withoutEmptySegments returns the path and query of a URL without empty path segments. These
// come from a base URL with a trailing slash. The second result is false if there are none, or
// if the remaining path is invalid.
func withoutEmptySegments(target *url.URL) (plain string, is bool) {
	plain = target.EscapedPath()
	if !strings.Contains(plain, "//") {
		return "", false
	}
	for strings.Contains(plain, "//") {
		plain = strings.ReplaceAll(plain, "//", "/")
	}
	if target.RawQuery != "" {
		plain += "?" + target.RawQuery
	}
	parsed, err := url.ParseRequestURI(plain)
	if err == nil {
		_, err = parseRoute(parsed)
	}
	return plain, err == nil
}
