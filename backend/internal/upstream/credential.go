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

// CredentialError is returned when the gateway's own credential for a
// destination cannot be had. It holds no part of it.
type CredentialError struct {
	// Cause is for the log only.
	Cause error
}

// Error says what is wrong.
func (e *CredentialError) Error() string {
	return "the gateway's own credential cannot be had: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *CredentialError) Unwrap() error { return e.Cause }

// rotationGrace is how long the last content of a file serves while the file is
// being written.
const rotationGrace = 10 * time.Second

// secretFile reads a secret from a file that may be rotated at any time. It is
// read for every request.
type secretFile struct {
	path    string
	reloads *Reloads

	mutex  sync.Mutex
	last   string
	readAt time.Time
}

// Fetch returns the secret. While the file is missing or empty, as in the
// middle of a rotation, the last one serves for some seconds, but not past the
// end that a token tells of itself.
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

// Description implements the interface of Prometheus.
func (s *secretFile) Description() string { return "file " + s.path }

// Immutable implements the interface of Prometheus.
func (*secretFile) Immutable() bool { return false }

// expired reports whether a token is past its own expiry. The token is not verified:
// that is for the server that accepts it.
func expired(token string, now time.Time) bool {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	return err == nil && claims.ExpiresAt != nil && !now.Before(claims.ExpiresAt.Time)
}

// secretOf is a secret of a configuration, or nil where there is none.
func secretOf(text promconfig.Secret, file string, reloads *Reloads) promconfig.SecretReader {
	switch {
	case text != "":
		return promconfig.NewInlineSecret(string(text))
	case file != "":
		return &secretFile{path: file, reloads: reloads}
	}
	return nil
}

// bearer sends a token from a file, as long as there is one, over TLS.
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

// CloseIdleConnections closes unused connections.
func (b *bearer) CloseIdleConnections() { closeIdle(b.next) }

// withCredentials puts the credentials of a configuration on the requests. It
// returns an error when a file of TLS for the server of tokens cannot be read.
func withCredentials(config *promconfig.HTTPClientConfig, carrier http.RoundTripper, reloads *Reloads) (http.RoundTripper, error) {
	if own := config.Authorization; own != nil {
		carrier = promconfig.NewAuthorizationCredentialsRoundTripper(own.Type, secretOf(own.Credentials, own.CredentialsFile, reloads), carrier)
	}
	if own := config.BasicAuth; own != nil {
		carrier = promconfig.NewBasicAuthRoundTripper(secretOf(promconfig.Secret(own.Username), own.UsernameFile, reloads), secretOf(own.Password, own.PasswordFile, reloads), carrier)
	}
	if own := config.OAuth2; own != nil {
		var err error
		if carrier, err = newOAuth2(own, carrier, reloads); err != nil {
			return nil, err
		}
	}
	if config.HTTPHeaders != nil {
		carrier = promconfig.NewHeadersRoundTripper(config.HTTPHeaders, carrier)
	}
	return carrier, nil
}
