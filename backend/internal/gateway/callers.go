package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

// certificateNames are the DNS names and URIs in the client certificate of a
// connection, if the listener verified one.
func certificateNames(state *tls.ConnectionState) []string {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	leaf := state.VerifiedChains[0][0]
	names := slices.Clone(leaf.DNSNames)
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	return names
}

func showsOneOf(state *tls.ConnectionState, names []string) bool {
	return slices.ContainsFunc(certificateNames(state), func(name string) bool { return slices.Contains(names, name) })
}

// checkDefaultCaller returns nil when the caller may ask the default datasource.
// Without Perses that is everybody, unless the operator says otherwise. It
// returns an Error: 404 where the default datasource is not served, 401 for a
// caller who shows neither the token nor a certificate of the list, 503 while the
// token cannot be read.
//
// Where the request comes from makes no difference: a datasource can lead Perses
// to the gateway on a loopback address too.
func (g *Gateway) checkDefaultCaller(incoming *http.Request) error {
	own := g.core.Config.DefaultDatasource
	if g.core.Perses != nil && !own.Enabled {
		return promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served at the root, because Perses is configured: ask below /proxy/globaldatasources/NAME or /proxy/projects/PROJECT/datasources/NAME", incoming.URL.Path)
	}
	open := own.TokenFile == "" && len(own.ClientNames) == 0
	if (open && g.core.Perses == nil) || showsOneOf(incoming.TLS, own.ClientNames) {
		return nil
	}
	if own.TokenFile != "" {
		isSent, err := sendsTokenOf(own.TokenFile, incoming)
		if err != nil {
			return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err,
				Message: "tierproxy cannot read the token that callers of the default datasource have to send"}
		}
		if isSent {
			return nil
		}
	}
	return promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized,
		"the default datasource takes a credential of its own: send the bearer token that the operator gave you, or show a client certificate")
}

// checkAdminCaller returns nil when the caller may ask for what is the operator's:
// everybody who gets there, unless the configuration has a token. It returns an
// Error with status 401, or 503 while that token cannot be read.
func (g *Gateway) checkAdminCaller(incoming *http.Request) error {
	if g.core.Config.Admin.TokenFile == "" {
		return nil
	}
	isSent, err := sendsTokenOf(g.core.Config.Admin.TokenFile, incoming)
	switch {
	case err != nil:
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err,
			Message: "tierproxy cannot read the token that admin.token_file names"}
	case !isSent:
		return promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized, "this is for the operator: send the bearer token that admin.token_file names")
	}
	return nil
}

// sendsTokenOf tells whether a request has the bearer token of a file.
func sendsTokenOf(file string, incoming *http.Request) (bool, error) {
	content, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
	token := strings.TrimSpace(string(content))
	if err == nil && token == "" {
		err = errors.New("the file is empty")
	}
	return err == nil && sameSecret(bearerOf(incoming), token), err
}

// bearerOf is the one bearer token of a request; empty where there is none.
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

// sameSecret compares in a time that tells nothing.
func sameSecret(given, expected string) bool {
	one, other := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(expected))
	return subtle.ConstantTimeCompare(one[:], other[:]) == 1
}

// seed makes what callers are told apart by unpredictable to them.
var seed = maphash.MakeSeed()

// savedCaller returns who asks a saved datasource, for taking turns: the user
// whom Perses authenticated or, where it authenticates nobody, the address. What
// a caller merely sends does not count, so that nobody is many callers by
// varying it.
//
// The datasources of a project take turns as one: whoever may create one could
// create many.
func (g *Gateway) savedCaller(incoming *http.Request, reference perses.Reference) promapi.Caller {
	scope := "global " + reference.Name
	if reference.Project != "" {
		scope = "project " + reference.Project
	}
	caller := promapi.Caller{Datasource: core.CallerKey(scope)}
	if user := g.core.Perses.User(incoming.Context(), g.callerOf(incoming, reference)); user != "" {
		caller.ID = core.CallerKey("user " + user)
		return caller
	}
	address := incoming.RemoteAddr
	// Perses adds the address that it was asked from at the end.
	if forwarded := incoming.Header.Values("X-Forwarded-For"); len(forwarded) > 0 {
		last := forwarded[len(forwarded)-1]
		address = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	caller.ID = hashAddress(address)
	return caller
}

// defaultCaller returns who asks the default datasource, for taking turns: the
// address.
func defaultCaller(incoming *http.Request) promapi.Caller {
	return promapi.Caller{Datasource: core.CallerKey(resolve.DefaultName), ID: hashAddress(incoming.RemoteAddr)}
}

// libraryCaller is the program that this library is part of.
func libraryCaller() promapi.Caller {
	return promapi.Caller{Datasource: core.CallerKey(resolve.DefaultName), ID: core.CallerKey("library")}
}

// hashAddress returns the same for all addresses that one host may choose from:
// the port does not count and, of IPv6, neither do the last 64 bits.
func hashAddress(address string) uint64 {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if parsed, err := netip.ParseAddr(host); err == nil {
		parsed = parsed.Unmap().WithZone("")
		if host = parsed.String(); parsed.Is6() {
			host = netip.PrefixFrom(parsed, ipv6HostBits).Masked().String()
		}
	}
	return core.CallerKey("address " + host)
}

// ipv6HostBits are those of the network that a host with an IPv6 address is in.
const ipv6HostBits = 64

// callerOf returns on whose behalf a saved datasource is looked up: that of the
// caller or, for a datasource that the operator listed and on a connection that
// only Perses can make, that of the gateway itself. Perses then checked the
// caller before it passed the request on.
func (g *Gateway) callerOf(incoming *http.Request, reference perses.Reference) perses.Caller {
	service := g.core.Config.Perses.Service
	listed := slices.ContainsFunc(service.Datasources, func(each config.ServedDatasource) bool {
		return perses.Reference{Project: each.Project, Name: each.Name} == reference
	})
	if _, own := g.core.Resolver.PersesTransports(); own != nil && listed && showsOneOf(incoming.TLS, service.ClientNames) {
		return perses.ServiceCaller()
	}
	return perses.CallerOf(incoming)
}
