//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// mainConfiguration is what a system has around the file of deploy/nginx: %s are a
// directory, the user, that file, the address of another origin, and the directory
// again.
const mainConfiguration = `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
%[2]s
events { worker_connections 512; }
http {
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  log_format upstreams escape=json '{"status":$status,"upstream":"$upstream_addr","method":"$request_method","target":"$request_uri"}';
  access_log %[1]s/access.log upstreams;
  include %[3]s;
  server {
    listen %[4]s ssl;
    ssl_certificate %[1]s/tls.crt;
    ssl_certificate_key %[1]s/tls.key;
    default_type text/html;
    return 200 "<!doctype html><title>another origin</title><link rel=icon href='data:,'>";
  }
}
`

// startFront starts nginx in front of a server that leads to Perses, and of a
// tierproxy.
func startFront(t *testing.T, perses, tierproxy string) *front {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	directory := t.TempDir()
	port := func() string {
		free, err := stack.FreePort()
		require.NoError(t, err)
		return fmt.Sprintf("127.0.0.1:%d", free)
	}
	listen, evil := port(), port()
	authority := certificates.NewAuthority(t)
	certificate, key := authority.Issue(time.Now().Add(time.Hour), "localhost", "127.0.0.1").Write(t, directory)
	text, err := os.ReadFile(filepath.Join(root, "deploy", "nginx", "front.conf"))
	require.NoError(t, err)
	f := &front{
		t: t, address: strings.Replace(listen, "127.0.0.1", "localhost", 1), evil: strings.Replace(evil, "127.0.0.1", "localhost", 1),
		tls: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}, accessLog: filepath.Join(directory, "access.log"),
		perses: strings.TrimPrefix(perses, "http://"), tierproxy: strings.TrimPrefix(tierproxy, "http://"),
	}
	config := string(text)
	for old, replacement := range map[string]string{
		"server 127.0.0.1:8080;": "server " + f.perses + ";", "server 127.0.0.1:9190;": "server " + f.tierproxy + ";",
		"listen 443 ": "listen " + listen + " ", "server_name perses.example.com;": "server_name localhost;",
		"/etc/nginx/tls/perses.crt": certificate, "/etc/nginx/tls/perses.key": key,
	} {
		require.Equal(t, 1, strings.Count(config, old), old)
		config = strings.Replace(config, old, replacement, 1)
	}
	fragment, main := filepath.Join(directory, "front.conf"), filepath.Join(directory, "nginx.conf")
	require.NoError(t, os.WriteFile(fragment, []byte(config), 0o600))
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	require.NoError(t, os.WriteFile(main, fmt.Appendf(nil, mainConfiguration, directory, user, fragment, evil), 0o600))
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // Debian keeps it out of the path of users.
	}
	f.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: f.tls.Clone(), ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	server, err := stack.Start(t.Context(), stack.Command{
		Name: "nginx", Path: program, Arguments: []string{"-c", main}, LogDir: directory, ReadyURL: "https://" + f.evil + "/", ReadyClient: f.client,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
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
