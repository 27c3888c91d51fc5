package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

const (
	hotReach  = 6 * time.Hour
	coldReach = 8 * 24 * time.Hour
	// future is how far the blocks reach beyond the start.
	future = 2 * time.Hour
	// scrapeInterval is the time between two samples.
	scrapeInterval = 15 * time.Second
)

type document = map[string]any

// world is every server that the scenarios need.
type world struct {
	dir      string
	progress io.Writer

	programs map[string]string // by name
	started  []interface{ Stop() error }

	hot, hotTLS             *stack.Server // Prometheus with the last hours
	coldQuery, coldStore    *stack.Server // Thanos with everything
	answers, reverseProxy   *stack.Server
	passing, users, panelTP *stack.Server // tierproxy: in front of answers, of the tiers, behind Perses
	perses                  *stack.Server
	ingress                 *stack.Server // nginx in front of Perses and of the tierproxy behind it
}

// programNames are those that scripts/tool builds.
var programNames = []string{"perses", "prometheus", "thanos"}

// build makes the programs and the blocks.
func (w *world) build(ctx context.Context) error {
	if err := w.buildFor(ctx, programNames, future); err != nil {
		return err
	}
	now := time.Now()
	return errors.Join(
		history.Generator{Interval: scrapeInterval}.WriteBlocks(ctx, w.path("blocks"), now.Add(-coldReach), now.Add(future)),
		os.CopyFS(w.path("hot-tls"), os.DirFS(w.path("hot"))),
	)
}

// buildFor makes the named programs and our own, and the last hours.
func (w *world) buildFor(ctx context.Context, names []string, future time.Duration) error {
	w.programs = map[string]string{}
	for _, name := range names {
		path, err := stack.Tool(ctx, w.progress, name)
		if err != nil {
			return err
		}
		w.programs[name] = path
	}
	if err := w.buildOwn(ctx); err != nil {
		return err
	}
	now := time.Now()
	return history.Generator{Interval: scrapeInterval}.WriteBlocks(ctx, w.path("hot"), now.Add(-hotReach), now.Add(future))
}

// buildOwn builds tierproxy and this program.
func (w *world) buildOwn(ctx context.Context) error {
	root, err := stack.Root()
	if err != nil {
		return err
	}
	tierproxy, err := stack.BuildTierproxy(ctx, w.dir)
	if err != nil {
		return err
	}
	w.programs["tierproxy"], w.programs["load"] = tierproxy, filepath.Join(w.dir, "load")
	command := exec.CommandContext(ctx, "go", "build", "-o", w.programs["load"], "./backend/test/load") //nolint:gosec // Our own checkout.
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the servers of the load test: %w\n%s", err, output)
	}
	return nil
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// prometheus starts a Prometheus over the data directory of that name.
func (w *world) prometheus(ctx context.Context, name string, change func(*stack.Prometheus)) (*stack.Server, error) {
	described := stack.Prometheus{Name: name, Dir: w.dir, Data: w.path(name), Retention: "60d", ScrapeItself: true}
	if change != nil {
		change(&described)
	}
	return w.keep(described.Start(ctx, w.programs["prometheus"]))
}

// keep remembers a server, so that it is stopped.
func (w *world) keep(server *stack.Server, err error) (*stack.Server, error) {
	if err == nil {
		w.started = append(w.started, server)
	}
	return server, err
}

// own starts a subcommand of this program.
func (w *world) own(ctx context.Context, name string, arguments ...string) (*stack.Server, error) {
	port, err := stack.FreePort()
	if err != nil {
		return nil, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	process, err := stack.Start(ctx, stack.Command{
		Name: name, Path: w.programs["load"], Arguments: append([]string{name, listen}, arguments...), LogDir: w.dir,
		ReadyURL: "http://" + listen + "/api/v1/query?query=vector(1)",
	})
	if err != nil {
		return nil, err
	}
	return w.keep(&stack.Server{Process: process, URL: "http://" + listen}, nil)
}

// tierproxy starts a tierproxy that logs as it does by default, and waits until
// it knows its tiers.
func (w *world) tierproxy(ctx context.Context, name string, config document) (*stack.Server, error) {
	config["discovery"] = document{"enabled": false}
	server, err := w.keep(stack.Tierproxy{Name: name, Dir: w.dir, Config: config, LogLevel: "info"}.Start(ctx, w.programs["tierproxy"]))
	if err != nil {
		return nil, err
	}
	return server, nil
}

// start starts the servers.
func (w *world) start(ctx context.Context) error {
	authority, err := stack.NewAuthority()
	if err != nil {
		return err
	}
	authorityFile := w.path("authority.pem")
	if err = os.WriteFile(authorityFile, authority.PEM, 0o600); err != nil {
		return err
	}
	pair, err := authority.Issue(time.Now().Add(24*time.Hour), "127.0.0.1")
	if err != nil {
		return err
	}
	certificate, key, err := pair.Write(w.dir)
	if err != nil {
		return err
	}
	if w.hot, err = w.prometheus(ctx, "hot", nil); err != nil {
		return err
	}
	if w.hotTLS, err = w.prometheus(ctx, "hot-tls", func(p *stack.Prometheus) {
		p.Certificate, p.Key, p.ReadyClient = certificate, key, httpClient()
		// Perses opens a connection for each request and leaves it for 90 s: it
		// would use up the 512 that Prometheus takes by default.
		p.Arguments = append(p.Arguments, "--web.max-connections", "60000")
	}); err != nil {
		return err
	}
	if err := w.startThanos(ctx); err != nil {
		return err
	}
	if w.answers, err = w.own(ctx, serveAnswers); err != nil {
		return err
	}
	if w.reverseProxy, err = w.own(ctx, serveProxy, w.answers.URL); err != nil {
		return err
	}
	if w.passing, err = w.tierproxy(ctx, "tierproxy-passing", document{
		"hot": document{"url": w.answers.URL, "complete": true}, "cold": document{"url": w.answers.URL},
	}); err != nil {
		return err
	}
	if w.users, err = w.tierproxy(ctx, "tierproxy-users", document{
		"hot": document{"url": w.hot.URL}, "cold": document{"url": w.coldQuery.URL},
	}); err != nil {
		return err
	}
	if err := w.startPerses(ctx, authorityFile); err != nil {
		return err
	}
	directory := w.path("nginx")
	if err := os.Mkdir(directory, 0o700); err != nil {
		return err
	}
	w.ingress, err = w.keep(stack.Nginx{
		Dir: directory, Host: "127.0.0.1", Perses: strings.TrimPrefix(w.perses.URL, "http://"), Tierproxy: strings.TrimPrefix(w.panelTP.URL, "http://"),
		Certificate: certificate, Key: key, ReadyClient: httpClient(),
	}.Start(ctx))
	return err
}

func (w *world) startThanos(ctx context.Context) error {
	thanos := stack.Thanos{Dir: w.dir, Bucket: w.path("bucket")}
	log, err := os.Create(w.path("upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if err := thanos.Upload(ctx, w.programs["thanos"], w.path("blocks"), log, `cluster="load"`); err != nil {
		return err
	}
	servers, err := thanos.Start(ctx, w.programs["thanos"])
	if err != nil {
		return err
	}
	w.coldQuery, w.coldStore = servers.Query, servers.Store
	w.started = append(w.started, servers.Store, servers.Query)
	return nil
}

// startPerses starts a Perses with two datasources: one leads to the tier that
// speaks TLS, the other to it through tierproxy.
func (w *world) startPerses(ctx context.Context, authority string) error {
	archive, err := stack.Script(ctx, w.progress, "scripts/plugin")
	if err != nil {
		return err
	}
	if _, err := stack.Script(ctx, w.progress, "scripts/npm-install"); err != nil {
		return err
	}
	root, err := stack.Root()
	if err != nil {
		return err
	}
	modules, err := webui.Modules(root)
	if err != nil {
		return err
	}
	if err := webui.WriteServerPart(w.path("modules"), modules); err != nil {
		return err
	}
	directory := w.path("perses")
	if err := os.Mkdir(directory, 0o700); err != nil {
		return err
	}
	if w.perses, err = w.keep(stack.Perses{
		Dir: directory, Archives: []string{filepath.Dir(archive[len(archive)-1])}, Modules: w.path("modules"),
	}.Start(ctx, w.programs["perses"])); err != nil {
		return err
	}
	if w.panelTP, err = w.tierproxy(ctx, "tierproxy-perses", document{
		"perses": document{"url": w.perses.URL},
		"hot":    document{"url": w.hotTLS.URL, "http_config": document{"tls_config": document{"ca_file": authority}}},
		"cold":   document{"url": w.coldQuery.URL},
	}); err != nil {
		return err
	}
	proxy := func(target string, more document) document {
		more["url"] = target
		return document{"proxy": document{"kind": "HTTPProxy", "spec": more}}
	}
	datasource := func(name, kind string, spec document) document {
		return document{"kind": "GlobalDatasource", "metadata": document{"name": name}, "spec": document{"plugin": document{"kind": kind, "spec": spec}}}
	}
	return errors.Join(
		w.save(ctx, "globalsecrets", document{"kind": "GlobalSecret", "metadata": document{"name": "tier"}, "spec": document{"tlsConfig": document{"caFile": authority}}}),
		w.save(ctx, "globaldatasources", datasource("direct", "PrometheusDatasource", proxy(w.hotTLS.URL, document{"secret": "tier"}))),
		w.save(ctx, "globaldatasources", datasource("metrics", "TieredPrometheusDatasource", proxy(w.panelTP.URL+"/proxy/globaldatasources/metrics", document{}))),
	)
}

// save saves a resource in Perses.
func (w *world) save(ctx context.Context, kind string, resource document) error {
	text, err := json.Marshal(resource)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.perses.URL+"/api/v1/"+kind, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusMultipleChoices {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("save in %s: status %d: %s", kind, response.StatusCode, answer)
	}
	return nil
}

// ask makes a request that has to be answered by a tier.
func ask(ctx context.Context, base, tier string, next request) error {
	made, err := next(base)
	if err != nil {
		return err
	}
	status, body, header, err := get(ctx, made.URL)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("%s answered with status %d: %s", base, status, body)
	case tier != "" && header.Get("X-Tier") != tier:
		return fmt.Errorf("the tier %q answered (%s), not %s", header.Get("X-Tier"), header.Get("X-Tier-Reason"), tier)
	case bytes.Contains(body, []byte(`"result":[]`)):
		return fmt.Errorf("an empty answer measures nothing: %s", made.URL)
	}
	return nil
}

func get(ctx context.Context, url string) (int, []byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, nil, err
	}
	asking := httpClient()
	defer asking.CloseIdleConnections()
	response, err := asking.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, response.Header, err
}

// settle waits until every way answers as it should.
func (w *world) settle(ctx context.Context) error {
	ways := []struct {
		base, tier string
		next       request
	}{
		{w.hot.URL, "", dashboards(always(lastMinutes))}, {w.coldQuery.URL, "", dashboards(always(lastWeek))},
		{w.users.URL, "hot", dashboards(always(lastMinutes))}, {w.users.URL, "hot,cold", dashboards(always(lastDay))},
		{w.passing.URL, "hot", answerOf(1<<10, http.MethodGet)}, {w.reverseProxy.URL, "", answerOf(1<<10, http.MethodGet)},
		{w.direct(), "", dashboards(always(lastMinutes))}, {w.tiered(), "hot", dashboards(always(lastMinutes))},
		{w.ingress.URL + directPath, "", dashboards(always(lastMinutes))}, {w.ingress.URL + tieredPath, "hot", dashboards(always(lastMinutes))},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, way := range ways {
		for {
			err := ask(ctx, way.base, way.tier, way.next)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// direct is the datasource that leads to the tier, and tiered the one that
// leads there through tierproxy.
func (w *world) direct() string { return w.perses.URL + directPath }
func (w *world) tiered() string { return w.perses.URL + tieredPath }

// directPath and tieredPath are the paths of both datasources in Perses.
const (
	directPath = "/proxy/globaldatasources/direct"
	tieredPath = "/proxy/globaldatasources/metrics"
)

// stop stops what was started, the last first.
func (w *world) stop() {
	for i := len(w.started) - 1; i >= 0; i-- {
		_ = w.started[i].Stop()
	}
}
