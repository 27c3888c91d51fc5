package upstream

import (
	"crypto/tls"
	"fmt"
	"net/http"

	promconfig "github.com/prometheus/common/config"

	settings "github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// TransportOptions describe how tierproxy connects to a destination.
type TransportOptions struct {
	// HTTP is the configuration in the form of Prometheus. nil: no credential, and the
	// authorities of the system.
	HTTP *promconfig.HTTPClientConfig
	// TokenFile contains a bearer token for https. It is sent if HTTP has no credential and
	// the file exists. Empty for none.
	TokenFile string
	// Authorities are PEM files with authorities in addition to those of the system, if HTTP
	// has none. Missing files are ignored.
	Authorities []string
	// Reloads counts the reloads of these files; nil counts nothing.
	Reloads *Reloads
}

// TransportConfig holds the credential and the TLS settings for a destination. It reloads changed
// files. nil has no credential, and trusts the authorities of the system. It is safe for
// concurrent use.
type TransportConfig struct {
	options TransportOptions
	oauth2  *TransportConfig // for the OAuth 2 server, if any
}

// NewTransportConfig checks the options and reads their files.
func NewTransportConfig(options TransportOptions) (*TransportConfig, error) {
	config, err := settings.CheckHTTPClient(options.HTTP)
	if err != nil {
		return nil, err
	}
	options.HTTP = config
	made := &TransportConfig{options: options}
	if _, err := made.loadTLS(); err != nil {
		return nil, err
	}
	if config != nil && config.OAuth2 != nil {
		server := &promconfig.HTTPClientConfig{TLSConfig: config.OAuth2.TLSConfig, ProxyConfig: config.OAuth2.ProxyConfig}
		if made.oauth2, err = NewTransportConfig(TransportOptions{HTTP: server, Reloads: options.Reloads}); err != nil {
			return nil, fmt.Errorf("oauth2: %w", err)
		}
	}
	return made, nil
}

// SkipsVerification reports whether the certificate of the destination, or of its OAuth 2 server,
// is not verified.
func (c *TransportConfig) SkipsVerification() bool {
	if c == nil || c.options.HTTP == nil {
		return false
	}
	config := c.options.HTTP
	return config.TLSConfig.InsecureSkipVerify || (config.OAuth2 != nil && config.OAuth2.TLSConfig.InsecureSkipVerify)
}

// Fingerprint returns a hash of the configuration, including secrets. It does not reveal them.
// The contents of files are not part of it.
func (c *TransportConfig) Fingerprint() string {
	if c == nil {
		return ""
	}
	return settings.FingerprintOf([]any{c.options.HTTP, c.options.TokenFile, c.options.Authorities})
}

// SendsToken reports whether requests over https carry the token of TokenFile.
func (c *TransportConfig) SendsToken() bool {
	return c != nil && c.options.TokenFile != "" && !settings.NamesCredential(c.options.HTTP)
}

// IsConfigured reports whether the operator has configured HTTP options.
func (c *TransportConfig) IsConfigured() bool { return c != nil && c.options.HTTP != nil }

// UsesProxy reports whether a proxy may connect to the destination.
func (c *TransportConfig) UsesProxy() bool {
	return c.IsConfigured() && (c.options.HTTP.ProxyURL.URL != nil || c.options.HTTP.ProxyFromEnvironment)
}

// HoldsSecrets reports whether requests over a scheme carry anything that must not go to
// another destination. The token of TokenFile goes over https only.
func (c *TransportConfig) HoldsSecrets(scheme string) bool {
	if c == nil {
		return false
	}
	config := c.options.HTTP
	return (c.options.TokenFile != "" && scheme == "https") || settings.NamesCredential(config) || (config != nil && config.HTTPHeaders != nil)
}

// without returns the configuration without those http_headers that have the name of one of some
// headers.
func (c *TransportConfig) without(headers http.Header) *TransportConfig {
	if !c.IsConfigured() || c.options.HTTP.HTTPHeaders == nil || len(headers) == 0 {
		return c
	}
	kept, config := map[string]promconfig.Header{}, *c.options.HTTP
	for name, value := range c.options.HTTP.HTTPHeaders.Headers {
		if len(headers.Values(name)) == 0 {
			kept[name] = value
		}
	}
	config.HTTPHeaders = &promconfig.Headers{Headers: kept}
	narrowed := *c
	narrowed.options.HTTP = &config
	return &narrowed
}

// sends reports whether the configured http_headers have a header.
func (c *TransportConfig) sends(name string) bool {
	if !c.IsConfigured() || c.options.HTTP.HTTPHeaders == nil {
		return false
	}
	for configured := range c.options.HTTP.HTTPHeaders.Headers {
		if http.CanonicalHeaderKey(configured) == http.CanonicalHeaderKey(name) {
			return true
		}
	}
	return false
}

// RoundTripper returns a transport to the destination. It calls makeTransport again after a TLS
// file has changed.
func (c *TransportConfig) RoundTripper(makeTransport func(*tls.Config) *http.Transport) (http.RoundTripper, error) {
	if c == nil {
		return makeTransport(&tls.Config{MinVersion: tls.VersionTLS12}), nil
	}
	config := c.options.HTTP
	reloading, err := newReloading(c, func(tlsConfig *tls.Config) http.RoundTripper {
		transport := makeTransport(tlsConfig)
		if config != nil {
			transport.ForceAttemptHTTP2 = transport.ForceAttemptHTTP2 && config.EnableHTTP2
			transport.Proxy = config.Proxy()
			transport.ProxyConnectHeader = config.GetProxyConnectHeader()
		}
		return transport
	})
	if err != nil {
		return nil, err
	}
	var transport http.RoundTripper = reloading
	if c.SendsToken() {
		transport = &bearer{token: &secretFile{path: c.options.TokenFile, reloads: c.options.Reloads}, next: transport}
	}
	if config == nil {
		return transport, nil
	}
	return c.withCredentials(transport)
}
