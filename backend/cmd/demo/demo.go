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
	hotPort       = 9090
	tierproxyPort = 9190
	coldPort      = 10902
)

// demo holds the servers of the demo.
type demo struct {
	output io.Writer

	// The files that scripts/demo built.
	persesPath, percliPath, proxyPath, archive, pageDir string

	root, dir  string
	persesPort int

	hot, cold         *embedded.Prometheus
	perses, tierproxy *stack.Server
	modules           []webui.Module
	page              *webui.Server
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

// startTiers generates history and starts the two tiers with it.
func (d *demo) startTiers(ctx context.Context) error {
	d.say("Generating history: hot has the last 6 hours, cold 30 days")
	generator := history.Generator{Interval: scrapeInterval}
	now := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	tier := func(name string, port int, reach time.Duration, ruleFiles ...string) (started *embedded.Prometheus, err error) {
		data := filepath.Join(d.dir, name)
		if err := generator.WriteBlocks(groupContext, data, now.Add(-reach), now); err != nil {
			return nil, err
		}
		port, err = portOr(port)
		if err != nil {
			return nil, err
		}
		return embedded.Start(embedded.Options{
			Address: fmt.Sprintf("127.0.0.1:%d", port), Data: data, Retention: reach, Live: &generator, LiveFrom: now, RuleFiles: ruleFiles,
		})
	}
	group.Go(func() (err error) {
		d.hot, err = tier("hot", hotPort, hotReach, filepath.Join(d.root, "deploy/examples/rules.yaml"))
		return err
	})
	group.Go(func() (err error) { d.cold, err = tier("cold", coldPort, coldReach); return err })
	err := group.Wait()
	for _, started := range []*embedded.Prometheus{d.hot, d.cold} {
		if started != nil {
			d.stops = append(d.stops, started.Close)
		}
	}
	return err
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
			"hot":    map[string]any{"url": d.hot.URL},
			"cold":   map[string]any{"url": d.cold.URL},
		},
	}.Start(ctx, d.proxyPath)
	if err != nil {
		return err
	}
	d.stops = append(d.stops, d.tierproxy.Stop)
	// Cold gets the samples that hot scrapes, as Thanos gets them from Prometheus.
	return d.hot.Scrape("tierproxy", strings.TrimPrefix(d.tierproxy.URL, "http://"), tierproxyInterval, d.cold)
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

// applyExamples applies the example datasource with the URL of tierproxy, and the
// dashboards of the examples and of tierproxy with their projects.
func (d *demo) applyExamples(ctx context.Context) error {
	const example = "deploy/examples/datasource.yaml"
	text, err := os.ReadFile(filepath.Join(d.root, example))
	if err != nil {
		return fmt.Errorf("read the example: %w", err)
	}
	applied := filepath.Join(d.dir, "datasource.yaml")
	adapted := strings.ReplaceAll(string(text), exampleURL, d.tierproxy.URL)
	if err := os.WriteFile(applied, []byte(adapted), 0o600); err != nil { //nolint:gosec // The directory is that of this process.
		return fmt.Errorf("write the datasource: %w", err)
	}
	for _, arguments := range [][]string{
		{"login", d.perses.URL},
		{"apply", "-f", applied},
		{"apply", "-f", filepath.Join(d.root, "deploy/examples/project.yaml")},
		{"apply", "-f", filepath.Join(d.root, "deploy/examples/dashboard.yaml")},
		{"apply", "-f", filepath.Join(d.root, "deploy/monitoring/project.yaml")},
		{"apply", "-f", filepath.Join(d.root, "deploy/monitoring/dashboard.json")},
	} {
		command := exec.CommandContext(ctx, d.percliPath, append([]string{"--percliconfig", filepath.Join(d.dir, "percli.json")}, arguments...)...) //nolint:gosec // The program of scripts/tool.
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("percli %s: %w: %s", arguments[0], err, output)
		}
	}
	d.say("\npercli applied %s:\n\n%s", example, adapted)
	return nil
}

// show prints the URLs, and runs and prints a query to each tier.
func (d *demo) show(ctx context.Context) error {
	d.say("Page        %s   dashboards, Explore and datasources in a browser", d.page.URL)
	d.say("Perses      %s   (without its web UI, which is not in the Go module of Perses)", d.perses.URL)
	d.say("tierproxy   %s   /metrics, /api/v1/datasources/health", d.tierproxy.URL)
	d.say("hot tier    %s", d.hot.URL)
	d.say("cold tier   %s", d.cold.URL)
	for _, query := range []struct {
		title, promql string
		seconds, step int
		tier          string
	}{
		{"The last 5 minutes: hot has them, and the range is shorter than the threshold.", "sum by (job) (rate(http_requests_total[5m]))", 300, 15, "hot"},
		{"The last hour: hot answers the last 15 minutes, which is the threshold, and cold the rest.", "sum by (job) (rate(http_requests_total[5m]))", 3600, 30, "hot,cold"},
		{"The last 5 minutes compared with last week: hot does not reach back that far.", "sum(rate(http_requests_total[5m])) / sum(rate(http_requests_total[5m] offset 1w))", 300, 15, "cold"},
	} {
		line := fmt.Sprintf("curl -sSG -D - %s/proxy/globaldatasources/metrics/api/v1/query_range"+
			" --data-urlencode 'query=%s' -d start=$(($(date +%%s)-%d)) -d end=$(date +%%s) -d step=%d",
			d.perses.URL, query.promql, query.seconds, query.step)
		d.say("\n%s\n$ %s", query.title, line)
		header, body, err := askUntil(ctx, line, query.tier)
		if err != nil {
			return err
		}
		for name := range strings.SplitSeq(header, "\n") {
			if strings.HasPrefix(name, "HTTP/") || strings.HasPrefix(name, "X-Tier") || strings.HasPrefix(name, "Server-Timing") {
				d.say("%s", name)
			}
		}
		const shown = 120
		d.say("%s…", body[:min(shown, len(body))])
	}
	return nil
}

// learnTimeout is how long tierproxy may take to learn about the tiers after it has started.
const learnTimeout = 30 * time.Second

// askUntil runs a shell command that prints header and body of an answer, again until the tier has
// answered with samples. It returns an error if that takes longer than learnTimeout.
func askUntil(ctx context.Context, line, tier string) (header, body string, err error) {
	for deadline := time.Now().Add(learnTimeout); ; {
		output, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput() //nolint:gosec // A line of show.
		if err != nil {
			return "", "", fmt.Errorf("run curl: %w: %s", err, output)
		}
		header, body, _ = strings.Cut(strings.ReplaceAll(string(output), "\r\n", "\n"), "\n\n")
		switch {
		case strings.Contains(header, "\nX-Tier: "+tier+"\n") && strings.Contains(body, `"values":[[`):
			return header, body, nil
		case time.Now().After(deadline):
			return "", "", fmt.Errorf("the query was not answered by %s with samples:\n%s\n\n%s", tier, header, body)
		}
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// stop stops the servers and removes their files.
func (d *demo) stop() error {
	var errs []error
	for _, stop := range slices.Backward(d.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}
