package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"

	promconfig "github.com/prometheus/common/config"
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
	config, err := validated(options.HTTP)
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

// CheckTransportConfig returns what is wrong with a configuration. It reads no file.
// nil is valid.
func CheckTransportConfig(config *promconfig.HTTPClientConfig) error {
	_, err := validated(config)
	return err
}

// validated checks a configuration and returns it without deprecated fields.
// Validating changes it, and others may read it, so it is copied before.
func validated(config *promconfig.HTTPClientConfig) (*promconfig.HTTPClientConfig, error) {
	if config == nil {
		return nil, nil //nolint:nilnil // No configuration is a good one.
	}
	copied := *config
	if copied.Authorization != nil {
		authorization := *copied.Authorization
		copied.Authorization = &authorization
	}
	if err := copied.Validate(); err != nil {
		return nil, err
	}
	if err := copied.TLSConfig.Validate(); err != nil {
		return nil, fmt.Errorf("tls_config: %w", err)
	}
	if usesReferences(&copied) {
		return nil, errors.New("fields that end in _ref are not supported: use those that end in _file")
	}
	return &copied, nil
}

// DescribeTransportConfig returns a TransportConfig for questions about a
// configuration. It reads no file.
func DescribeTransportConfig(config *promconfig.HTTPClientConfig) *TransportConfig {
	return &TransportConfig{options: TransportOptions{HTTP: config}}
}

// usesReferences reports whether the configuration refers to Prometheus' secret
// manager, which the gateway does not have.
func usesReferences(config *promconfig.HTTPClientConfig) bool {
	references := []string{config.TLSConfig.CARef, config.TLSConfig.CertRef, config.TLSConfig.KeyRef}
	if config.BasicAuth != nil {
		references = append(references, config.BasicAuth.UsernameRef, config.BasicAuth.PasswordRef)
	}
	if config.Authorization != nil {
		references = append(references, config.Authorization.CredentialsRef)
	}
	if config.OAuth2 != nil {
		references = append(references, config.OAuth2.ClientSecretRef, config.OAuth2.ClientCertificateKeyRef,
			config.OAuth2.TLSConfig.CARef, config.OAuth2.TLSConfig.CertRef, config.OAuth2.TLSConfig.KeyRef)
	}
	return slices.ContainsFunc(references, func(reference string) bool { return reference != "" })
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

// SendsToken reports whether the token of TokenFile is sent.
func (c *TransportConfig) SendsToken() bool {
	return c != nil && c.options.TokenFile != "" && !namesCredential(c.options.HTTP)
}

// IsConfigured reports whether the operator has configured HTTP options.
func (c *TransportConfig) IsConfigured() bool { return c != nil && c.options.HTTP != nil }

// UsesProxy reports whether a proxy may connect to the destination.
func (c *TransportConfig) UsesProxy() bool {
	return c.IsConfigured() && (c.options.HTTP.ProxyURL.URL != nil || c.options.HTTP.ProxyFromEnvironment)
}

// namesCredential reports whether a configuration names a credential other than a
// client certificate.
func namesCredential(config *promconfig.HTTPClientConfig) bool {
	return config != nil && (config.BasicAuth != nil || config.Authorization != nil || config.OAuth2 != nil ||
		config.BearerToken != "" || config.BearerTokenFile != "")
}

// HoldsSecrets reports whether requests carry anything that must not go to another
// destination, or over an unencrypted connection.
func (c *TransportConfig) HoldsSecrets() bool {
	if c == nil {
		return false
	}
	config := c.options.HTTP
	return c.options.TokenFile != "" || namesCredential(config) || (config != nil && config.HTTPHeaders != nil)
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
