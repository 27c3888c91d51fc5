// Package certificates gives tests of TLS the certificates that package stack
// makes: good ones, and every kind of bad one.
package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// Authority signs certificates.
type Authority struct {
	*stack.Authority

	t testing.TB
}

// Pair is a certificate with its key, in PEM.
type Pair struct{ stack.Pair }

// NewAuthority makes one that nobody knows yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	made, err := stack.NewAuthority()
	require.NoError(t, err)
	return &Authority{Authority: made, t: t}
}

// Issue makes a certificate for names, which may be IP addresses, that ends at
// the given time.
func (a *Authority) Issue(end time.Time, names ...string) Pair {
	a.t.Helper()
	made, err := a.Authority.Issue(end, names...)
	require.NoError(a.t, err)
	return Pair{made}
}

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// TLS returns the pair as Go's TLS takes it.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	made, err := tls.X509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	return made
}

// Write writes the pair into two files of a directory and returns their paths.
// What was there before is replaced at once, as a rotation does.
func (p Pair) Write(t testing.TB, directory string) (certificate, key string) {
	t.Helper()
	certificate, key, err := p.Pair.Write(directory)
	require.NoError(t, err)
	return certificate, key
}

// Replace replaces a file in one step.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	require.NoError(t, stack.Replace(path, content))
}
