package perses

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The cookies of a Perses session: the two halves of an access token, and the refresh token,
// which goes nowhere.
const (
	payloadCookie   = "jwtPayload"
	signatureCookie = "jwtSignature"
	refreshCookie   = "jwtRefreshToken"
)

// HasSession reports whether a request has a cookie of a Perses session.
func HasSession(request *http.Request) bool {
	for _, name := range cookiesOf(request) {
		if name == payloadCookie || name == signatureCookie || name == refreshCookie {
			return true
		}
	}
	return false
}

// cookiesOf returns the cookies of a request, each as it arrived and its name.
func cookiesOf(request *http.Request) iter.Seq2[string, string] {
	return func(yield func(cookie, name string) bool) {
		for _, line := range request.Header.Values("Cookie") {
			for cookie := range strings.SplitSeq(line, ";") {
				cookie = strings.TrimSpace(cookie)
				if name, _, _ := strings.Cut(cookie, "="); !yield(cookie, name) {
					return
				}
			}
		}
	}
}

// Caller holds the credentials of a request, unchanged. The gateway sends them to
// Perses only.
type Caller struct {
	// header has Authorization, Impersonate-User, and the session cookies of Cookie.
	header http.Header

	service bool // the gateway itself, with its own credential
}

// ServiceCaller returns the gateway itself, with the credential of perses.service. Use
// it only for requests whose real caller Perses has checked.
func ServiceCaller() Caller { return Caller{service: true} }

// CallerOf returns the caller of a request.
func CallerOf(request *http.Request) Caller {
	caller := Caller{header: http.Header{}}
	for _, name := range []string{"Authorization", "Impersonate-User"} {
		if values := request.Header.Values(name); len(values) > 0 {
			caller.header[name] = values
		}
	}
	var cookies []string
	for cookie, name := range cookiesOf(request) {
		if name == payloadCookie || name == signatureCookie {
			cookies = append(cookies, cookie)
		}
	}
	if len(cookies) > 0 {
		caller.header.Set("Cookie", strings.Join(cookies, "; "))
	}
	return caller
}

// Anonymous reports whether the caller has no credentials.
func (c Caller) Anonymous() bool { return !c.service && len(c.header) == 0 }

// cacheKey is a hash of a path and the credentials of a caller.
type cacheKey [sha256.Size]byte

func (c Caller) cacheKey(path string) cacheKey {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%s\n%t\n", path, c.service) // A hash accepts everything.
	_ = c.header.Write(hash)
	return cacheKey(hash.Sum(nil))
}

// expiry returns when the first of the caller's tokens expires. known is false if the
// expiry of any token is unknown. Only Perses verifies tokens: the result limits how
// long an answer is used, and grants nothing.
func (c Caller) expiry() (end time.Time, known bool) {
	tokens := c.tokens()
	if credentials := len(c.header.Values("Authorization")) + len(c.header.Values("Cookie")); len(tokens) < credentials {
		return time.Time{}, false // One is no bearer token.
	}
	for _, token := range tokens {
		claims := claimsOf(token)
		if claims.ExpiresAt == nil {
			return time.Time{}, false
		}
		if end.IsZero() || claims.ExpiresAt.Before(end) {
			end = claims.ExpiresAt.Time
		}
	}
	return end, !end.IsZero()
}

// claimsOf returns the unverified claims of a token, and none for a malformed token.
func claimsOf(token string) (claims jwt.RegisteredClaims) {
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return jwt.RegisteredClaims{}
	}
	return claims
}

// tokens returns the caller's tokens, unverified: the bearer tokens, then that of the
// session cookies.
func (c Caller) tokens() []string {
	var tokens []string
	for _, value := range c.header.Values("Authorization") {
		if scheme, token, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	if c.header.Get("Cookie") != "" {
		halves := map[string]string{}
		for _, cookie := range slices.Backward((&http.Request{Header: c.header}).Cookies()) {
			halves[cookie.Name] = cookie.Value // The first one counts.
		}
		tokens = append(tokens, halves[payloadCookie]+"."+halves[signatureCookie])
	}
	return tokens
}
