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

// tlsFiles are the contents that a TLS configuration is made of.
type tlsFiles struct {
	authorities string // PEM
	onlyThese   bool   // rather than those of the system too
	certificate string
	key         string
}

// readTLS reads what the TLS configuration is made of.
func (c *TransportConfig) readTLS() (tlsFiles, error) {
	var found tlsFiles
	config := c.tls()
	var err error
	if found.authorities, err = fromTextOrFile(config.CA, config.CAFile); err != nil {
		return found, fmt.Errorf("read the CA file: %w", err)
	}
	found.onlyThese = found.authorities != ""
	if !found.onlyThese {
		for _, path := range c.options.Authorities {
			text, err := os.ReadFile(path) //nolint:gosec // Kubernetes puts the file there.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return found, fmt.Errorf("read the CA file: %w", err)
			}
			found.authorities += string(text) + "\n"
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

// tls returns the TLS part of the configuration; zero where there is none.
func (c *TransportConfig) tls() promconfig.TLSConfig {
	if c.options.HTTP == nil {
		return promconfig.TLSConfig{}
	}
	return c.options.HTTP.TLSConfig
}

// loadTLS reads the files and returns the TLS configuration that they make.
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

// checkInterval is the time between two reads of the TLS files. Reading them for every
// request would take 24 µs, about a sixth of a small answer.
const checkInterval = time.Second

// reloading is a transport that is made anew when the files of its TLS configuration
// change.
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

// transport returns the transport for the current files. While they cannot be used, for
// example while they are being written, it returns the previous one.
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

// CloseIdleConnections closes unused connections.
func (r *reloading) CloseIdleConnections() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	closeIdle(r.current)
}

func closeIdle(carrier http.RoundTripper) {
	if closer, ok := carrier.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
