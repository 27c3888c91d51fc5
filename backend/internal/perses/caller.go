package perses

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The cookies in which Perses keeps the two halves of its access token.
const (
	payloadCookie   = "jwtPayload"
	signatureCookie = "jwtSignature"
)

// Caller is what a request tells of who sent it: the credentials that Perses
// passes on, all as they arrived. They are sent to Perses only.
type Caller struct {
	authorization []string
	cookies       []string // "name=value" of the two session cookies, in the order they came
	impersonate   []string

	service bool // the gateway itself, with a credential of its own
}

// ServiceCaller is the gateway itself, which shows the credential that the
// operator gave it. Whoever uses it has to be sure of the real caller.
func ServiceCaller() Caller { return Caller{service: true} }

// CallerOf returns the caller of a request.
func CallerOf(request *http.Request) Caller {
	caller := Caller{
		authorization: request.Header.Values("Authorization"),
		impersonate:   request.Header.Values("Impersonate-User"),
	}
	for _, line := range request.Header.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			name, _, _ := strings.Cut(pair, "=")
			if name == payloadCookie || name == signatureCookie {
				caller.cookies = append(caller.cookies, pair)
			}
		}
	}
	return caller
}

// Anonymous tells whether the caller showed no credentials at all.
func (c Caller) Anonymous() bool {
	return !c.service && len(c.authorization) == 0 && len(c.cookies) == 0 && len(c.impersonate) == 0
}

// apply puts the credentials on a request to Perses.
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

// cacheKey identifies what this caller was answered for a path. Every part is
// prefixed with its length, so that no two callers share a key.
type cacheKey [sha256.Size]byte

func (c Caller) cacheKey(path string) cacheKey {
	hash := sha256.New()
	write := func(text string) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		hash.Write(length[:])
		hash.Write([]byte(text))
	}
	write(path)
	if c.service {
		hash.Write([]byte{1}) // No count of credentials begins like this.
	}
	for _, part := range [][]string{c.authorization, c.cookies, c.impersonate} {
		var count [8]byte
		binary.BigEndian.PutUint64(count[:], uint64(len(part)))
		hash.Write(count[:])
		for _, text := range part {
			write(text)
		}
	}
	return cacheKey(hash.Sum(nil))
}

// expiry returns when the first of the caller's tokens ends. known is false
// when one of them does not tell, so that nothing may be concluded from it.
// Only Perses verifies the tokens: the time is a bound, never a permission.
func (c Caller) expiry() (end time.Time, known bool) {
	for _, value := range c.authorization {
		if _, isBearer := bearer(value); !isBearer {
			return time.Time{}, false
		}
	}
	for _, token := range c.tokens() {
		var claims jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.ExpiresAt == nil {
			return time.Time{}, false
		}
		if end.IsZero() || claims.ExpiresAt.Before(end) {
			end = claims.ExpiresAt.Time
		}
	}
	return end, !end.IsZero()
}

// tokens returns the tokens that the caller shows, unverified.
func (c Caller) tokens() []string {
	tokens := make([]string, 0, len(c.authorization)+1)
	for _, value := range c.authorization {
		if token, isBearer := bearer(value); isBearer {
			tokens = append(tokens, token)
		}
	}
	if len(c.cookies) > 0 {
		tokens = append(tokens, c.cookie(payloadCookie)+"."+c.cookie(signatureCookie))
	}
	return tokens
}

// bearer returns the token of an Authorization header.
func bearer(value string) (token string, isBearer bool) {
	scheme, token, found := strings.Cut(value, " ")
	return strings.TrimSpace(token), found && strings.EqualFold(scheme, "Bearer")
}

func (c Caller) cookie(name string) string {
	for _, pair := range c.cookies {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}
