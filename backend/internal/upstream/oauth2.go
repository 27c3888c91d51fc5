package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	promconfig "github.com/prometheus/common/config"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// tokenTimeout bounds the call for a token, which knows nothing of the query
// that waits for it.
const tokenTimeout = 10 * time.Second

// oauth2Carrier puts tokens of an OAuth 2 server on requests. That server is
// asked by a client that follows no redirect: it would carry the secret, or what
// is signed with it, to another host.
type oauth2Carrier struct {
	config *promconfig.OAuth2
	secret promconfig.SecretReader // nil where there is none
	client *http.Client            // asks for tokens
	next   http.RoundTripper

	mutex   sync.Mutex
	shown   string             // the secret of the current tokens
	current oauth2.TokenSource // nil before the first request
}

// newOAuth2 returns what puts tokens on the requests to next. It returns an error
// when a file of TLS cannot be read.
func newOAuth2(config *promconfig.OAuth2, next http.RoundTripper, reloads *Reloads) (http.RoundTripper, error) {
	made, err := tokenTransport(config, reloads)
	if err != nil {
		return nil, err
	}
	transport, err := made.RoundTripper(func(tlsConfig *tls.Config) *http.Transport {
		return &http.Transport{
			TLSClientConfig: tlsConfig, TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true,
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		}
	})
	if err != nil {
		return nil, fmt.Errorf("oauth2: %w", err)
	}
	secret := secretOf(config.ClientSecret, config.ClientSecretFile, reloads)
	if config.ClientCertificateKey != "" || config.ClientCertificateKeyFile != "" {
		secret = secretOf(config.ClientCertificateKey, config.ClientCertificateKeyFile, reloads)
	}
	return &oauth2Carrier{
		config: config, secret: secret, next: next,
		client: &http.Client{
			Transport: transport, Timeout: tokenTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// tokenTransport returns how to reach the OAuth 2 server.
func tokenTransport(config *promconfig.OAuth2, reloads *Reloads) (*TransportConfig, error) {
	made, err := NewTransportConfig(TransportOptions{HTTP: &promconfig.HTTPClientConfig{TLSConfig: config.TLSConfig, ProxyConfig: config.ProxyConfig}, Reloads: reloads})
	if err != nil {
		return nil, fmt.Errorf("oauth2: %w", err)
	}
	return made, nil
}

// RoundTrip implements http.RoundTripper.
func (o *oauth2Carrier) RoundTrip(request *http.Request) (*http.Response, error) {
	var secret string
	if o.secret != nil {
		var err error
		if secret, err = o.secret.Fetch(request.Context()); err != nil {
			return nil, err
		}
	}
	return (&oauth2.Transport{Base: o.next, Source: o.tokens(secret)}).RoundTrip(request)
}

// tokens returns where tokens for a secret come from. Those for another one are
// forgotten.
func (o *oauth2Carrier) tokens(secret string) oauth2.TokenSource {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.current != nil && o.shown == secret {
		return o.current
	}
	// A token is for many queries: it does not end with the one that needs it.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, o.client)
	o.shown = secret
	o.current = tokenSource{o.source(ctx, secret)}
	return o.current
}

func (o *oauth2Carrier) source(ctx context.Context, secret string) oauth2.TokenSource {
	if o.config.GrantType == "" || o.config.GrantType == "client_credentials" {
		return (&clientcredentials.Config{
			ClientID: o.config.ClientID, ClientSecret: secret, Scopes: o.config.Scopes, TokenURL: o.config.TokenURL, EndpointParams: o.parameters(),
		}).TokenSource(ctx)
	}
	return (&promconfig.JwtGrantTypeConfig{
		Iss: cmp.Or(o.config.Iss, o.config.ClientID), Subject: o.config.ClientID, Audience: o.config.Audience, PrivateClaims: o.config.Claims,
		PrivateKey: []byte(secret), PrivateKeyID: o.config.ClientCertificateKeyID, SigningAlgorithm: signing(o.config.SignatureAlgorithm),
		Scopes: o.config.Scopes, TokenURL: o.config.TokenURL, EndpointParams: o.parameters(),
	}).TokenSource(ctx)
}

func (o *oauth2Carrier) parameters() url.Values {
	parameters := url.Values{}
	for name, value := range o.config.EndpointParams {
		parameters.Set(name, value)
	}
	return parameters
}

// signing returns the algorithm of that name; the default for none.
func signing(name string) *jwt.SigningMethodRSA {
	for _, method := range []*jwt.SigningMethodRSA{jwt.SigningMethodRS384, jwt.SigningMethodRS512} {
		if method.Name == name {
			return method
		}
	}
	return jwt.SigningMethodRS256
}

// CloseIdleConnections closes unused connections.
func (o *oauth2Carrier) CloseIdleConnections() {
	o.client.CloseIdleConnections()
	closeIdle(o.next)
}

// tokenSource tells the errors of an OAuth 2 server from those of the tier, and
// keeps what such a server answered out of them.
type tokenSource struct{ oauth2.TokenSource }

// Token returns a token, or a *CredentialError.
func (t tokenSource) Token() (*oauth2.Token, error) {
	token, err := t.TokenSource.Token()
	if err == nil {
		return token, nil
	}
	if refused, is := errors.AsType[*oauth2.RetrieveError](err); is {
		err = errors.New("the OAuth 2 server gave no token" + reasonOf(refused))
	}
	return nil, &CredentialError{Cause: promapi.WithoutURL(err)}
}

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
