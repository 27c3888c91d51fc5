package config

import (
	"errors"
	"fmt"
	"slices"

	promconfig "github.com/prometheus/common/config"
)

// CheckHTTPClient returns a copy of the settings without their deprecated fields,
// or what is wrong with them as far as that can be said without reading files.
// It returns nil for nil.
func CheckHTTPClient(config *promconfig.HTTPClientConfig) (*promconfig.HTTPClientConfig, error) {
	if config == nil {
		return nil, nil //nolint:nilnil // No configuration is a good one.
	}
	copied := *config // Validating changes it.
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

// usesReferences reports whether the settings need a secret store, which
// Prometheus has and the gateway does not.
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

// NamesCredential reports whether the settings name a credential other than a
// client certificate.
func NamesCredential(config *promconfig.HTTPClientConfig) bool {
	return config != nil && (config.BasicAuth != nil || config.Authorization != nil || config.OAuth2 != nil ||
		config.BearerToken != "" || config.BearerTokenFile != "")
}
