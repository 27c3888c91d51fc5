package upstream

import (
	"crypto/tls"
	"net/http"

	promconfig "github.com/prometheus/common/config"

	settings "github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// TransportOptions describe how the gateway reaches a destination.
type TransportOptions struct {
	// HTTP is in the standard form of Prometheus. nil: no credential, and only the
	// authorities of the system are trusted.
	HTTP *promconfig.HTTPClientConfig
	// TokenFile holds a bearer token that is sent where HTTP names no
	// credential, and only over TLS; empty for none. While the file does not
	// exist, nothing is sent.
	TokenFile string
	// Authorities are PEM files with authorities that are trusted beside
	// those of the system where HTTP names none. One that does not exist is
	// passed over.
	Authorities []string
	// Reloads counts the changes of these files, if not nil.
	Reloads *Reloads
}

// TransportConfig holds the credential and the TLS settings for a destination. It
// reads files again when they change, so that they can be rotated. nil has no
// credential, and trusts the authorities of the system. It is safe for concurrent use.
type TransportConfig struct {
	options TransportOptions
}

// NewTransportConfig checks the options and that their files can be read.
func NewTransportConfig(options TransportOptions) (*TransportConfig, error) {
	config, err := settings.CheckHTTPClient(options.HTTP)
	if err != nil {
		return nil, err
	}
	options.HTTP = config
	made := &TransportConfig{options: options}
	if _, _, err := made.loadTLS(); err != nil {
		return nil, err
	}
	if config != nil && config.OAuth2 != nil {
		if _, err := tokenTransport(config.OAuth2, options.Reloads); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// SkipsVerification reports whether the certificate of the destination, or of its
// OAuth 2 server, is not verified.
func (c *TransportConfig) SkipsVerification() bool {
	if c == nil || c.options.HTTP == nil {
		return false
	}
	config := c.options.HTTP
	return config.TLSConfig.InsecureSkipVerify || (config.OAuth2 != nil && config.OAuth2.TLSConfig.InsecureSkipVerify)
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

// RoundTripper returns what carries requests to the destination, over
// transports of makeTransport, which is called again after a file of TLS has
// changed.
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
	var carrier http.RoundTripper = reloading
	if c.SendsToken() {
		carrier = &bearer{token: &secretFile{path: c.options.TokenFile, reloads: c.options.Reloads}, next: carrier}
	}
	if config == nil {
		return carrier, nil
	}
	return withCredentials(config, carrier, c.options.Reloads)
}
