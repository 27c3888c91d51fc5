package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/nexucis/lamenv"
	promconfig "github.com/prometheus/common/config"
	"gopkg.in/yaml.v3"
)

// HTTPConfig is the credential and the TLS configuration for a destination, in the
// format of Prometheus' http_config: basic_auth, authorization, oauth2, tls_config,
// proxy_url, http_headers. tierproxy reloads changed files and never follows
// redirects. Printing an HTTPConfig never reveals its secrets.
type HTTPConfig struct {
	promconfig.HTTPClientConfig
}

// plainHTTPConfig is HTTPClientConfig without its methods.
type plainHTTPConfig promconfig.HTTPClientConfig

// quotedValue matches a value in an error of the YAML decoder, or of the parser of URLs.
var quotedValue = regexp.MustCompile("`[^`]*`|\"(?:[^\"\\\\]|\\\\.)*\"")

// UnmarshalYAML reads http_config from a file. It returns a *yaml.TypeError, so that
// the decoder continues and lists all errors. The error contains no value, because
// the value may be a secret in the wrong place.
func (c *HTTPConfig) UnmarshalYAML(unmarshal func(any) error) error {
	c.HTTPClientConfig = promconfig.DefaultHTTPClientConfig
	err := unmarshal((*plainHTTPConfig)(&c.HTTPClientConfig))
	if err == nil {
		return nil
	}
	malformed, is := errors.AsType[*yaml.TypeError](err)
	if !is {
		malformed = &yaml.TypeError{Errors: []string{err.Error()}}
	}
	for i, message := range malformed.Errors {
		malformed.Errors[i] = "http_config: " + quotedValue.ReplaceAllString(message, "a value")
	}
	return malformed
}

// UnmarshalEnv reads the environment variables whose names consist of parts and the
// name of a field.
func (c *HTTPConfig) UnmarshalEnv(parts []string) error {
	if reflect.ValueOf(c.HTTPClientConfig).IsZero() {
		c.HTTPClientConfig = promconfig.DefaultHTTPClientConfig
	}
	proxy := c.ProxyURL // The library does not know URLs.
	if err := lamenv.Unmarshal(&c.HTTPClientConfig, parts); err != nil {
		return err
	}
	c.ProxyURL = proxy
	name := strings.ToUpper(strings.Join(append(slices.Clone(parts), "proxy_url"), "_"))
	if text := os.Getenv(name); text != "" {
		parsed, err := url.Parse(text)
		if err != nil {
			// The parser's error contains the text, which may contain a password.
			return variableError(name, "is not a URL: write http(s)://host[:port]")
		}
		c.ProxyURL = promconfig.URL{URL: parsed}
	}
	return nil
}

// MarshalYAML returns the configuration with every secret replaced by <secret>.
func (c HTTPConfig) MarshalYAML() (any, error) { return c.HTTPClientConfig, nil }

// Format implements fmt.Formatter. It hides secrets for every verb.
func (c HTTPConfig) Format(state fmt.State, _ rune) {
	text, err := yaml.Marshal(c.HTTPClientConfig) //nolint:gosec // It writes <secret> instead of secrets; a test proves it.
	if err != nil {
		text = []byte("http_config")
	}
	_, _ = fmt.Fprintf(state, "{%s}", text) // Writing to a fmt.State never fails.
}

// validate returns an error for an invalid configuration. A nil one is valid.
func (c *HTTPConfig) validate() error {
	_, err := CheckHTTPClient(c.ClientConfig())
	return err
}

func (c *HTTPConfig) usesProxy() bool {
	return c != nil && (c.ProxyURL.URL != nil || c.ProxyFromEnvironment)
}

// holdsSecrets reports whether the configuration has a credential or headers, which
// must not go to another destination.
func (c *HTTPConfig) holdsSecrets() bool {
	return c != nil && (NamesCredential(&c.HTTPClientConfig) || c.HTTPHeaders != nil)
}

// ClientConfig returns the configuration as Prometheus' type, or nil if c is nil.
func (c *HTTPConfig) ClientConfig() *promconfig.HTTPClientConfig {
	if c == nil {
		return nil
	}
	return &c.HTTPClientConfig
}

// CheckHTTPClient validates config without reading the files that it names. It returns
// a copy in which deprecated fields are replaced by their successors, and nil for nil.
func CheckHTTPClient(config *promconfig.HTTPClientConfig) (*promconfig.HTTPClientConfig, error) {
	if config == nil {
		return nil, nil //nolint:nilnil // A nil configuration is valid.
	}
	copied := *config // Validate changes it.
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

// usesReferences reports whether config refers to secrets of a secret manager.
// Prometheus has one, the gateway does not.
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

// NamesCredential reports whether config has a credential other than a client
// certificate.
func NamesCredential(config *promconfig.HTTPClientConfig) bool {
	return config != nil && (config.BasicAuth != nil || config.Authorization != nil || config.OAuth2 != nil ||
		config.BearerToken != "" || config.BearerTokenFile != "")
}
