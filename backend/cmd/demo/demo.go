package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

const (
	// hotReach and coldReach are the lengths of the tiers' history.
	hotReach  = 6 * time.Hour
	coldReach = 30 * 24 * time.Hour
	// scrapeInterval is the interval of the samples.
	scrapeInterval = 30 * time.Second
	// tierproxyInterval is the interval at which hot scrapes tierproxy. It is short, so
	// that the dashboard fills quickly.
	tierproxyInterval = 5 * time.Second
	// exampleURL is the URL of tierproxy in the example datasource.
	exampleURL = "http://tierproxy:9190"
)

// The ports of the demo. It uses other ones if these are in use.
const (
	pagePort      = 3000
	persesPort    = 8080
	shopPort      = 9090
	branchPort    = 9091
	tierproxyPort = 9190
	coldPort      = 10902
)

// The names of the tiers. Those of hot are the values of the external label cluster, too.
const (
	shopName   = "eu-1"
	branchName = "us-1"
	coldName   = "cold"
)

// demo holds the servers of the demo.
type demo struct {
	output io.Writer

	// The files that scripts/demo built.
	persesPath, percliPath, proxyPath, archive, pageDir string
	// The file to which it writes where it is controlled. Empty: one in its own directory.
	controlFile string

	root, dir  string
	persesPort int

	// shop is the hot Prometheus of the cluster with the web shop, branch that of another one.
	shop, branch, cold *embedded.Prometheus
	control            *control
	perses, tierproxy  *stack.Server
	modules            []webui.Module
	page               *webui.Server
	// stops end the servers and remove their files, in the reverse order.
	stops []func() error
}

func (d *demo) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(d.output, format+"\n", arguments...) // There is no other output.
}

// prepare finds the checkout, and creates a directory for the files of the demo.
func (d *demo) prepare(context.Context) error {
	var err error
	if d.root, err = stack.Root(); err != nil {
		return err
	}
	if d.modules, err = webui.Modules(d.root); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "tiered-prometheus-demo-"); err != nil {
		return fmt.Errorf("create a directory: %w", err)
	}
	d.stops = append(d.stops, func() error { return os.RemoveAll(d.dir) })
	return nil
}

// startTiers generates history, and starts a hot Prometheus for each of two clusters, and cold
// with the history of both. Only the first cluster has the web shop; both have orders.
func (d *demo) startTiers(ctx context.Context) error {
	d.say("Generating history: hot has the last 6 hours, cold 30 days")
	shop := append(history.Generator{}.All(), history.Orders("eu-north", "eu-south")...)
	branch := history.Orders("us-east", "us-west")
	both := append(history.Labeled(shop, externalLabels(shopName)), history.Labeled(branch, externalLabels(branchName))...)
	now := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	start := func(into **embedded.Prometheus, name string, port int, reach time.Duration, series []history.Series, options embedded.Options) {
		group.Go(func() (err error) {
			generator := history.Generator{Interval: scrapeInterval, Only: series}
			options.Data, options.Retention, options.Live, options.LiveFrom = filepath.Join(d.dir, name), reach, &generator, now
			if err := generator.WriteBlocks(groupContext, options.Data, now.Add(-reach), now); err != nil {
				return err
			}
			if port, err = portOr(port); err != nil {
				return err
			}
			options.Address = fmt.Sprintf("127.0.0.1:%d", port)
			*into, err = embedded.Start(options)
			return err
		})
	}
	start(&d.shop, shopName, shopPort, hotReach, shop, embedded.Options{
		ExternalLabels: externalLabels(shopName), RuleFiles: []string{filepath.Join(d.root, "deploy/examples/rules.yaml")},
	})
	start(&d.branch, branchName, branchPort, hotReach, branch, embedded.Options{ExternalLabels: externalLabels(branchName)})
	start(&d.cold, coldName, coldPort, coldReach, both, embedded.Options{})
	err := group.Wait()
	for _, started := range []*embedded.Prometheus{d.cold, d.branch, d.shop} { // The last one writes to the first one.
		if started != nil {
			d.stops = append(d.stops, started.Close)
		}
	}
	return err
}

// externalLabels returns the external labels of the Prometheus of a cluster.
func externalLabels(cluster string) map[string]string {
	return map[string]string{"cluster": cluster}
}

// portOr returns the wanted port of the loopback address, or any free one if it is in use.
func portOr(wanted int) (int, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", wanted)) //nolint:noctx // Returns at once.
	if err != nil {
		return stack.FreePort()
	}
	return wanted, listener.Close()
}

// startGateway starts tierproxy with the URL that Perses will have.
func (d *demo) startGateway(ctx context.Context) error {
	var err error
	if d.persesPort, err = portOr(persesPort); err != nil {
		return err
	}
	port, err := portOr(tierproxyPort)
	if err != nil {
		return err
	}
	d.tierproxy, err = stack.Tierproxy{
		Name: "tierproxy", Dir: d.dir, Port: port,
		Config: map[string]any{
			"perses": map[string]any{"url": fmt.Sprintf("http://127.0.0.1:%d", d.persesPort)},
			"hot": []map[string]any{
				{"name": shopName, "url": d.shop.URL}, {"name": branchName, "url": d.branch.URL},
			},
			"cold": map[string]any{"url": d.cold.URL},
		},
	}.Start(ctx, d.proxyPath)
	if err != nil {
		return err
	}
	d.stops = append(d.stops, d.tierproxy.Stop)
	// Cold gets the samples that hot scrapes, as Thanos gets them from Prometheus.
	return d.shop.Scrape("tierproxy", strings.TrimPrefix(d.tierproxy.URL, "http://"), tierproxyInterval,
		embedded.Copy{To: d.cold, Labels: externalLabels(shopName)})
}

// startPerses starts Perses and the page in front of it.
func (d *demo) startPerses(ctx context.Context) error {
	var err error
	modules := filepath.Join(d.dir, "modules")
	if err := webui.WriteServerPart(modules, d.modules); err != nil {
		return err
	}
	perses := stack.Perses{Dir: d.dir, Port: d.persesPort, Archives: []string{filepath.Dir(d.archive)}, Modules: modules}
	if d.perses, err = perses.Start(ctx, d.persesPath); err != nil {
		return err
	}
	d.stops = append(d.stops, d.perses.Stop)
	port, err := portOr(pagePort)
	if err != nil {
		return err
	}
	d.page, err = webui.Serve(ctx, webui.Options{
		Address: fmt.Sprintf("127.0.0.1:%d", port), Page: d.pageDir, Perses: d.perses.URL, Plugins: perses.Plugins(), Modules: d.modules,
	})
	if err == nil {
		d.stops = append(d.stops, d.page.Close)
	}
	return err
}

// startControl lets scripts/demo-control break and heal the tiers.
func (d *demo) startControl(ctx context.Context) error {
	if d.controlFile == "" {
		d.controlFile = filepath.Join(d.dir, "control")
	}
	var err error
	d.control, err = startControl(ctx, d.controlFile, map[string]*embedded.Prometheus{shopName: d.shop, branchName: d.branch, coldName: d.cold})
	if err == nil {
		d.stops = append(d.stops, d.control.close)
	}
	return err
}

// applyExamples applies the example datasources with the URL of tierproxy, and the
// dashboards of the examples and of tierproxy with their projects.
func (d *demo) applyExamples(ctx context.Context) error {
	const examples, monitoring = "deploy/examples/", "deploy/monitoring/"
	// The web shop is in one of the clusters.
	metrics, err := d.adapt(examples+"datasource.yaml", "      threshold:", "      hot: [{name: "+shopName+"}]\n      threshold:")
	if err != nil {
		return err
	}
	clusters, err := d.adapt(examples + "datasource-clusters.yaml")
	if err != nil {
		return err
	}
	arguments := [][]string{{"login", d.perses.URL}, {"apply", "-f", metrics}, {"apply", "-f", clusters}}
	for _, file := range []string{
		examples + "project.yaml", examples + "dashboard.yaml", examples + "dashboard-clusters.yaml", monitoring + "project.yaml", monitoring + "dashboard.json",
	} {
		arguments = append(arguments, []string{"apply", "-f", filepath.Join(d.root, file)})
	}
	for _, each := range arguments {
		command := exec.CommandContext(ctx, d.percliPath, append([]string{"--percliconfig", filepath.Join(d.dir, "percli.json")}, each...)...) //nolint:gosec // The program of scripts/tool.
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("percli %s: %w: %s", strings.Join(each, " "), err, output)
		}
	}
	d.say("percli applied datasources and dashboards of %s", examples)
	return nil
}

// adapt writes a datasource with the URL of tierproxy into the directory of the demo, with
// replacements in pairs of old and new. It returns the path.
func (d *demo) adapt(file string, replacements ...string) (path string, err error) {
	text, err := os.ReadFile(filepath.Join(d.root, file)) //nolint:gosec // An example of the checkout.
	if err != nil {
		return "", fmt.Errorf("read the example: %w", err)
	}
	adapted := string(text)
	for pair := range slices.Chunk(append([]string{exampleURL, d.tierproxy.URL}, replacements...), 2) {
		if !strings.Contains(adapted, pair[0]) {
			return "", fmt.Errorf("%s has no %q, which the demo replaces", file, pair[0])
		}
		adapted = strings.ReplaceAll(adapted, pair[0], pair[1])
	}
	path = filepath.Join(d.dir, filepath.Base(file))
	if err := os.WriteFile(path, []byte(adapted), 0o600); err != nil { //nolint:gosec // The directory is that of this process.
		return "", fmt.Errorf("write the datasource: %w", err)
	}
	return path, nil
}

// stop stops the servers and removes their files.
func (d *demo) stop() error {
	var errs []error
	for _, stop := range slices.Backward(d.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}
