package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// refreshInterval is how often the dashboard is refreshed, and atOnce how many panels a
	// browser asks for at a time.
	refreshInterval = 30 * time.Second
	atOnce          = 6
	// patience is how long a panel may take to be answered, and hot to be used at all.
	patience = 3 * time.Minute
)

// panel is a query of the dashboard.
type panel struct {
	query string
	// byCold is set for a query that only cold can answer rightly: it reads what other
	// clusters have, or more than the threshold.
	byCold bool
}

// dashboard is what is looked at: panels that show the last minutes.
type dashboard struct {
	window time.Duration
	panels []panel
}

// dashboards are the dashboards by name: of metrics that only hot's cluster has and of ones that
// every cluster has, the latter pinned to hot's cluster or not.
var dashboards = map[string]dashboard{
	// Half of the panels read a series of each container, 3,000 by default, as the usual dashboards
	// of a cluster do. The others read some dozen. The window is nearly the threshold.
	"cluster": {14 * time.Minute, append([]panel{
		{query: `sum(rate(container_cpu_usage_seconds_total{cluster="lab"}[5m]))`},
		{query: `sum by (namespace) (rate(container_cpu_usage_seconds_total{cluster="lab"}[5m]))`},
		{query: `sum by (namespace) (container_memory_working_set_bytes{cluster="lab"})`},
		{query: `topk(10, sum by (pod) (rate(container_cpu_usage_seconds_total[5m])))`},
		{query: `sum by (namespace) (rate(container_network_receive_bytes_total[5m]))`},
		{query: `sum by (namespace) (rate(container_network_transmit_bytes_total[5m]))`},
		{query: `topk(10, sum by (pod) (container_memory_working_set_bytes))`},
		{query: `count by (namespace) (container_memory_working_set_bytes > 2e8)`},
		{query: `sum by (pod) (rate(container_cpu_usage_seconds_total{namespace="team-03"}[5m]))`},
		{query: `sum by (pod) (container_memory_working_set_bytes{namespace="team-03"})`},
	}, slices.Concat(services[5:7], services[12:])...)},
	// No panel that hot answers reads more than some dozen series, except for those of up.
	"services": {5 * time.Minute, services},
}

var services = []panel{
	{query: `sum by (job) (rate(http_requests_total[5m]))`},
	{query: `sum by (job, code) (rate(http_requests_total[5m]))`},
	{query: `sum by (job) (rate(http_requests_total{code="500"}[5m])) / sum by (job) (rate(http_requests_total[5m]))`},
	{query: `sum by (instance) (rate(http_requests_total{job="cart"}[5m]))`},
	{query: `topk(3, sum by (instance) (rate(http_requests_total[5m])))`},
	{query: `histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`},
	{query: `histogram_quantile(0.95, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`},
	{query: `sum(rate(http_request_duration_seconds_sum[5m])) / sum(rate(http_request_duration_seconds_count[5m]))`},
	{query: `histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes[5m])))`},
	{query: `sum by (job) (process_resident_memory_bytes)`},
	{query: `avg(node_load1)`},
	{query: `node_load1`},
	{query: `sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))`},
	{query: `sum by (mode) (rate(node_cpu_seconds_total[5m]))`},
	{query: `min by (instance) (node_memory_MemAvailable_bytes)`},
	{query: `{__name__=~"node_load1|node_memory_MemAvailable_bytes"}`},
	{query: `count by (job) (up{cluster="lab"} == 1)`},
	{query: `avg(up{cluster="lab",job="app"})`},
	{query: `count by (cluster) (up)`, byCold: true},
	{query: `sum by (cluster) (last_over_time(app_metric_0123[3d]))`, byCold: true},
}

// expected is how many panels hot can answer.
func (d dashboard) expected() (number int) {
	for _, panel := range d.panels {
		if !panel.byCold {
			number++
		}
	}
	return number
}

// question is a query, how far back it reads, and the URL of the API that is asked.
type question struct {
	base, query string
	window      time.Duration
}

// through returns the questions of the dashboard to a datasource of a gateway.
func (d dashboard) through(base string) []question {
	questions := make([]question, len(d.panels))
	for i, panel := range d.panels {
		questions[i] = question{base, panel.query, d.window}
	}
	return questions
}

// unpinned returns a query as hot understands it, which knows no external labels.
var unpinned = strings.NewReplacer(`{cluster="lab"}`, "", `cluster="lab",`, "")

// directly returns the questions of the dashboard to the tiers that answered them.
func (d dashboard) directly(answered []string, hot, cold string) []question {
	questions := d.through(cold)
	for i, tier := range answered {
		if tier == "hot" {
			questions[i] = question{hot, unpinned.Replace(d.panels[i].query), d.window}
		}
	}
	return questions
}

// failed stands for the tier of a panel that was not answered.
const failed = "failed"

// count returns how often a tier answered.
func count(answered []string, tier string) (number int) {
	for _, each := range answered {
		if each == tier {
			number++
		}
	}
	return number
}

// look asks all questions once, and returns which tiers answered, as tierproxy names
// them. It fails only when the context ends.
func (w *world) look(ctx context.Context, questions []question) ([]string, error) {
	end, answered := time.Now(), make([]string, len(questions))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, question := range questions {
		group.Go(func() (err error) {
			if answered[i], err = question.ask(ctx, end); err != nil {
				w.say("%s: %s", question.query, err)
				answered[i] = failed
			}
			return ctx.Err()
		})
	}
	return answered, group.Wait()
}

// ask asks one question, and returns the tier that answered.
func (q question) ask(ctx context.Context, end time.Time) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	values := url.Values{"query": {q.query}, "start": {seconds(end.Add(-q.window))}, "end": {seconds(end)}, "step": {"15"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, q.base+"/api/v1/query_range?"+values.Encode(), http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	var content struct {
		Status string
		Data   struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(answer, &content); err != nil || content.Status != "success" {
		return "", fmt.Errorf("status %d: %s", response.StatusCode, answer[:min(len(answer), 300)])
	}
	if len(content.Data.Result) == 0 {
		return "", errors.New("an empty answer measures nothing")
	}
	return response.Header.Get("X-Tier"), nil
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
