package gateway

import (
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// In front mode, an ingress on the host of Perses sends the proxy paths of tiered datasources
// straight to tierproxy, together with the session cookies of the browser. All other requests
// to these paths arrive through the proxy of Perses.

// keepsConnections reports whether the client of a request at a proxy path reuses its
// connections. An ingress does. Perses opens a connection for every request that it proxies, and
// leaves it idle for 90 s.
//
// Perses adds Authorization to requests with a session. It does not set X-Forwarded-Host, and
// replaces Host by that of the datasource's URL. So both are equal only behind an ingress.
func keepsConnections(incoming *http.Request) bool {
	if incoming.Header.Get("Authorization") == "" && perses.HasSession(incoming) {
		return true
	}
	forwarded := incoming.Header.Values("X-Forwarded-Host")
	return len(forwarded) > 0 && forwarded[len(forwarded)-1] == incoming.Host
}

// checkSameSite returns an Error with status 403 for a request that a page of another origin
// made with the Perses session of its visitor. The SameSite attribute of the cookies does not
// prevent all of these: it is configurable, and subdomains count as the same site.
//
// Only requests with session cookies are checked. Those with a bearer token do not come from
// such a page: a browser adds no bearer token by itself, and a page of another origin can add
// one only after a CORS preflight request, which tierproxy refuses.
func checkSameSite(incoming *http.Request) error {
	if !perses.HasSession(incoming) {
		return nil
	}
	scheme, _, _ := strings.Cut(incoming.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return nil // Perses made it of the cookies.
	}
	if scheme != "" && incoming.Header.Get("Sec-Fetch-Site") == "" {
		// A secret of the datasource replaced the token, and Perses replaced Host.
		return nil
	}
	// The library lets GET pass, because it must change nothing. Here GET requests cost as much
	// as POST requests.
	asPost := &http.Request{Method: http.MethodPost, Host: incoming.Host, URL: incoming.URL, Header: incoming.Header}
	if new(http.CrossOriginProtection).Check(asPost) == nil {
		return nil
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"a page of another origin may not query with a Perses session: query from Perses itself, or send a bearer token instead of cookies; if this is Perses, its ingress must pass the header Host on unchanged")
}
