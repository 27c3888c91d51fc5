package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	promconfig "github.com/prometheus/common/config"
)

// CredentialError is returned if tierproxy cannot get its own credential for a destination. It
// contains no part of the credential.
type CredentialError struct {
	// Cause is for the log only.
	Cause error
}

// Error describes the cause.
func (e *CredentialError) Error() string {
	return "tierproxy cannot get its own credential: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *CredentialError) Unwrap() error { return e.Cause }

// rotationGrace is how long the last secret serves while its file is missing or empty.
const rotationGrace = 10 * time.Second

// secretFile is a file with a secret that may be rotated at any time. It is read for every
// request.
type secretFile struct {
	path    string
	reloads *Reloads

	mutex  sync.Mutex
	last   string
	readAt time.Time
}

// Fetch returns the secret. While the file is missing or empty, for example during a rotation,
// it returns the last secret for some seconds, but not after the expiry of a token.
func (s *secretFile) Fetch(context.Context) (string, error) {
	content, err := os.ReadFile(s.path)
	secret := strings.TrimSpace(string(content))
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := time.Now()
	if err == nil && secret != "" {
		if s.last != "" && s.last != secret {
			s.reloads.count(true)
		}
		s.last, s.readAt = secret, now
		return secret, nil
	}
	if err == nil {
		err = fmt.Errorf("the file %s is empty", s.path)
	}
	if s.last != "" {
		s.reloads.count(false)
		if now.Sub(s.readAt) < rotationGrace && !expired(s.last, now) {
			return s.last, nil
		}
	}
	s.last = ""
	return "", &CredentialError{Cause: err}
}

// Description implements promconfig.SecretReader.
func (s *secretFile) Description() string { return "file " + s.path }

// Immutable implements promconfig.SecretReader.
func (*secretFile) Immutable() bool { return false }

// expired reports whether a token is past its expiry. It does not verify the token.
func expired(token string, now time.Time) bool {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	return err == nil && claims.ExpiresAt != nil && !now.Before(claims.ExpiresAt.Time)
}

// secretOf returns a secret of a configuration, or nil.
func secretOf(text promconfig.Secret, file string, reloads *Reloads) promconfig.SecretReader {
	switch {
	case text != "":
		return promconfig.NewInlineSecret(string(text))
	case file != "":
		return &secretFile{path: file, reloads: reloads}
	}
	return nil
}

// bearer sends the token of a file, if the file exists, over TLS.
type bearer struct {
	token *secretFile
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" {
		return b.next.RoundTrip(request)
	}
	token, err := b.token.Fetch(request.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return b.next.RoundTrip(request)
	}
	if err != nil {
		return nil, err
	}
	authorized := request.Clone(request.Context())
	authorized.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(authorized)
}

// CloseIdleConnections closes idle connections.
func (b *bearer) CloseIdleConnections() { closeIdle(b.next) }

// withCredentials adds the credentials of a configuration to the requests. It returns an error if
// it cannot read a TLS file for the OAuth 2 server.
func (c *TransportConfig) withCredentials(next http.RoundTripper) (_ http.RoundTripper, err error) {
	config, reloads := c.options.HTTP, c.options.Reloads
	if auth := config.Authorization; auth != nil {
		next = promconfig.NewAuthorizationCredentialsRoundTripper(auth.Type, secretOf(auth.Credentials, auth.CredentialsFile, reloads), next)
	}
	if auth := config.BasicAuth; auth != nil {
		next = promconfig.NewBasicAuthRoundTripper(secretOf(promconfig.Secret(auth.Username), auth.UsernameFile, reloads), secretOf(auth.Password, auth.PasswordFile, reloads), next)
	}
	if config.OAuth2 != nil {
		if next, err = newOAuth2(config.OAuth2, c.oauth2, next, reloads); err != nil {
			return nil, err
		}
	}
	if config.HTTPHeaders != nil {
		next = promconfig.NewHeadersRoundTripper(config.HTTPHeaders, next)
	}
	return next, nil
}
