package perses

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

const (
	// whoAmIPath returns the user of the caller's credentials (Perses 0.53 and later).
	whoAmIPath = "/api/v1/user/whoami"
	// userFor is how long the user of credentials is cached. A token always belongs to
	// the same user, and the name grants nothing. noUserFor is the same for credentials
	// without a user.
	userFor   = 10 * time.Minute
	noUserFor = time.Minute
	// maxUserBytes limits the answer of Perses, and maxUserName the name.
	maxUserBytes = 64 << 10
	maxUserName  = 512
	// maxTokens limits the tokens of a caller that are tried: one in a header and one in
	// cookies.
	maxTokens = 2
)

// knownUser is the cached user of a caller's credentials.
type knownUser struct {
	name  string // empty if Perses names no user
	until time.Time
}

// User returns the name of the user that Perses authenticated by the caller's
// credentials. It returns an empty string if Perses has no authentication or is
// unreachable, or if the caller has no valid credentials.
//
// The name comes from Perses and not from the token alone, because a caller can send
// tokens that Perses does not verify.
func (c *Client) User(ctx context.Context, caller Caller) string {
	if caller.Anonymous() || caller.service {
		return ""
	}
	key := caller.cacheKey(whoAmIPath)
	if known, isCached := c.users.Get(key); isCached && c.options.Now().Before(known.until) {
		return known.name
	}
	flight := c.lookups.DoChan("user "+string(key[:]), func() (any, error) {
		// The request continues, within its own timeout, if a caller disconnects.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		user := knownUser{name: c.userOf(ctx, caller), until: c.options.Now().Add(userFor)}
		if user.name == "" {
			user.until = c.options.Now().Add(noUserFor)
		}
		c.users.Add(key, user)
		return user.name, nil
	})
	select {
	case <-ctx.Done():
		return ""
	case result := <-flight:
		name, _ := result.Val.(string)
		return name
	}
}

// userOf returns the user according to Perses, or an empty string.
func (c *Client) userOf(ctx context.Context, caller Caller) string {
	status, body, err := c.send(ctx, whoAmIPath, caller, maxUserBytes)
	var user struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	switch {
	case err != nil, status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ""
	case status == http.StatusOK && json.Unmarshal(body, &user) == nil && user.Kind == "User" && len(user.Metadata.Name) <= maxUserName:
		return user.Metadata.Name
	}
	return c.confirmedSubject(ctx, caller)
}

// confirmedSubject returns the subject of one of the caller's tokens, if Perses confirms
// that the caller is this user. Perses 0.52 has no whoami, but only the user itself may
// read its permissions.
func (c *Client) confirmedSubject(ctx context.Context, caller Caller) string {
	tokens := caller.tokens()
	for _, token := range tokens[:min(len(tokens), maxTokens)] {
		subject := claimsOf(token).Subject
		if subject == "" || len(subject) > maxUserName {
			continue
		}
		status, body, err := c.send(ctx, "/api/v1/users/"+url.PathEscape(subject)+"/permissions", caller, maxUserBytes)
		if err == nil && status == http.StatusOK && json.Valid(body) {
			return subject
		}
	}
	return ""
}
