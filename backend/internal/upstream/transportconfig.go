package upstream

import (
	"bytes"
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
	"syscall"
	"time"

	promconfig "github.com/prometheus/common/config"

	settings "github.com/tiered-prometheus/tiered-prometheus/backend/config"
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
	config, err := settings.CheckHTTPClient(options.HTTP)
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

// SkipsVerification tells whether anybody may pass for the destination, or for
// the server that its tokens come from.
func (a *TransportConfig) SkipsVerification() bool {
	if a == nil || a.options.HTTP == nil {
		return false
	}
	config := a.options.HTTP
	return config.TLSConfig.InsecureSkipVerify || (config.OAuth2 != nil && config.OAuth2.TLSConfig.InsecureSkipVerify)
}

// SendsToken tells whether the token of a file is sent.
func (a *TransportConfig) SendsToken() bool {
	return a != nil && a.options.TokenFile != "" && !settings.NamesCredential(a.options.HTTP)
}

// IsConfigured tells whether the operator has said how the destination is
// reached.
func (a *TransportConfig) IsConfigured() bool { return a != nil && a.options.HTTP != nil }

// UsesProxy tells whether it may be a proxy that connects to the destination.
func (a *TransportConfig) UsesProxy() bool {
	return a.IsConfigured() && (a.options.HTTP.ProxyURL.URL != nil || a.options.HTTP.ProxyFromEnvironment)
}

// HoldsSecrets tells whether the access has anything that must not go to
// another destination, or over a connection that others can read.
func (a *TransportConfig) HoldsSecrets() bool {
	if a == nil {
		return false
	}
	config := a.options.HTTP
	return a.options.TokenFile != "" || settings.NamesCredential(config) || (config != nil && config.HTTPHeaders != nil)
}

// RoundTripper returns what carries requests to the destination, over
// transports of makeTransport, which is called again after a file of TLS has
// changed.
func (a *TransportConfig) RoundTripper(makeTransport func(*tls.Config) *http.Transport) (http.RoundTripper, error) {
	if a == nil {
		return makeTransport(&tls.Config{MinVersion: tls.VersionTLS12}), nil
	}
	config := a.options.HTTP
	reloading, err := newReloading(a, func(tlsConfig *tls.Config) http.RoundTripper {
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
	if a.SendsToken() {
		carrier = &bearer{token: &secretFile{path: a.options.TokenFile, reloads: a.options.Reloads}, next: carrier}
	}
	if config == nil {
		return carrier, nil
	}
	return withCredentials(config, carrier, a.options.Reloads)
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
func (a *TransportConfig) material() (tlsMaterial, error) {
	var found tlsMaterial
	config := promconfig.TLSConfig{}
	if a.options.HTTP != nil {
		config = a.options.HTTP.TLSConfig
	}
	var err error
	if found.authorities, err = fromTextOrFile(config.CA, config.CAFile); err != nil {
		return found, fmt.Errorf("read the CA file: %w", err)
	}
	found.onlyThese = len(found.authorities) > 0
	if !found.onlyThese {
		for _, path := range a.options.Authorities {
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

func (a *TransportConfig) tlsConfig() (*tls.Config, error) {
	material, err := a.material()
	if err != nil {
		return nil, err
	}
	return a.tlsConfigOf(material)
}

func (a *TransportConfig) tlsConfigOf(material tlsMaterial) (*tls.Config, error) {
	made := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.options.HTTP != nil {
		config := a.options.HTTP.TLSConfig
		made.ServerName, made.InsecureSkipVerify = config.ServerName, config.InsecureSkipVerify
		if config.MinVersion != 0 {
			made.MinVersion = uint16(config.MinVersion)
		}
		made.MaxVersion = uint16(config.MaxVersion)
		if made.MaxVersion != 0 && made.MaxVersion < made.MinVersion {
			return nil, errors.New("tls_config: max_version is below min_version")
		}
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
	marks   []fileMark // of the files that the hash belongs to; nil where they have just changed
	hash    [sha256.Size]byte
	current http.RoundTripper
}

// fileMark tells one state of a file from another without reading it. It is
// zero for one that cannot be looked at.
type fileMark struct {
	inode    uint64
	size     int64
	modified time.Time
}

// settledAfter is how long a file has to be unchanged for its mark to be
// trusted: two writes in quick succession may have the same one.
const settledAfter = 2 * time.Second

// files are those that the TLS configuration is made of.
func (a *TransportConfig) files() []string {
	if a.options.HTTP == nil {
		return a.options.Authorities
	}
	config := a.options.HTTP.TLSConfig
	return append([]string{config.CAFile, config.CertFile, config.KeyFile}, a.options.Authorities...)
}

// marks returns the marks of the files, or nil where one of them has changed
// just now.
func (a *TransportConfig) marks(now time.Time) []fileMark {
	files := a.files()
	marks := make([]fileMark, len(files), len(files)+1)
	for i, file := range files {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		if now.Sub(info.ModTime()) < settledAfter {
			return nil
		}
		marks[i] = fileMark{size: info.Size(), modified: info.ModTime()}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			marks[i].inode = stat.Ino
		}
	}
	return marks
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
	marks := r.access.marks(time.Now())
	r.mutex.RLock()
	current, known := r.current, r.marks
	r.mutex.RUnlock()
	if marks != nil && known != nil && slices.Equal(marks, known) {
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
		r.marks = marks
		return r.current
	}
	config, err := r.access.tlsConfigOf(material)
	r.access.options.Reloads.count(err == nil)
	if err != nil {
		return r.current
	}
	closeIdle(r.current)
	r.marks, r.hash, r.current = marks, material.hash(), r.make(config)
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
