package upstream

import (
	"bytes"
	"cmp"
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

// loadTLS reads the files of the TLS configuration. promconfig would read a client certificate
// again for each connection, and so fail in the middle of a rotation.
func (c *TransportConfig) loadTLS() (*tls.Config, error) {
	var settings promconfig.TLSConfig
	if c.options.HTTP != nil {
		settings = c.options.HTTP.TLSConfig
	}
	settings.MinVersion = cmp.Or(settings.MinVersion, tls.VersionTLS12)
	config, err := promconfig.NewTLSConfig(&settings)
	if err != nil {
		return nil, err
	}
	if config.GetClientCertificate != nil {
		certificate, err := config.GetClientCertificate(nil)
		if err != nil {
			return nil, err
		}
		config.Certificates, config.GetClientCertificate = []tls.Certificate{*certificate}, nil
	}
	if config.RootCAs == nil {
		config.RootCAs, err = c.authorities()
	}
	return config, err
}

// authorities returns the authorities of the system with those of TransportOptions.Authorities. It
// returns nil without the latter.
func (c *TransportConfig) authorities() (*x509.CertPool, error) {
	var pem []byte
	for _, path := range c.options.Authorities {
		text, err := os.ReadFile(path) //nolint:gosec // Kubernetes puts the file there.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		pem = append(append(pem, text...), '\n')
	}
	if len(bytes.TrimSpace(pem)) == 0 {
		return nil, nil //nolint:nilnil // nil stands for the authorities of the system.
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file holds no PEM certificate")
	}
	return pool, nil
}

// sameTLS reports whether two results of loadTLS have the same authorities and client certificate.
func sameTLS(one, other *tls.Config) bool {
	return one.RootCAs.Equal(other.RootCAs) && slices.EqualFunc(one.Certificates, other.Certificates, func(a, b tls.Certificate) bool {
		return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
	})
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
	loaded  *tls.Config
	current http.RoundTripper
}

func newReloading(options *TransportConfig, makeTransport func(*tls.Config) http.RoundTripper) (*reloading, error) {
	loaded, err := options.loadTLS()
	if err != nil {
		return nil, err
	}
	return &reloading{config: options, make: makeTransport, checked: time.Now(), loaded: loaded, current: makeTransport(loaded)}, nil
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
	loaded, err := r.config.loadTLS()
	switch {
	case err != nil:
		r.config.options.Reloads.count(false)
	case !sameTLS(loaded, r.loaded):
		r.config.options.Reloads.count(true)
		closeIdle(r.current)
		r.loaded, r.current = loaded, r.make(loaded)
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
	(&http.Client{Transport: transport}).CloseIdleConnections()
}
