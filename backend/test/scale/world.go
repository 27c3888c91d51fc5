package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	gateways    = 2
	datasources = 10
)

// perses is the name of Perses among the processes.
const perses = "Perses"

// tenants are those of the first datasources, in the header of Thanos.
var tenants = []string{"first", "second"}

type document = map[string]any

// server is a process that is measured.
type server struct {
	*stack.Server

	name string
}

// world is the installation.
type world struct {
	options options
	panels  dashboard
	// dir holds the blocks, and in its subdirectory run what one run writes.
	dir      string
	progress io.Writer
	lock     *os.File
	programs map[string]string // by name
	// persesDir is the directory of Perses.
	persesDir string

	hot, store, query, perses *stack.Server
	gateways                  []*stack.Server
	started                   []*stack.Server
}

// say writes a line about the progress.
func (w *world) say(format string, values ...any) {
	_, _ = fmt.Fprintf(w.progress, "scale: "+format+"\n", values...)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// run returns the directory of what one run writes.
func (w *world) run() string { return w.path("run") }

func (w *world) thanos() stack.Thanos {
	return stack.Thanos{Dir: w.dir, Bucket: w.path("bucket")}
}

// startTiers starts hot and cold, as they were when their blocks were made.
func (w *world) startTiers(ctx context.Context) (err error) {
	if w.hot, err = w.keep(stack.Prometheus{
		Name: "hot", Dir: w.run(), Data: w.path("hot"), Retention: "60d", ScrapeItself: true,
		// Its blocks reach into the future: what it scrapes is older than that.
		OutOfOrderWindow: (2 * future).String(),
		Global:           document{"external_labels": map[string]string{"cluster": own}, "scrape_interval": "15s"},
		// The blocks stay as they were written: compaction is not what is measured.
		Arguments: []string{"--storage.tsdb.max-block-duration=2d"},
	}.Start(ctx, w.programs["prometheus"])); err != nil {
		return err
	}
	servers, err := w.thanos().Start(ctx, w.programs["thanos"])
	if err != nil {
		return err
	}
	w.store, w.query = servers.Store, servers.Query
	w.started = append(w.started, servers.Store, servers.Query)
	return nil
}

// startGateways starts Perses and the gateways, and saves the datasources.
func (w *world) startGateways(ctx context.Context) (err error) {
	modules := filepath.Join(w.run(), "modules")
	if err := w.writeModule(filepath.Join(modules, "tieredprometheus")); err != nil {
		return err
	}
	// Not below w.dir, which may have a name with capital letters.
	if w.persesDir, err = os.MkdirTemp("", "scale-perses-"); err != nil {
		return err
	}
	if w.perses, err = w.keep(stack.Perses{Dir: w.persesDir, Archives: []string{modules}, Modules: modules}.Start(ctx, w.programs["perses"])); err != nil {
		return err
	}
	for number := range gateways {
		gateway, err := w.keep(stack.Tierproxy{
			Name: fmt.Sprintf("tierproxy-%d", number+1), Dir: w.run(), LogLevel: "info",
			Config: document{
				"discovery": document{"enabled": false}, "perses": document{"url": w.perses.URL},
				"hot": document{"url": w.hot.URL}, "cold": document{"url": w.query.URL},
			},
		}.Start(ctx, w.programs["tierproxy"]))
		if err != nil {
			return err
		}
		w.gateways = append(w.gateways, gateway)
	}
	for number := range datasources {
		if err := w.saveDatasource(ctx, number); err != nil {
			return err
		}
	}
	return nil
}

// writeModule writes what Perses needs of the plugin module to save its datasources:
// schemas without the browser's part, which takes minutes to build.
func (w *world) writeModule(directory string) error {
	root, err := stack.Root()
	if err != nil {
		return err
	}
	for _, name := range []string{"schemas", "cue.mod"} {
		if err := os.CopyFS(filepath.Join(directory, name), os.DirFS(filepath.Join(root, name))); err != nil {
			return err
		}
	}
	// The kinds of annotations are a module of their own, and a module loads with the kinds that it lists alone.
	if err := os.RemoveAll(filepath.Join(directory, "schemas", "annotations")); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(root, "package.json"), filepath.Join(directory, "package.json")); err != nil {
		return err
	}
	text, err := fs.ReadFile(os.DirFS(root), "package.json")
	if err != nil {
		return err
	}
	var described struct{ Version string }
	if err := json.Unmarshal(text, &described); err != nil {
		return err
	}
	// Perses loads a module only if both files have the same version.
	manifest, err := json.Marshal(document{
		"id": "TieredPrometheus", "name": "TieredPrometheus", "metaData": document{"buildInfo": document{"buildVersion": described.Version}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "mf-manifest.json"), manifest, 0o600)
}

// saveDatasource saves a datasource in Perses, the first ones with a tenant.
func (w *world) saveDatasource(ctx context.Context, number int) error {
	proxy := document{"url": w.datasource(number%gateways, number)}
	if number < len(tenants) {
		proxy["headers"] = document{"THANOS-TENANT": tenants[number]}
	}
	text, err := json.Marshal(document{
		"kind": "GlobalDatasource", "metadata": document{"name": datasourceName(number)},
		"spec": document{"plugin": document{"kind": "TieredPrometheusDatasource", "spec": document{"proxy": document{"kind": "HTTPProxy", "spec": proxy}}}},
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.perses.URL+"/api/v1/globaldatasources", bytes.NewReader(text))
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
		return fmt.Errorf("save the datasource %s: status %d: %s", datasourceName(number), response.StatusCode, answer)
	}
	return nil
}

func datasourceName(number int) string { return fmt.Sprintf("metrics-%d", number) }

// datasource returns the URL of a datasource at a gateway.
func (w *world) datasource(gateway, number int) string {
	return fmt.Sprintf("%s/proxy/globaldatasources/%s", w.gateways[gateway].URL, datasourceName(number))
}

// keep remembers a server, so that it is stopped.
func (w *world) keep(server *stack.Server, err error) (*stack.Server, error) {
	if err == nil {
		w.started = append(w.started, server)
	}
	return server, err
}

// stop stops what was started, the last first.
func (w *world) stop() {
	for i := len(w.started) - 1; i >= 0; i-- {
		_ = w.started[i].Stop()
	}
	if w.persesDir != "" {
		_ = os.RemoveAll(w.persesDir)
	}
	if w.lock != nil {
		_ = w.lock.Close()
	}
}

// withoutGateways suspends the processes of the gateways while do runs.
func (w *world) withoutGateways(do func() error) (err error) {
	signal := func(what syscall.Signal) {
		for _, gateway := range w.gateways {
			err = cmp.Or(err, syscall.Kill(gateway.PID(), what))
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	return cmp.Or(err, do())
}

// tiers returns the processes of the tiers.
func (w *world) tiers() []server {
	return []server{{w.store, "store"}, {w.query, "query"}, {w.hot, "hot"}}
}

// servers returns the processes that are measured: tiers, and gateways if they run.
func (w *world) servers() []server {
	list := w.tiers()
	for i, gateway := range w.gateways {
		list = append(list, server{gateway, fmt.Sprintf("gateway %d", i+1)})
	}
	if w.perses != nil {
		list = append(list, server{w.perses, perses})
	}
	return list
}
