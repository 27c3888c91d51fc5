package main

import (
	"bytes"
	"context"
	"crypto/sha256"
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

// tlsFiles are the files that the listener speaks TLS with. They are looked at
// for every connection, so that they can be rotated.
type tlsFiles struct {
	certificate, key string
	// clientCA holds the authorities of client certificates; empty for none.
	// Clients need not show one: what takes a certificate asks for its names.
	clientCA string
	// base holds the versions and the cipher suites.
	base *tls.Config

	mutex   sync.Mutex
	hash    [sha256.Size]byte
	current *tls.Config
}

// listen listens on an address, with TLS if there are files.
func listen(address string, files *tlsFiles) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil || files == nil {
		return listener, err
	}
	return tls.NewListener(listener, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return files.config(), nil },
	}), nil
}

// load reads the files for the first time. It returns what is wrong with them.
func (f *tlsFiles) load() error {
	contents, err := f.read()
	if err != nil {
		return err
	}
	f.current, err = f.parse(contents)
	f.hash = hashOf(contents)
	return err
}

// config returns the configuration for the files as they are now. While they
// cannot be used, as in the middle of being written, the previous one serves on.
func (f *tlsFiles) config() *tls.Config {
	contents, err := f.read()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if err != nil || hashOf(contents) == f.hash {
		return f.current
	}
	f.hash = hashOf(contents)
	changed, err := f.parse(contents)
	if err != nil {
		logrus.WithError(err).Warn("the certificate of the listener changed and cannot be used: the previous one serves on")
		return f.current
	}
	logrus.Info("the certificate of the listener was read anew")
	f.current = changed
	return changed
}

func hashOf(contents [][]byte) [sha256.Size]byte {
	return sha256.Sum256(bytes.Join(contents, []byte{0}))
}

// read returns certificate, key and client authorities.
func (f *tlsFiles) read() ([][]byte, error) {
	var contents [][]byte
	var mistakes []error
	for _, file := range []string{f.certificate, f.key, f.clientCA} {
		var content []byte
		if file != "" {
			var err error
			if content, err = os.ReadFile(file); err != nil { //nolint:gosec // The operator names the file.
				mistakes = append(mistakes, err)
			}
		}
		contents = append(contents, content)
	}
	return contents, errors.Join(mistakes...)
}

func (f *tlsFiles) parse(contents [][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("read %s and %s: %w", f.certificate, f.key, err)
	}
	config := f.base.Clone()
	config.Certificates = []tls.Certificate{pair}
	config.NextProtos = []string{"h2", "http/1.1"}
	if f.clientCA == "" {
		return config, nil
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(contents[2]) {
		return nil, fmt.Errorf("%s holds no PEM certificate", f.clientCA)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
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
