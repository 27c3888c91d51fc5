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

// tokenTimeout is the timeout of a call for a token, which does not depend on the query.
const tokenTimeout = 10 * time.Second

// oauth2Transport adds the tokens of an OAuth 2 server to requests. The client for that server
// follows no redirect, which would send the secret to another host.
type oauth2Transport struct {
	config *promconfig.OAuth2
	secret promconfig.SecretReader // or nil
	client *http.Client            // for the OAuth 2 server
	next   http.RoundTripper

	mutex   sync.Mutex
	sent    string             // the secret of the current tokens
	current oauth2.TokenSource // nil before the first request
}

// newOAuth2 returns a transport that adds tokens to the requests to next. server has the settings for
// the OAuth 2 server. newOAuth2 returns an error if it cannot read a TLS file.
func newOAuth2(config *promconfig.OAuth2, server *TransportConfig, next http.RoundTripper, reloads *Reloads) (http.RoundTripper, error) {
	transport, err := server.RoundTripper(func(tlsConfig *tls.Config) *http.Transport {
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
	return &oauth2Transport{
		config: config, secret: secret, next: next,
		client: &http.Client{
			Transport: transport, Timeout: tokenTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// RoundTrip implements http.RoundTripper.
func (o *oauth2Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	var secret string
	if o.secret != nil {
		var err error
		if secret, err = o.secret.Fetch(request.Context()); err != nil {
			return nil, err
		}
	}
	return (&oauth2.Transport{Base: o.next, Source: o.tokens(secret)}).RoundTrip(request)
}

// tokens returns the token source for a secret. It drops the one for another secret.
func (o *oauth2Transport) tokens(secret string) oauth2.TokenSource {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.current == nil || o.sent != secret {
		// A token is for many queries, so its request does not end with one of them.
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, o.client)
		o.sent, o.current = secret, tokenSource{o.source(ctx, secret)}
	}
	return o.current
}

func (o *oauth2Transport) source(ctx context.Context, secret string) oauth2.TokenSource {
	parameters := url.Values{}
	for name, value := range o.config.EndpointParams {
		parameters.Set(name, value)
	}
	if o.config.GrantType == "" || o.config.GrantType == "client_credentials" {
		return (&clientcredentials.Config{
			ClientID: o.config.ClientID, ClientSecret: secret, Scopes: o.config.Scopes, TokenURL: o.config.TokenURL, EndpointParams: parameters,
		}).TokenSource(ctx)
	}
	method, _ := jwt.GetSigningMethod(cmp.Or(o.config.SignatureAlgorithm, "RS256")).(*jwt.SigningMethodRSA) // It is valid.
	return (&promconfig.JwtGrantTypeConfig{
		Iss: cmp.Or(o.config.Iss, o.config.ClientID), Subject: o.config.ClientID, Audience: o.config.Audience, PrivateClaims: o.config.Claims,
		PrivateKey: []byte(secret), PrivateKeyID: o.config.ClientCertificateKeyID, SigningAlgorithm: method,
		Scopes: o.config.Scopes, TokenURL: o.config.TokenURL, EndpointParams: parameters,
	}).TokenSource(ctx)
}

// CloseIdleConnections closes idle connections.
func (o *oauth2Transport) CloseIdleConnections() {
	o.client.CloseIdleConnections()
	closeIdle(o.next)
}

// tokenSource distinguishes errors of the OAuth 2 server from those of the tier. It removes the
// server's answer from them.
type tokenSource struct{ oauth2.TokenSource }

// Token returns a token, or a *CredentialError.
func (t tokenSource) Token() (*oauth2.Token, error) {
	token, err := t.TokenSource.Token()
	if err == nil {
		return token, nil
	}
	if refused, is := errors.AsType[*oauth2.RetrieveError](err); is {
		text := "the OAuth 2 server gave no token"
		if refused.Response != nil {
			text += fmt.Sprintf(": status %d", refused.Response.StatusCode)
		}
		if errorCode.MatchString(refused.ErrorCode) {
			text += ": " + refused.ErrorCode
		}
		err = errors.New(text)
	}
	return nil, &CredentialError{Cause: promapi.WithoutURL(err)}
}

// errorCode matches the error codes of RFC 6749.
var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)
