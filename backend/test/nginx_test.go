//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// front is a real nginx with the configuration of deploy/nginx, on the host of
// Perses. Its address is that of browsers.
type front struct {
	t         *testing.T
	address   string // host and port
	evil      string // the same of another server of the same nginx, which serves an empty page
	client    *http.Client
	tls       *tls.Config
	accessLog string

	perses, tierproxy string // addresses of the two upstreams
}

// URL returns its base URL.
func (f *front) URL() string { return "https://" + f.address }

// evilServer is another origin, an empty page: %s are its address and the files of the certificate.
const evilServer = `server {
    listen %s ssl;
    ssl_certificate %s;
    ssl_certificate_key %s;
    default_type text/html;
    return 200 "<!doctype html><title>another origin</title><link rel=icon href='data:,'>";
  }`

// startFront starts nginx in front of a server that leads to Perses, and of a
// tierproxy.
func startFront(t *testing.T, perses, tierproxy string) *front {
	t.Helper()
	directory := t.TempDir()
	free, err := stack.FreePort()
	require.NoError(t, err)
	evil := fmt.Sprintf("127.0.0.1:%d", free)
	authority := certificates.NewAuthority(t)
	certificate, key := authority.Issue(time.Now().Add(time.Hour), "localhost", "127.0.0.1").Write(t, directory)
	nginx := stack.Nginx{
		Dir: directory, Host: "localhost", Perses: strings.TrimPrefix(perses, "http://"), Tierproxy: strings.TrimPrefix(tierproxy, "http://"),
		Certificate: certificate, Key: key, HTTP: fmt.Sprintf(evilServer, evil, certificate, key),
	}
	f := &front{
		t: t, evil: strings.Replace(evil, "127.0.0.1", "localhost", 1), tls: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12},
		accessLog: nginx.AccessLog(), perses: nginx.Perses, tierproxy: nginx.Tierproxy,
	}
	f.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: f.tls.Clone(), ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	nginx.ReadyClient = f.client
	server, err := nginx.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	f.address = strings.TrimPrefix(server.URL, "https://")
	return f
}

// logged is a line of the access log of nginx.
type logged struct {
	Status           int
	Upstream         string
	Method, Target   string
	throughTierproxy bool
}

// log returns the lines of the access log whose target contains a text.
func (f *front) log(part string) []logged {
	f.t.Helper()
	file, err := os.Open(f.accessLog)
	require.NoError(f.t, err)
	defer func() { _ = file.Close() }()
	var lines []logged
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line logged
		if json.Unmarshal(scanner.Bytes(), &line) == nil && strings.Contains(line.Target, part) {
			line.throughTierproxy = line.Upstream == f.tierproxy
			lines = append(lines, line)
		}
	}
	return lines
}

// raw sends a request as it is written and returns the answer as it came.
func (f *front) raw(request string) string {
	f.t.Helper()
	connection, err := (&tls.Dialer{Config: f.tls.Clone()}).DialContext(f.t.Context(), "tcp", f.address)
	require.NoError(f.t, err)
	defer func() { _ = connection.Close() }()
	require.NoError(f.t, connection.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = connection.Write([]byte(request))
	require.NoError(f.t, err)
	var answer strings.Builder
	_, err = bufio.NewReader(connection).WriteTo(&answer)
	require.NotErrorIs(f.t, err, os.ErrDeadlineExceeded, request)
	return answer.String()
}
