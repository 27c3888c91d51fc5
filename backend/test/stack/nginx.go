package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Nginx describes a Debian nginx with the configuration of front mode, deploy/nginx/front.conf: one
// server in front of a Perses and a tierproxy, with TLS.
type Nginx struct {
	// Dir holds its configuration and its logs.
	Dir string
	// Host is the name in its URL.
	Host string
	// Perses and Tierproxy are the addresses of both servers, host and port.
	Perses, Tierproxy string
	// Certificate and Key are PEM files.
	Certificate, Key string
	// HTTP is added to the http block of its configuration.
	HTTP string
	// ReadyClient asks whether it is ready. It has to trust the certificate.
	ReadyClient *http.Client
}

// nginxConfiguration is what a system has around the file of deploy/nginx.
const nginxConfiguration = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
%[2]s
events { worker_connections 4096; }
http {
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  log_format upstreams escape=json '{"status":$status,"upstream":"$upstream_addr","method":"$request_method","target":"$request_uri"}';
  access_log %[1]s/access.log upstreams;
  include %[3]s;
  %[4]s
}
`

// AccessLog returns the path of its log of requests, a line of JSON for each.
func (n Nginx) AccessLog() string { return filepath.Join(n.Dir, "access.log") }

// Start starts the server on a free port.
func (n Nginx) Start(ctx context.Context) (*Server, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	listen, err := address(0)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "nginx", "front.conf")) //nolint:gosec // Our own checkout.
	if err != nil {
		return nil, err
	}
	config := string(text)
	for old, replacement := range map[string]string{
		"server 127.0.0.1:8080;": "server " + n.Perses + ";", "server 127.0.0.1:9190;": "server " + n.Tierproxy + ";",
		"listen 443 ": "listen " + listen + " ", "server_name perses.example.com;": "server_name " + n.Host + ";",
		"/etc/nginx/tls/perses.crt": n.Certificate, "/etc/nginx/tls/perses.key": n.Key,
	} {
		if strings.Count(config, old) != 1 {
			return nil, fmt.Errorf("front.conf has %q %d times, not once", old, strings.Count(config, old))
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	fragment, main := filepath.Join(n.Dir, "front.conf"), filepath.Join(n.Dir, "nginx.conf")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	if err := os.WriteFile(fragment, []byte(config), 0o600); err != nil { //nolint:gosec // G703: the directory of a test.
		return nil, err
	}
	if err := os.WriteFile(main, fmt.Appendf(nil, nginxConfiguration, n.Dir, user, fragment, n.HTTP), 0o600); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // Debian keeps it out of the path of users.
	}
	base := "https://" + strings.Replace(listen, "127.0.0.1", n.Host, 1)
	process, err := Start(ctx, Command{
		Name: "nginx", Path: program, Arguments: []string{"-c", main}, LogDir: n.Dir, ReadyURL: base + "/api/v1/health", ReadyClient: n.ReadyClient,
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: base}, nil
}
