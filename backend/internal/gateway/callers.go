package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

// hasCertificate reports whether the verified client certificate of a connection has one of
// the names, as a DNS name or a URI.
func hasCertificate(state *tls.ConnectionState, names []string) bool {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return false
	}
	leaf := state.VerifiedChains[0][0]
	return slices.ContainsFunc(names, func(name string) bool {
		return slices.Contains(leaf.DNSNames, name) || slices.ContainsFunc(leaf.URIs, func(uri *url.URL) bool { return uri.String() == name })
	})
}

// checkDefaultCaller returns nil if the caller may query the default datasource. Without
// Perses, every caller may, unless the operator requires a credential. It returns an Error:
//   - 404 if the default datasource is not served,
//   - 401 if the caller has neither the token nor a listed certificate,
//   - 503 while the gateway cannot read the token.
//
// The source address does not matter: a datasource can direct Perses to the gateway on a
// loopback address.
func (g *Gateway) checkDefaultCaller(incoming *http.Request) error {
	settings := g.core.Config.DefaultDatasource
	if g.core.Perses != nil && !settings.Enabled {
		return promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served at the root, because Perses is configured: ask below /proxy/globaldatasources/NAME or /proxy/projects/PROJECT/datasources/NAME", incoming.URL.Path)
	}
	open := settings.TokenFile == "" && len(settings.ClientNames) == 0
	if (open && g.core.Perses == nil) || hasCertificate(incoming.TLS, settings.ClientNames) {
		return nil
	}
	if settings.TokenFile != "" {
		hasToken, err := hasTokenOf(settings.TokenFile, "default_datasource.token_file", incoming)
		if hasToken || err != nil {
			return err
		}
	}
	return promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized,
		"the default datasource requires its own credential: send the bearer token that the operator gave you, or use a client certificate")
}

// checkAdminCaller returns nil if the caller may use the operator's endpoints. Without a
// configured token, every caller may. It returns an Error with status 401, or with status 503
// while the gateway cannot read the token.
func (g *Gateway) checkAdminCaller(incoming *http.Request) error {
	if g.core.Config.Admin.TokenFile == "" {
		return nil
	}
	hasToken, err := hasTokenOf(g.core.Config.Admin.TokenFile, "admin.token_file", incoming)
	if hasToken || err != nil {
		return err
	}
	return promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized, "this endpoint is for the operator: send the bearer token of admin.token_file")
}

// hasTokenOf reports whether a request has the bearer token of a file. It returns an Error
// with status 503 that names the key of the file, if it cannot read the file or the file is
// empty.
func hasTokenOf(file, key string, incoming *http.Request) (bool, error) {
	content, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
	token := strings.TrimSpace(string(content))
	if err == nil && token == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return false, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, Message: "tierproxy cannot read the token of " + key}
	}
	return equalConstantTime(bearerOf(incoming), token), nil
}

// bearerOf returns the bearer token of a request, or an empty string unless there is exactly
// one.
func bearerOf(incoming *http.Request) string {
	values := incoming.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// equalConstantTime compares two secrets in constant time.
func equalConstantTime(given, expected string) bool {
	givenHash, expectedHash := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(expected))
	return subtle.ConstantTimeCompare(givenHash[:], expectedHash[:]) == 1
}

// savedCaller returns the caller of a saved datasource for fair queueing: the user that Perses
// authenticated or, without authentication, the address. Other request data does not count,
// because a caller could vary it and pass for many callers.
//
// All datasources of a project count as one, because a user who may create one can create
// many.
func (g *Gateway) savedCaller(incoming *http.Request, reference perses.Reference) admission.Caller {
	scope := "global " + reference.Name
	if reference.Project != "" {
		scope = "project " + reference.Project
	}
	caller := admission.Caller{Datasource: core.CallerKey(scope)}
	if user := g.core.Perses.User(incoming.Context(), g.callerOf(incoming, reference)); user != "" {
		caller.ID = core.CallerKey("user " + user)
		return caller
	}
	address := incoming.RemoteAddr
	// Perses appends the address of its client.
	if forwarded := incoming.Header.Values("X-Forwarded-For"); len(forwarded) > 0 {
		last := forwarded[len(forwarded)-1]
		address = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	caller.ID = hashAddress(address)
	return caller
}

// defaultCaller returns the caller of the default datasource for fair queueing: its address.
func defaultCaller(incoming *http.Request) admission.Caller {
	return admission.Caller{Datasource: core.CallerKey(resolve.DefaultName), ID: hashAddress(incoming.RemoteAddr)}
}

// hashAddress returns the same key for all addresses of one host. It ignores the port and, for
// IPv6, the last 64 bits.
func hashAddress(address string) uint64 {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if parsed, err := netip.ParseAddr(host); err == nil {
		parsed = parsed.Unmap().WithZone("")
		if host = parsed.String(); parsed.Is6() {
			host = netip.PrefixFrom(parsed, 64).Masked().String()
		}
	}
	return core.CallerKey("address " + host)
}

// callerOf returns the identity for looking up a saved datasource: the caller's or the
// gateway's own. The gateway uses its own identity only for listed datasources, on connections
// with the client certificate of Perses. Perses has then checked the caller itself.
func (g *Gateway) callerOf(incoming *http.Request, reference perses.Reference) perses.Caller {
	service := g.core.Config.Perses.Service
	listed := slices.ContainsFunc(service.Datasources, func(listed config.ServedDatasource) bool {
		return perses.Reference{Project: listed.Project, Name: listed.Name} == reference
	})
	if _, transport := g.core.Resolver.PersesTransports(); transport != nil && listed && hasCertificate(incoming.TLS, service.ClientNames) {
		return perses.ServiceCaller()
	}
	return perses.CallerOf(incoming)
}
