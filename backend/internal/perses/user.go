package perses

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// whoAmIPath is where Perses says whom it takes the caller for (0.53 and
	// later).
	whoAmIPath = "/api/v1/user/whoami"
	// userFor is how long a user is remembered for credentials. A token always
	// belongs to the same user, and nothing is permitted because of the name.
	userFor = 10 * time.Minute
	// noUserFor is the same where Perses named no user.
	noUserFor = time.Minute
	// maxUserBytes bounds what Perses answers about a user; maxUserName bounds
	// the name.
	maxUserBytes = 64 << 10
	maxUserName  = 512
	// maxTokens is how many tokens of a caller are tried: one of a header and one
	// of cookies.
	maxTokens = 2
)

// knownUser is what Perses said of the credentials of a caller.
type knownUser struct {
	name  string // empty where Perses names nobody
	until time.Time
}

// User returns the name of the user whom Perses authenticated by the caller's
// credentials. It returns the empty string where Perses names nobody: it does
// not authenticate its callers, cannot be reached, or the caller shows nothing.
//
// The name comes from Perses and never from a token alone: a caller can send
// tokens that Perses does not look at.
func (c *Client) User(ctx context.Context, caller Caller) string {
	if caller.Anonymous() || caller.service {
		return ""
	}
	key := caller.cacheKey(whoAmIPath)
	if known, found := c.users.Get(key); found && c.options.Now().Before(known.until) {
		return known.name
	}
	flight := c.flights.DoChan("user "+string(key[:]), func() (any, error) {
		// It outlives a single caller who goes away, within its own timeout.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		found := knownUser{name: c.whoIs(ctx, caller), until: c.options.Now().Add(userFor)}
		if found.name == "" {
			found.until = c.options.Now().Add(noUserFor)
		}
		c.users.Add(key, found)
		return found.name, nil
	})
	select {
	case <-ctx.Done():
		return ""
	case result := <-flight:
		name, _ := result.Val.(string)
		return name
	}
}

// whoIs asks Perses for the user.
func (c *Client) whoIs(ctx context.Context, caller Caller) string {
	status, body := c.ask(ctx, whoAmIPath, caller)
	var user struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == 0:
		return ""
	case status == http.StatusOK && json.Unmarshal(body, &user) == nil && user.Kind == "User" && len(user.Metadata.Name) <= maxUserName:
		return user.Metadata.Name
	}
	return c.confirmedSubject(ctx, caller)
}

// confirmedSubject returns the subject of a token of the caller if Perses says
// that the caller is that user. Perses before 0.53 does not tell the user, but
// lets only the user itself read its permissions.
func (c *Client) confirmedSubject(ctx context.Context, caller Caller) string {
	tokens := caller.tokens()
	for _, token := range tokens[:min(len(tokens), maxTokens)] {
		var claims jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.Subject == "" || len(claims.Subject) > maxUserName {
			continue
		}
		status, body := c.ask(ctx, "/api/v1/users/"+url.PathEscape(claims.Subject)+"/permissions", caller)
		if status == http.StatusOK && json.Valid(body) {
			return claims.Subject
		}
	}
	return ""
}

// ask returns the status and the body of a short answer of Perses; zero where
// there was none.
func (c *Client) ask(ctx context.Context, path string, caller Caller) (status int, body []byte) {
	status, body, err := c.send(ctx, path, caller, maxUserBytes)
	if err != nil {
		return 0, nil
	}
	return status, body
}
