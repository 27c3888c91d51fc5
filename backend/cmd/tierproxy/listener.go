package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// tlsFiles are the files that the listener speaks TLS with. They are read for every
// connection, so that they can be rotated, and parsed when they have changed.
type tlsFiles struct {
	certificate, key string
	// clientCA holds the authorities of client certificates; empty for none.
	// Clients need not show one: what takes a certificate asks for its names.
	clientCA string
	// base holds the versions and the cipher suites.
	base *tls.Config

	mutex   sync.Mutex
	known   [3]string // what certificate, key and clientCA held last
	current *tls.Config
}

// listen listens on an address, with TLS if there are files.
func listen(address string, files *tlsFiles) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil || files == nil {
		return listener, err
	}
	return tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := files.config()
			if err != nil {
				logrus.WithError(err).Warn("the certificate of the listener changed and cannot be used: the previous one serves on")
			}
			return config, nil
		},
	}), nil
}

// config returns the configuration for the files as they are now. If they cannot
// be used, as while they are written, it returns the previous one, nil for none,
// and the first time an error that says why.
func (f *tlsFiles) config() (*tls.Config, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var read [3]string
	var mistakes []error
	for i, file := range []string{f.certificate, f.key, f.clientCA} {
		if file == "" {
			continue
		}
		content, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
		if read[i] = string(content); err != nil {
			read[i], mistakes = err.Error(), append(mistakes, err)
		}
	}
	if read == f.known {
		return f.current, nil
	}
	f.known = read
	if len(mistakes) > 0 {
		return f.current, errors.Join(mistakes...)
	}
	pair, err := tls.X509KeyPair([]byte(read[0]), []byte(read[1]))
	if err != nil {
		return f.current, fmt.Errorf("read %s and %s: %w", f.certificate, f.key, err)
	}
	config := f.base.Clone()
	config.Certificates = []tls.Certificate{pair}
	config.NextProtos = []string{"h2", "http/1.1"}
	if f.clientCA != "" {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM([]byte(read[2])) {
			return f.current, fmt.Errorf("%s holds no PEM certificate", f.clientCA)
		}
	}
	if f.current != nil {
		logrus.Info("the certificate of the listener was read anew")
	}
	f.current = config
	return config, nil
}

// versions are those that can be written in a flag.
var versions = map[string]uint16{"": 0, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// tlsBase reads the flags about versions and cipher suites.
func tlsBase(minimum, maximum, suites string) (*tls.Config, error) {
	var mistakes []error
	version := func(name, text string) uint16 {
		found, ok := versions[text]
		if !ok {
			mistakes = append(mistakes, fmt.Errorf("--%s: %q is neither 1.2 nor 1.3", name, text))
		}
		return found
	}
	base := &tls.Config{MinVersion: version("web.tls-min-version", minimum), MaxVersion: version("web.tls-max-version", maximum)}
	if base.MinVersion == 0 {
		base.MinVersion = tls.VersionTLS12
	}
	if base.MaxVersion != 0 && base.MaxVersion < base.MinVersion {
		mistakes = append(mistakes, errors.New("--web.tls-max-version: is below the minimum"))
	}
	for name := range strings.SplitSeq(suites, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		i := slices.IndexFunc(tls.CipherSuites(), func(suite *tls.CipherSuite) bool { return suite.Name == name })
		if i < 0 {
			mistakes = append(mistakes, fmt.Errorf("--web.tls-cipher-suites: %q is no cipher suite", name))
			continue
		}
		base.CipherSuites = append(base.CipherSuites, tls.CipherSuites()[i].ID)
	}
	return base, errors.Join(mistakes...)
}
