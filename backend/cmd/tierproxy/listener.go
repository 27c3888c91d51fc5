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

// tlsFiles are the files for TLS. Each connection reads them, so that they can be rotated.
type tlsFiles struct {
	certificate, key string
	// clientCA holds the CA certificates of clients, or is empty. A client certificate is
	// optional: the handlers check its names.
	clientCA string
	// base has the versions and the cipher suites.
	base *tls.Config

	mutex   sync.Mutex
	known   [3]string // content of certificate, key and clientCA
	current *tls.Config
}

// listen listens on an address, with TLS if files is not nil.
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

// config returns the configuration for the current files. If they have changed and cannot be
// used, it returns the previous configuration, or nil, and the error once.
func (f *tlsFiles) config() (*tls.Config, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var content [3]string
	var errs []error
	for i, file := range []string{f.certificate, f.key, f.clientCA} {
		if file == "" {
			continue
		}
		read, err := os.ReadFile(file) //nolint:gosec // The operator names the file.
		if content[i] = string(read); err != nil {
			content[i], errs = err.Error(), append(errs, err)
		}
	}
	if content == f.known {
		return f.current, nil
	}
	f.known = content
	if len(errs) > 0 {
		return f.current, errors.Join(errs...)
	}
	certificate, err := tls.X509KeyPair([]byte(content[0]), []byte(content[1]))
	if err != nil {
		return f.current, fmt.Errorf("read %s and %s: %w", f.certificate, f.key, err)
	}
	config := f.base.Clone()
	config.Certificates = []tls.Certificate{certificate}
	config.NextProtos = []string{"h2", "http/1.1"}
	if f.clientCA != "" {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM([]byte(content[2])) {
			return f.current, fmt.Errorf("%s contains no PEM certificate", f.clientCA)
		}
	}
	if f.current != nil {
		logrus.Info("the certificate of the listener was reloaded")
	}
	f.current = config
	return config, nil
}

// tlsBase parses the flags for versions and cipher suites. It returns all mistakes, joined.
func tlsBase() (*tls.Config, error) {
	var mistakes []error
	version := func(name string) uint16 {
		switch text := value(name); text {
		case "":
		case "1.2":
			return tls.VersionTLS12
		case "1.3":
			return tls.VersionTLS13
		default:
			mistakes = append(mistakes, fmt.Errorf("--%s: %q is neither 1.2 nor 1.3", name, text))
		}
		return 0
	}
	base := &tls.Config{MinVersion: max(version("web.tls-min-version"), tls.VersionTLS12), MaxVersion: version("web.tls-max-version")}
	if base.MaxVersion != 0 && base.MaxVersion < base.MinVersion {
		mistakes = append(mistakes, errors.New("--web.tls-max-version: is below the minimum"))
	}
	for name := range strings.SplitSeq(value("web.tls-cipher-suites"), ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(tls.CipherSuites(), func(suite *tls.CipherSuite) bool { return suite.Name == name })
		if i >= 0 {
			base.CipherSuites = append(base.CipherSuites, tls.CipherSuites()[i].ID)
		} else if name != "" {
			mistakes = append(mistakes, fmt.Errorf("--web.tls-cipher-suites: %q is not a cipher suite", name))
		}
	}
	return base, errors.Join(mistakes...)
}
