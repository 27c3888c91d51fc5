package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	promconfig "github.com/prometheus/common/config"
	"golang.org/x/oauth2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
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
	path string

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
	switch {
	case err == nil && secret != "":
		s.last, s.readAt = secret, now
		return secret, nil
	case s.last != "" && now.Sub(s.readAt) < rotationGrace && !expired(s.last, now):
		return s.last, nil
	case err == nil:
		err = fmt.Errorf("the file %s is empty", s.path)
	}
	s.last = ""
	return "", &CredentialError{Cause: err}
}

// Description implements the interface of Prometheus.
func (s *secretFile) Description() string { return "file " + s.path }

// Immutable implements the interface of Prometheus.
func (*secretFile) Immutable() bool { return false }

// expired tells whether a token says of itself that its time is over. Only who
// accepts the token verifies it.
func expired(token string, now time.Time) bool {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	return err == nil && claims.ExpiresAt != nil && !now.Before(claims.ExpiresAt.Time)
}

// secretOf is a secret of a configuration, or nil where there is none.
func secretOf(text promconfig.Secret, file string) promconfig.SecretReader {
	switch {
	case text != "":
		return promconfig.NewInlineSecret(string(text))
	case file != "":
		return &secretFile{path: file}
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

// CloseIdleConnections closes the connections that nobody uses.
func (b *bearer) CloseIdleConnections() { closeIdle(b.next) }

// withCredentials puts the credentials of a configuration on the requests.
func withCredentials(config *promconfig.HTTPClientConfig, carrier http.RoundTripper) http.RoundTripper {
	if own := config.Authorization; own != nil {
		carrier = promconfig.NewAuthorizationCredentialsRoundTripper(own.Type, secretOf(own.Credentials, own.CredentialsFile), carrier)
	}
	if own := config.BasicAuth; own != nil {
		carrier = promconfig.NewBasicAuthRoundTripper(secretOf(promconfig.Secret(own.Username), own.UsernameFile), secretOf(own.Password, own.PasswordFile), carrier)
	}
	if own := config.OAuth2; own != nil {
		secret := secretOf(own.ClientSecret, own.ClientSecretFile)
		if own.ClientCertificateKey != "" || own.ClientCertificateKeyFile != "" {
			secret = secretOf(own.ClientCertificateKey, own.ClientCertificateKeyFile)
		}
		carrier = &tokenErrors{promconfig.NewOAuth2RoundTripper(secret, own, &marking{carrier},
			promconfig.WithDialContextFunc(dialForToken), promconfig.WithKeepAlivesDisabled())}
	}
	if config.HTTPHeaders != nil {
		carrier = promconfig.NewHeadersRoundTripper(config.HTTPHeaders, carrier)
	}
	return carrier
}

// tokenTimeout bounds the call for a token, which knows nothing of the query
// that waits for it.
const tokenTimeout = 10 * time.Second

func dialForToken(ctx context.Context, network, address string) (net.Conn, error) {
	connection, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return connection, connection.SetDeadline(time.Now().Add(tokenTimeout))
}

// tierError marks an error as one of the call to the tier, rather than one of
// the call for a token that goes before it.
type tierError struct{ error }

// marking marks the errors of the transport below an OAuth 2 client.
type marking struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (m *marking) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := m.next.RoundTrip(request)
	if err != nil {
		return response, &tierError{err}
	}
	return response, nil
}

// CloseIdleConnections closes the connections that nobody uses.
func (m *marking) CloseIdleConnections() { closeIdle(m.next) }

// tokenErrors tells the errors of an OAuth 2 server from those of the tier, and
// keeps what such a server answered out of them.
type tokenErrors struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *tokenErrors) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil {
		return response, nil
	}
	if ofTier, is := errors.AsType[*tierError](err); is {
		return nil, ofTier.error
	}
	if refused, is := errors.AsType[*oauth2.RetrieveError](err); is {
		err = errors.New("the OAuth 2 server gave no token" + reasonOf(refused))
	}
	return nil, &CredentialError{Cause: promapi.WithoutURL(err)}
}

// CloseIdleConnections closes the connections that nobody uses.
func (t *tokenErrors) CloseIdleConnections() { closeIdle(t.next) }

// errorCode is the form of the codes that RFC 6749 lists.
var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

func reasonOf(refused *oauth2.RetrieveError) string {
	var reason string
	if refused.Response != nil {
		reason = fmt.Sprintf(": status %d", refused.Response.StatusCode)
	}
	if errorCode.MatchString(refused.ErrorCode) {
		reason += ": " + refused.ErrorCode
	}
	return reason
}
