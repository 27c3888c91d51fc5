package upstream

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	promconfig "github.com/prometheus/common/config"
)

// tlsFiles are the PEM contents of a TLS configuration.
type tlsFiles struct {
	authorities      string
	onlyThese        bool // without the authorities of the system
	certificate, key string
}

// readTLS reads the files of the TLS configuration.
func (c *TransportConfig) readTLS() (tlsFiles, error) {
	var files tlsFiles
	config := c.tls()
	var err error
	if files.authorities, err = fromTextOrFile(config.CA, config.CAFile); err != nil {
		return files, fmt.Errorf("read the CA file: %w", err)
	}
	files.onlyThese = files.authorities != ""
	if !files.onlyThese {
		for _, path := range c.options.Authorities {
			text, err := os.ReadFile(path) //nolint:gosec // Kubernetes puts the file there.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return files, fmt.Errorf("read the CA file: %w", err)
			}
			files.authorities += string(text) + "\n"
		}
	}
	if files.certificate, err = fromTextOrFile(config.Cert, config.CertFile); err != nil {
		return files, fmt.Errorf("read the client certificate: %w", err)
	}
	if files.key, err = fromTextOrFile(string(config.Key), config.KeyFile); err != nil {
		return files, fmt.Errorf("read the key of the client certificate: %w", err)
	}
	return files, nil
}

func fromTextOrFile(text, file string) (string, error) {
	if text != "" || file == "" {
		return text, nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
	if err == nil && len(content) == 0 {
		err = fmt.Errorf("%s is empty", file)
	}
	return string(content), err
}

// tls returns the TLS part of the configuration, or zero.
func (c *TransportConfig) tls() promconfig.TLSConfig {
	if c.options.HTTP == nil {
		return promconfig.TLSConfig{}
	}
	return c.options.HTTP.TLSConfig
}

// loadTLS reads the files and returns the TLS configuration with their contents.
func (c *TransportConfig) loadTLS() (tlsFiles, *tls.Config, error) {
	files, err := c.readTLS()
	if err != nil {
		return files, nil, err
	}
	config, err := c.tlsConfig(files)
	return files, config, err
}

func (c *TransportConfig) tlsConfig(files tlsFiles) (*tls.Config, error) {
	config := c.tls()
	made := &tls.Config{
		ServerName: config.ServerName, InsecureSkipVerify: config.InsecureSkipVerify, //nolint:gosec // The operator says so.
		MinVersion: cmp.Or(uint16(config.MinVersion), tls.VersionTLS12), MaxVersion: uint16(config.MaxVersion),
	}
	if made.MaxVersion != 0 && made.MaxVersion < made.MinVersion {
		return nil, errors.New("tls_config: max_version is below min_version")
	}
	if strings.TrimSpace(files.authorities) != "" {
		made.RootCAs = x509.NewCertPool()
		if system, err := x509.SystemCertPool(); err == nil && !files.onlyThese {
			made.RootCAs = system
		}
		if !made.RootCAs.AppendCertsFromPEM([]byte(files.authorities)) {
			return nil, errors.New("the CA file holds no PEM certificate")
		}
	}
	if files.certificate != "" {
		pair, err := tls.X509KeyPair([]byte(files.certificate), []byte(files.key))
		if err != nil {
			return nil, fmt.Errorf("the client certificate and its key cannot be used: %w", err)
		}
		made.Certificates = []tls.Certificate{pair}
	}
	return made, nil
}

// checkInterval is the time between two reads of the TLS files. Reading them for every request
// would take 24 µs, about a sixth of a small answer.
const checkInterval = time.Second

// reloading is a transport that is replaced when the files of its TLS configuration change.
type reloading struct {
	config *TransportConfig
	make   func(*tls.Config) http.RoundTripper

	mutex   sync.Mutex
	checked time.Time
	files   tlsFiles
	current http.RoundTripper
}

func newReloading(options *TransportConfig, makeTransport func(*tls.Config) http.RoundTripper) (*reloading, error) {
	files, config, err := options.loadTLS()
	if err != nil {
		return nil, err
	}
	return &reloading{config: options, make: makeTransport, checked: time.Now(), files: files, current: makeTransport(config)}, nil
}

// RoundTrip implements http.RoundTripper.
func (r *reloading) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.transport().RoundTrip(request)
}

// transport returns the transport for the current files. If it cannot use them, for example
// while they are being written, it returns the previous transport.
func (r *reloading) transport() http.RoundTripper {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := time.Now()
	if now.Sub(r.checked) < checkInterval {
		return r.current
	}
	r.checked = now
	files, config, err := r.config.loadTLS()
	switch {
	case err != nil:
		r.config.options.Reloads.count(false)
	case files != r.files:
		r.config.options.Reloads.count(true)
		closeIdle(r.current)
		r.files, r.current = files, r.make(config)
	}
	return r.current
}

// CloseIdleConnections closes idle connections.
func (r *reloading) CloseIdleConnections() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	closeIdle(r.current)
}

func closeIdle(transport http.RoundTripper) {
	if closer, ok := transport.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
