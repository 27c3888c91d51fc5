package upstream

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	promconfig "github.com/prometheus/common/config"
)

// TransportOptions describe how the operator lets the gateway reach a destination.
type TransportOptions struct {
	// HTTP is in the standard form of Prometheus. nil: no credential, and the
	// certificate is held to the authorities of the system.
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

// TransportConfig is the credential for a destination, and what its certificate is held
// to. Files are read anew when they are needed, so that they can be rotated. A
// nil TransportConfig has no credential, and trusts the authorities of the system. It
// is safe for concurrent use.
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
	access := &TransportConfig{options: options}
	if _, err := access.tlsConfig(); err != nil {
		return nil, err
	}
	if config != nil && config.OAuth2 != nil {
		if _, err := tokenAccess(config.OAuth2, options.Reloads); err != nil {
			return nil, err
		}
	}
	return access, nil
}

// CheckTransportConfig returns what is wrong with a configuration as far as can be told
// without reading its files. nil is a good one.
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

// DescribeTransportConfig returns the access that a configuration describes, of which no
// file was read: for questions about it.
func DescribeTransportConfig(config *promconfig.HTTPClientConfig) *TransportConfig {
	return &TransportConfig{options: TransportOptions{HTTP: config}}
}

// usesReferences tells whether the configuration needs a store of secrets that
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

// SkipsVerification tells whether anybody may pass for the destination, or for
// the server that its tokens come from.
func (c *TransportConfig) SkipsVerification() bool {
	if c == nil || c.options.HTTP == nil {
		return false
	}
	config := c.options.HTTP
	return config.TLSConfig.InsecureSkipVerify || (config.OAuth2 != nil && config.OAuth2.TLSConfig.InsecureSkipVerify)
}

// SendsToken tells whether the token of a file is sent.
func (c *TransportConfig) SendsToken() bool {
	return c != nil && c.options.TokenFile != "" && !NamesCredential(c.options.HTTP)
}

// IsConfigured tells whether the operator has said how the destination is
// reached.
func (c *TransportConfig) IsConfigured() bool { return c != nil && c.options.HTTP != nil }

// UsesProxy tells whether it may be a proxy that connects to the destination.
func (c *TransportConfig) UsesProxy() bool {
	return c.IsConfigured() && (c.options.HTTP.ProxyURL.URL != nil || c.options.HTTP.ProxyFromEnvironment)
}

// NamesCredential tells whether a configuration names something that tells the
// destination who asks, a client certificate aside.
func NamesCredential(config *promconfig.HTTPClientConfig) bool {
	return config != nil && (config.BasicAuth != nil || config.Authorization != nil || config.OAuth2 != nil ||
		config.BearerToken != "" || config.BearerTokenFile != "")
}

// HoldsSecrets tells whether the access has anything that must not go to
// another destination, or over a connection that others can read.
func (c *TransportConfig) HoldsSecrets() bool {
	if c == nil {
		return false
	}
	config := c.options.HTTP
	return c.options.TokenFile != "" || NamesCredential(config) || (config != nil && config.HTTPHeaders != nil)
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

// tlsMaterial is what a TLS configuration is made of.
type tlsMaterial struct {
	authorities []byte // PEM
	onlyThese   bool   // rather than those of the system too
	certificate []byte
	key         []byte
}

// hash identifies the material, all of it.
func (m tlsMaterial) hash() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%t %q %q %q", m.onlyThese, m.authorities, m.certificate, m.key))
}

// material reads what the TLS configuration is made of.
func (c *TransportConfig) material() (tlsMaterial, error) {
	var found tlsMaterial
	config := c.tls()
	var err error
	if found.authorities, err = fromTextOrFile(config.CA, config.CAFile); err != nil {
		return found, fmt.Errorf("read the CA file: %w", err)
	}
	found.onlyThese = len(found.authorities) > 0
	if !found.onlyThese {
		for _, path := range c.options.Authorities {
			text, err := os.ReadFile(path) //nolint:gosec // Kubernetes puts the file there.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return found, fmt.Errorf("read the CA file: %w", err)
			}
			found.authorities = append(append(found.authorities, text...), '\n')
		}
	}
	if found.certificate, err = fromTextOrFile(config.Cert, config.CertFile); err != nil {
		return found, fmt.Errorf("read the client certificate: %w", err)
	}
	if found.key, err = fromTextOrFile(string(config.Key), config.KeyFile); err != nil {
		return found, fmt.Errorf("read the key of the client certificate: %w", err)
	}
	return found, nil
}

// tls returns the TLS part of the configuration; zero where there is none.
func (c *TransportConfig) tls() promconfig.TLSConfig {
	if c.options.HTTP == nil {
		return promconfig.TLSConfig{}
	}
	return c.options.HTTP.TLSConfig
}

func fromTextOrFile(text, file string) ([]byte, error) {
	if text != "" || file == "" {
		return []byte(text), nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
	if err == nil && len(content) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return content, err
}

func (c *TransportConfig) tlsConfig() (*tls.Config, error) {
	material, err := c.material()
	if err != nil {
		return nil, err
	}
	return c.tlsConfigOf(material)
}

func (c *TransportConfig) tlsConfigOf(material tlsMaterial) (*tls.Config, error) {
	config := c.tls()
	made := &tls.Config{
		ServerName: config.ServerName, InsecureSkipVerify: config.InsecureSkipVerify, //nolint:gosec // The operator says so.
		MinVersion: cmp.Or(uint16(config.MinVersion), tls.VersionTLS12), MaxVersion: uint16(config.MaxVersion),
	}
	if made.MaxVersion != 0 && made.MaxVersion < made.MinVersion {
		return nil, errors.New("tls_config: max_version is below min_version")
	}
	if len(bytes.TrimSpace(material.authorities)) > 0 {
		made.RootCAs = x509.NewCertPool()
		if system, err := x509.SystemCertPool(); err == nil && !material.onlyThese {
			made.RootCAs = system
		}
		if !made.RootCAs.AppendCertsFromPEM(material.authorities) {
			return nil, errors.New("the CA file holds no PEM certificate")
		}
	}
	if len(material.certificate) > 0 {
		pair, err := tls.X509KeyPair(material.certificate, material.key)
		if err != nil {
			return nil, fmt.Errorf("the client certificate and its key cannot be used: %w", err)
		}
		made.Certificates = []tls.Certificate{pair}
	}
	return made, nil
}

// reloading is a transport that is made anew when the files of its TLS
// configuration change.
type reloading struct {
	access *TransportConfig
	make   func(*tls.Config) http.RoundTripper

	mutex   sync.RWMutex
	states  []fs.FileInfo // of the files that the hash belongs to; nil where they have just changed
	hash    [sha256.Size]byte
	current http.RoundTripper
}

// settledAfter is how long a file has to be unchanged for its state to be trusted:
// two writes in quick succession may leave the same one.
const settledAfter = 2 * time.Second

// fileStates returns the states of the files that the TLS configuration is made of,
// nil for one that cannot be looked at. It reports false where one has changed just
// now.
func (c *TransportConfig) fileStates(now time.Time) (states []fs.FileInfo, settled bool) {
	config := c.tls()
	for _, file := range append([]string{config.CAFile, config.CertFile, config.KeyFile}, c.options.Authorities...) {
		var state fs.FileInfo
		if file != "" {
			state, _ = os.Stat(file) // nil where it does not exist.
		}
		if state != nil && now.Sub(state.ModTime()) < settledAfter {
			return nil, false
		}
		states = append(states, state)
	}
	return states, true
}

func sameState(one, other fs.FileInfo) bool {
	if one == nil || other == nil {
		return one == other
	}
	return os.SameFile(one, other) && one.Size() == other.Size() && one.ModTime().Equal(other.ModTime())
}

func newReloading(access *TransportConfig, makeTransport func(*tls.Config) http.RoundTripper) (*reloading, error) {
	material, err := access.material()
	if err != nil {
		return nil, err
	}
	config, err := access.tlsConfigOf(material)
	if err != nil {
		return nil, err
	}
	return &reloading{access: access, make: makeTransport, hash: material.hash(), current: makeTransport(config)}, nil
}

// RoundTrip implements http.RoundTripper.
func (r *reloading) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.transport().RoundTrip(request)
}

// transport returns the one for the files as they are now. While they cannot be
// used, as in the middle of being written, the previous one serves on.
func (r *reloading) transport() http.RoundTripper {
	states, settled := r.access.fileStates(time.Now())
	r.mutex.RLock()
	current, known := r.current, r.states
	r.mutex.RUnlock()
	if settled && slices.EqualFunc(states, known, sameState) {
		return current // Reading and hashing them would cost more than a small answer.
	}
	material, err := r.access.material()
	if err != nil {
		r.access.options.Reloads.count(false)
		return current
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.hash == material.hash() {
		r.states = states
		return r.current
	}
	config, err := r.access.tlsConfigOf(material)
	r.access.options.Reloads.count(err == nil)
	if err != nil {
		return r.current
	}
	closeIdle(r.current)
	r.states, r.hash, r.current = states, material.hash(), r.make(config)
	return r.current
}

// CloseIdleConnections closes the connections that nobody uses.
func (r *reloading) CloseIdleConnections() {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	closeIdle(r.current)
}

func closeIdle(carrier http.RoundTripper) {
	if closer, ok := carrier.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
