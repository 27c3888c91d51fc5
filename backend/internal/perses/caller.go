package perses

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The cookies with the two halves of a Perses access token.
const (
	payloadCookie   = "jwtPayload"
	signatureCookie = "jwtSignature"
)

// Caller holds the credentials of a request, unchanged. The gateway sends them to
// Perses only.
type Caller struct {
	authorization []string
	cookies       []string // "name=value" of the two session cookies, in their order
	impersonate   []string

	service bool // the gateway itself, with its own credential
}

// ServiceCaller returns the gateway itself, with the credential of perses.service. Use
// it only for requests whose real caller Perses has checked.
func ServiceCaller() Caller { return Caller{service: true} }

// CallerOf returns the caller of a request.
func CallerOf(request *http.Request) Caller {
	caller := Caller{
		authorization: request.Header.Values("Authorization"),
		impersonate:   request.Header.Values("Impersonate-User"),
	}
	for _, line := range request.Header.Values("Cookie") {
		for cookie := range strings.SplitSeq(line, ";") {
			cookie = strings.TrimSpace(cookie)
			if name, _, _ := strings.Cut(cookie, "="); name == payloadCookie || name == signatureCookie {
				caller.cookies = append(caller.cookies, cookie)
			}
		}
	}
	return caller
}

// Anonymous reports whether the caller has no credentials.
func (c Caller) Anonymous() bool {
	return !c.service && len(c.authorization) == 0 && len(c.cookies) == 0 && len(c.impersonate) == 0
}

// apply adds the credentials to the header of a request to Perses.
func (c Caller) apply(header http.Header) {
	for _, value := range c.authorization {
		header.Add("Authorization", value)
	}
	if len(c.cookies) > 0 {
		header.Set("Cookie", strings.Join(c.cookies, "; "))
	}
	for _, value := range c.impersonate {
		header.Add("Impersonate-User", value)
	}
}

// cacheKey is a hash of a path and the credentials of a caller.
type cacheKey [sha256.Size]byte

func (c Caller) cacheKey(path string) cacheKey {
	header := http.Header{}
	c.apply(header)
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%s\n%t\n", path, c.service) // A hash accepts everything.
	_ = header.Write(hash)
	return cacheKey(hash.Sum(nil))
}

// expiry returns when the first of the caller's tokens expires. known is false if the
// expiry of any token is unknown. Only Perses verifies tokens: the result limits how
// long an answer is used, and grants nothing.
func (c Caller) expiry() (end time.Time, known bool) {
	tokens := c.tokens()
	if credentials := len(c.authorization) + min(len(c.cookies), 1); len(tokens) < credentials {
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
	for _, value := range c.authorization {
		if scheme, token, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	if len(c.cookies) > 0 {
		tokens = append(tokens, c.cookie(payloadCookie)+"."+c.cookie(signatureCookie))
	}
	return tokens
}

func (c Caller) cookie(name string) string {
	for _, cookie := range c.cookies {
		if value, found := strings.CutPrefix(cookie, name+"="); found {
			return value
		}
	}
	return ""
}
