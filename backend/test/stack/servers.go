package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Server is a process that serves HTTP on loopback.
type Server struct {
	*Process
	// URL is its base URL, such as http://127.0.0.1:9090.
	URL string
}

// document is a YAML document.
type document = map[string]any

// writeYAML writes a configuration file and returns its path.
func writeYAML(directory, name string, content document) (string, error) {
	text, err := yaml.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	path := filepath.Join(directory, name)
	return path, os.WriteFile(path, text, 0o600)
}

// address returns the loopback address of a port; 0 picks a free one.
func address(port int) (string, error) {
	if port == 0 {
		free, err := FreePort()
		if err != nil {
			return "", err
		}
		port = free
	}
	return fmt.Sprintf("127.0.0.1:%d", port), nil
}

// Perses describes a Perses server with a file database and without web UI.
type Perses struct {
	// Port to listen on; 0 picks a free one.
	Port int
	// Dir holds its configuration, its database and its log. It must be in
	// lower case: Perses lists resources below the path in lower case,
	// whatever its case is, and finds nothing elsewhere.
	Dir string
	// Archives are directories with plugin archives to load.
	Archives []string
	// OneArchivePath is set for Perses 0.52, which has one such directory, and
	// another name for it in its configuration.
	OneArchivePath bool
	// Modules is a directory of unpacked plugin modules to load as well, or
	// empty.
	Modules string
	// Authentication switches on native users and authorization.
	Authentication bool
	// AccessTokenTTL is how long a session lasts without a refresh, such as 5s.
	// Empty: the default of Perses.
	AccessTokenTTL string
	// Provision are resources that it brings up when it starts: users, roles
	// and role bindings, which nobody could create otherwise.
	Provision []map[string]any
}

// Plugins returns the directory into which it unpacks its modules.
func (p Perses) Plugins() string { return filepath.Join(p.Dir, "plugins") }

// Start starts the server from the program at path.
func (p Perses) Start(ctx context.Context, path string) (*Server, error) {
	if p.Dir != strings.ToLower(p.Dir) {
		return nil, fmt.Errorf("the directory %q of Perses is not in lower case", p.Dir)
	}
	listen, err := address(p.Port)
	if err != nil {
		return nil, err
	}
	plugins := p.Plugins()
	if p.Modules != "" {
		if err := os.CopyFS(plugins, os.DirFS(p.Modules)); err != nil {
			return nil, fmt.Errorf("copy the plugin modules: %w", err)
		}
	}
	plugin := document{"path": plugins, "archive_paths": p.Archives}
	if p.OneArchivePath {
		plugin = document{"path": plugins, "archive_path": p.Archives[0]}
	}
	content := document{
		"frontend": document{"disable": true},
		"database": document{"file": document{"folder": filepath.Join(p.Dir, "database"), "extension": "json"}},
		"plugin":   plugin,
	}
	if p.Authentication {
		authentication := document{"disable_sign_up": true, "providers": document{"enable_native": true}}
		if p.AccessTokenTTL != "" {
			authentication["access_token_ttl"] = p.AccessTokenTTL
		}
		content["security"] = document{
			"enable_auth":    true,
			"encryption_key": "=tW$56zytgB&3jN2E%7-+qrGZE?v6LCc", // A made-up one; there is nothing to protect.
			"authentication": authentication,
			"authorization":  document{"provider": document{"native": document{"enable": true}}},
		}
	}
	if len(p.Provision) > 0 {
		folder := filepath.Join(p.Dir, "provisioning")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		for i, each := range p.Provision {
			if _, err := writeYAML(folder, fmt.Sprintf("%03d.yaml", i), each); err != nil {
				return nil, err
			}
		}
		content["provisioning"] = document{"folders": []string{folder}}
	}
	config, err := writeYAML(p.Dir, "perses.yaml", content)
	if err != nil {
		return nil, err
	}
	process, err := Start(ctx, Command{
		Name: "perses", Path: path, LogDir: p.Dir,
		Arguments: []string{"--config", config, "--web.listen-address", listen},
		ReadyURL:  "http://" + listen + "/api/v1/health",
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: "http://" + listen}, nil
}

// Prometheus describes a Prometheus server.
type Prometheus struct {
	// Name is that of its log file.
	Name string
	// Port to listen on; 0 picks a free one.
	Port int
	// Dir holds its configuration and its log; Data its blocks.
	Dir, Data string
	// Retention is how long it keeps samples, such as 60d.
	Retention string
	// ScrapeItself makes it scrape itself every second.
	ScrapeItself bool
	// OutOfOrderWindow is how much older than the newest one a sample may be that
	// it takes. Empty: none older, and 6h where it scrapes itself, because the
	// blocks of the tests reach into the future.
	OutOfOrderWindow string
	// Global is merged into the global part of its configuration, such as
	// external_labels.
	Global map[string]any
	// RuleFiles are files of rules that it evaluates.
	RuleFiles []string
	// RemoteWrite is the URL that it sends its samples to; empty for none.
	RemoteWrite string
	// Arguments are added to its command line.
	Arguments []string
	// Certificate and Key are PEM files; with them it speaks TLS. ReadyClient
	// then asks whether it is ready, whatever the certificate says.
	Certificate, Key string
	ReadyClient      *http.Client
}

// Start starts the server from the program at path.
func (p Prometheus) Start(ctx context.Context, path string) (*Server, error) {
	listen, err := address(p.Port)
	if err != nil {
		return nil, err
	}
	base := "http://" + listen
	if p.Certificate != "" {
		base = "https://" + listen
		web, err := writeYAML(p.Dir, p.Name+".web.yaml", document{"tls_server_config": document{"cert_file": p.Certificate, "key_file": p.Key}})
		if err != nil {
			return nil, err
		}
		p.Arguments = append(p.Arguments, "--web.config.file", web)
	}
	content := document{"global": document{"scrape_interval": "1s"}}
	if len(p.RuleFiles) > 0 {
		content["rule_files"] = p.RuleFiles
	}
	if p.RemoteWrite != "" {
		content["remote_write"] = []document{{"url": p.RemoteWrite}}
	}
	if p.ScrapeItself && p.OutOfOrderWindow == "" {
		p.OutOfOrderWindow = "6h"
	}
	if p.OutOfOrderWindow != "" {
		content["storage"] = document{"tsdb": document{"out_of_order_time_window": p.OutOfOrderWindow}}
	}
	for name, value := range p.Global {
		content["global"].(document)[name] = value
	}
	if p.ScrapeItself {
		content["scrape_configs"] = []document{{
			"job_name": "prometheus", "static_configs": []document{{"targets": []string{listen}}},
		}}
	}
	config, err := writeYAML(p.Dir, p.Name+".yaml", content)
	if err != nil {
		return nil, err
	}
	process, err := Start(ctx, Command{
		Name: p.Name, Path: path, LogDir: p.Dir,
		Arguments: append([]string{
			"--config.file", config, "--web.listen-address", listen, "--storage.tsdb.path", p.Data,
			"--storage.tsdb.retention.time", p.Retention, "--log.level", "warn",
		}, p.Arguments...),
		ReadyURL: base + "/-/ready", ReadyClient: p.ReadyClient,
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: base}, nil
}

// Thanos is a store gateway over a bucket in a directory and a query that
// reads from it.
type Thanos struct {
	// Dir holds configuration, caches and logs; Bucket the blocks.
	Dir, Bucket string
	// QueryArguments are added to the command line of the query, and StoreArguments to that of the
	// store.
	QueryArguments, StoreArguments []string
	// Port for the query to listen on; 0 picks a free one.
	Port int
}

// ThanosServers are the processes of a Thanos.
type ThanosServers struct {
	// Query is asked; Store holds the blocks.
	Query, Store *Server

	thanos Thanos
	grpc   string // address of the store
}

// RestartStore starts the store again, where it was, after it was stopped.
func (t *ThanosServers) RestartStore(ctx context.Context, path string) error {
	store, err := t.thanos.startStore(ctx, path, t.grpc)
	if err == nil {
		t.Store = &store.Server
	}
	return err
}

// RestartQuery starts the query again, where it was, after it was stopped.
func (t *ThanosServers) RestartQuery(ctx context.Context, path string) error {
	listen, err := url.Parse(t.Query.URL)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(listen.Port())
	if err != nil {
		return err
	}
	query, err := t.thanos.startPart(ctx, path, "query", "", port, append([]string{"--endpoint", t.grpc}, t.thanos.QueryArguments...)...)
	if err == nil {
		t.Query = &query.Server
	}
	return err
}

// StoreAddress is where the store speaks gRPC, host and port.
func (t *ThanosServers) StoreAddress() string { return t.grpc }

// Stop stops both.
func (t *ThanosServers) Stop() {
	_ = t.Query.Stop()
	_ = t.Store.Stop()
}

// Upload uploads the blocks of a directory into the bucket, with external
// labels such as cluster="e2e". progress gets what Thanos prints.
func (t Thanos) Upload(ctx context.Context, path, blocks string, progress io.Writer, labels ...string) error {
	objstore, err := t.objstore()
	if err != nil {
		return err
	}
	arguments := []string{"tools", "bucket", "upload-blocks", "--path", blocks, "--objstore.config-file", objstore}
	for _, label := range labels {
		arguments = append(arguments, "--label", label)
	}
	command := exec.CommandContext(ctx, path, arguments...) //nolint:gosec // The program of scripts/tool.
	command.Stdout, command.Stderr = progress, progress
	if err := command.Run(); err != nil {
		return fmt.Errorf("upload the blocks: %w", err)
	}
	return nil
}

func (t Thanos) objstore() (string, error) {
	return writeYAML(t.Dir, "objstore.yaml", document{"type": "FILESYSTEM", "config": document{"directory": t.Bucket}})
}

// Start starts store and query from the program at path.
func (t Thanos) Start(ctx context.Context, path string) (*ThanosServers, error) {
	store, err := t.startStore(ctx, path, "")
	if err != nil {
		return nil, err
	}
	query, err := t.startPart(ctx, path, "query", "", t.Port, append([]string{"--endpoint", store.GRPC}, t.QueryArguments...)...)
	if err != nil {
		store.Kill()
		return nil, err
	}
	return &ThanosServers{Query: &query.Server, Store: &store.Server, thanos: t, grpc: store.GRPC}, nil
}

func (t Thanos) startStore(ctx context.Context, path, grpc string) (*ThanosPart, error) {
	objstore, err := t.objstore()
	if err != nil {
		return nil, err
	}
	return t.startPart(ctx, path, "store", grpc, 0, append([]string{
		"--data-dir", filepath.Join(t.Dir, "thanos-store"), "--objstore.config-file", objstore,
	}, t.StoreArguments...)...)
}

// ThanosPart is a server that speaks gRPC too.
type ThanosPart struct {
	Server
	// GRPC is the address where it does, host and port.
	GRPC string
}

// StartPart starts one part, such as query, sidecar or rule, on free ports.
func (t Thanos) StartPart(ctx context.Context, path, part string, arguments ...string) (*ThanosPart, error) {
	return t.startPart(ctx, path, part, "", t.Port, arguments...)
}

// StartReceive starts a Thanos Receive, which takes samples at the returned URL.
func (t Thanos) StartReceive(ctx context.Context, path string, arguments ...string) (receive *ThanosPart, remoteWrite string, err error) {
	listen, err := address(0)
	if err != nil {
		return nil, "", err
	}
	replication, err := address(0) // By default, it is a port of all interfaces.
	if err != nil {
		return nil, "", err
	}
	receive, err = t.StartPart(ctx, path, "receive", append([]string{
		"--remote-write.address", listen, "--receive.capnproto-address", replication, "--tsdb.path", filepath.Join(t.Dir, "receive"),
	}, arguments...)...)
	return receive, "http://" + listen + "/api/v1/receive", err
}

// startPart starts a part of Thanos; grpc is where it speaks gRPC, empty for a
// free port.
func (t Thanos) startPart(ctx context.Context, path, part, grpc string, port int, arguments ...string) (*ThanosPart, error) {
	listen, err := address(port)
	if err != nil {
		return nil, err
	}
	if grpc == "" {
		if grpc, err = address(0); err != nil {
			return nil, err
		}
	}
	process, err := Start(ctx, Command{
		Name: "thanos-" + part, Path: path, LogDir: t.Dir,
		Arguments: append([]string{part, "--http-address", listen, "--grpc-address", grpc, "--log.level", "warn"}, arguments...),
		ReadyURL:  "http://" + listen + "/-/ready",
	})
	if err != nil {
		return nil, err
	}
	return &ThanosPart{Server: Server{Process: process, URL: "http://" + listen}, GRPC: grpc}, nil
}

// Tierproxy describes a tierproxy.
type Tierproxy struct {
	// Name is that of its log file; Dir holds configuration and log.
	Name, Dir string
	// Port to listen on; 0 picks a free one.
	Port int
	// Config is the content of its configuration file.
	Config map[string]any
	// Environment is added to that of this process.
	Environment []string
	// LogLevel is what it logs from on; debug when empty.
	LogLevel string
}

// BuildTierproxy builds tierproxy from the checkout into a directory and
// returns its path. arguments go to go build.
func BuildTierproxy(ctx context.Context, directory string, arguments ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(directory, "tierproxy")
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, arguments...), "-o", path, "./backend/cmd/tierproxy")...) //nolint:gosec // Our own checkout.
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tierproxy: %w\n%s", err, output)
	}
	return path, nil
}

// Start starts the server from the program at path.
func (t Tierproxy) Start(ctx context.Context, path string) (*Server, error) {
	listen, err := address(t.Port)
	if err != nil {
		return nil, err
	}
	config, err := writeYAML(t.Dir, t.Name+".yaml", t.Config)
	if err != nil {
		return nil, err
	}
	level := t.LogLevel
	if level == "" {
		level = "debug"
	}
	process, err := Start(ctx, Command{
		Name: t.Name, Path: path, LogDir: t.Dir, Environment: t.Environment,
		Arguments: []string{"--config", config, "--web.listen-address", listen, "--log.level", level},
		ReadyURL:  "http://" + listen + "/-/ready",
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: "http://" + listen}, nil
}
