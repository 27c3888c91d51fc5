package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// question is a range query up to now, and who has to answer it.
type question struct {
	title, promQL string
	datasource    string
	seconds, step int
	tier, source  string
}

// The names of the datasources.
const (
	metrics  = "metrics"
	clusters = "clusters"
)

const (
	shopQuery   = "sum by (job) (rate(http_requests_total[5m]))"
	ordersQuery = "sum by (site) (rate(orders_total%s[2m]))"
)

var questions = []question{
	{"the last 5 minutes of the web shop", shopQuery, metrics, 300, 15, "hot", shopName},
	{"the last hour: cold, and hot for the last 15 minutes", shopQuery, metrics, 3600, 30, "hot,cold", shopName},
	{"compared with last week", "sum(rate(http_requests_total[5m])) / sum(rate(http_requests_total[5m] offset 1w))", metrics, 300, 15, "cold", ""},
	{"orders of the cluster us-1", fmt.Sprintf(ordersQuery, `{cluster="us-1"}`), clusters, 300, 15, "hot", branchName},
	{"orders of all clusters", fmt.Sprintf(ordersQuery, ""), clusters, 300, 15, "cold", ""},
}

// shell returns the command that asks the question through Perses.
func (q question) shell(perses string) string {
	return fmt.Sprintf("curl -sSG -D - %s/proxy/globaldatasources/%s/api/v1/query_range"+
		" --data-urlencode 'query=%s' -d start=$(($(date +%%s)-%d)) -d end=$(date +%%s) -d step=%d",
		perses, q.datasource, q.promQL, q.seconds, q.step)
}

// answered reports whether the header of an answer names the tier and the source, and the body
// has samples.
func (q question) answered(header, body string) bool {
	source := `{cluster="` + q.source + `"}`
	if q.source == "" {
		source = ""
	}
	return field(header, "X-Tier") == q.tier && field(header, "X-Tier-Source") == source && strings.Contains(body, `"values":[[`)
}

// field returns the value of a header field, or nothing.
func field(header, name string) string {
	_, after, _ := strings.Cut("\n"+header, "\n"+name+": ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// show asks each question until the expected tier answers, and prints who does, and where
// everything is.
func (d *demo) show(ctx context.Context) error {
	d.say("\nQueries through Perses, and the tier, reason and source in the headers of the answers:")
	for _, each := range questions {
		header, err := d.ask(ctx, each)
		if err != nil {
			return err
		}
		d.say("  %-54s%-9s %-16s %s", each.title, field(header, "X-Tier"), field(header, "X-Tier-Reason"), field(header, "X-Tier-Source"))
	}
	d.say("The first one:\n$ %s\n", questions[0].shell(d.perses.URL))
	d.say("Page        %s   dashboards, Explore and datasources in a browser", d.page.URL)
	d.say("Perses      %s   (without its web UI, which is not in the Go module of Perses)", d.perses.URL)
	d.say("tierproxy   %s   /metrics, /api/v1/datasources/health", d.tierproxy.URL)
	d.say("hot         %s   %s\n            %s   %s", d.shop.URL, shopName, d.branch.URL, branchName)
	d.say("cold        %s   both clusters", d.cold.URL)
	return nil
}

// lead prints what to look at, and what to break.
func (d *demo) lead() {
	d.say(`
Open
  %[1]s/projects/demo/dashboards/shop
    Point at the icon in the header of a panel: it says which tier answered, and why. Dashed lines are thresholds of alerts.
  %[1]s/projects/demo/dashboards/clusters
    Choose a cluster: its own Prometheus answers, and the notice names it. For all clusters, cold answers.
  %[1]s/explore
    In the Tiered Prometheus Explorer, choose Graph, run %[2]s
    with a Min Step of 5s, and switch on Live: the graph grows every 5 seconds.
  %[1]s/projects/tierproxy/dashboards/tierproxy
    The dashboard of tierproxy itself.

Break something, in a second terminal, and refresh a dashboard
  make demo-break             the Prometheus of eu-1 refuses connections: cold answers, and the notices say so
  make demo-break TIER=cold   cold refuses them: hot answers, and warns where samples are missing
  make demo-heal              all tiers answer again

Ctrl-C stops everything.`, d.page.URL, shopQuery)
}

// breakAndHeal breaks hot and heals it with the commands for people.
func (d *demo) breakAndHeal(ctx context.Context) error {
	broken := questions[0]
	broken.tier, broken.source = "cold", ""
	for _, each := range []struct {
		command string
		then    question
	}{{"break", broken}, {"heal", questions[0]}} {
		command := exec.CommandContext(ctx, filepath.Join(d.root, "scripts", "demo-control"), each.command) //nolint:gosec // Our own script.
		command.Env = append(os.Environ(), "DEMO_CONTROL="+d.controlFile)
		output, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s hot: %w: %s", each.command, err, output)
		}
		header, err := d.ask(ctx, each.then)
		if err != nil {
			return err
		}
		d.say("\n%sX-Tier: %s\nX-Tier-Reason: %s", output, field(header, "X-Tier"), field(header, "X-Tier-Reason"))
	}
	return nil
}

// learnTimeout is how long tierproxy may take to learn about the tiers.
const learnTimeout = 30 * time.Second

// ask asks a question until it is answered as expected, and returns the header of the answer.
// It returns an error if that takes longer than learnTimeout.
func (d *demo) ask(ctx context.Context, q question) (header string, err error) {
	for deadline := time.Now().Add(learnTimeout); ; {
		output, err := exec.CommandContext(ctx, "sh", "-c", q.shell(d.perses.URL)).CombinedOutput() //nolint:gosec // One of the questions.
		if err != nil {
			return "", fmt.Errorf("run curl: %w: %s", err, output)
		}
		header, body, _ := strings.Cut(strings.ReplaceAll(string(output), "\r\n", "\n"), "\n\n")
		switch {
		case q.answered(header, body):
			return header, nil
		case time.Now().After(deadline):
			return "", fmt.Errorf("%q was not answered by %s %s with samples:\n%s\n\n%s", q.title, q.tier, q.source, header, body)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}
