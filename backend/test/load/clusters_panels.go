package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// clusterPanel is a panel of a dashboard with the variable cluster. A span of 0 is a table, which shows
// the newest values.
type clusterPanel struct {
	query string
	window
}

var (
	quarterHour = window{15 * time.Minute, 15 * time.Second}
	halfHour    = window{30 * time.Minute, 15 * time.Second}
	newest      window
)

var clusterPanels = []clusterPanel{
	{`sum(rate(http_requests_total{cluster="$cluster"}[5m]))`, lastHour},
	{`sum by (code) (rate(http_requests_total{cluster=~"$cluster"}[5m]))`, lastHour},
	{`sum by (service) (rate(http_requests_total{cluster="$cluster",code=~"5.."}[5m])) / sum by (service) (rate(http_requests_total{cluster="$cluster"}[5m]))`, lastHour},
	{`histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{cluster=~"$cluster"}[5m])))`, halfHour},
	{`histogram_quantile(0.95, sum by (service, le) (rate(http_request_duration_seconds_bucket{cluster="$cluster"}[5m])))`, halfHour},
	{`sum by (service) (rate(http_request_duration_seconds_sum{cluster=~"$cluster"}[5m])) / sum by (service) (rate(http_request_duration_seconds_count{cluster=~"$cluster"}[5m]))`, lastHour},
	{`sum by (namespace) (rate(container_cpu_usage_seconds_total{cluster="$cluster"}[5m]))`, lastHour},
	{`topk(10, sum by (pod) (rate(container_cpu_usage_seconds_total{cluster=~"$cluster"}[5m])))`, quarterHour},
	{`sum by (namespace) (container_memory_working_set_bytes{cluster="$cluster"})`, lastHour},
	{`sum by (pod) (container_memory_working_set_bytes{cluster=~"$cluster",namespace="team-3"})`, halfHour},
	{`sum by (namespace) (rate(container_cpu_usage_seconds_total{cluster="$cluster"}[5m])) / sum by (namespace) (kube_pod_container_resource_limits{cluster="$cluster",resource="cpu"})`, halfHour},
	{`sum by (namespace) (rate(container_network_receive_bytes_total{cluster=~"$cluster"}[5m]))`, halfHour},
	{`sum by (namespace) (rate(container_network_transmit_bytes_total{cluster="$cluster"}[5m]))`, halfHour},
	{`avg by (instance) (1 - rate(node_cpu_seconds_total{cluster=~"$cluster",mode="idle"}[5m]))`, quarterHour},
	{`sum by (mode) (rate(node_cpu_seconds_total{cluster="$cluster",mode!="idle"}[5m]))`, lastHour},
	{`1 - node_memory_MemAvailable_bytes{cluster=~"$cluster"} / node_memory_MemTotal_bytes{cluster=~"$cluster"}`, lastHour},
	{`topk(20, sum by (namespace, pod) (container_memory_working_set_bytes{cluster="$cluster"}))`, newest},
	{`sum by (namespace) (kube_pod_container_resource_limits{cluster=~"$cluster",resource="cpu"})`, newest},
	{`count by (service) (up{cluster="$cluster",job="app"} == 1)`, newest},
	{`histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{cluster=~"$cluster",service="service-07"}[5m])))`, newest},
}

// with returns the query for a value of the variable. An expression that matches several clusters needs
// =~ in every panel.
func (p clusterPanel) with(value string) string {
	query := p.query
	if strings.Contains(value, "|") {
		query = strings.ReplaceAll(query, `cluster="$cluster"`, `cluster=~"$cluster"`)
	}
	return strings.ReplaceAll(query, "$cluster", value)
}

// clusterAnswer is what a panel got.
type clusterAnswer struct {
	text []byte
	// tier is the header X-Tier, and empty from Thanos.
	tier string
	took time.Duration
}

// ask asks for the panel at a base URL.
func (p clusterPanel) ask(ctx context.Context, client *http.Client, base, value string, end time.Time) (found clusterAnswer, err error) {
	endpoint, values := "query", url.Values{"query": {p.with(value)}, "time": {seconds(end)}}
	if p.span > 0 {
		end = end.Truncate(p.step) // As Perses does.
		endpoint = "query_range"
		values = url.Values{"query": {p.with(value)}, "start": {seconds(end.Add(-p.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(p.step.Seconds()))}}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/"+endpoint+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return found, err
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return found, err
	}
	defer func() { _ = response.Body.Close() }()
	found.text, err = io.ReadAll(response.Body)
	found.took, found.tier = time.Since(began), response.Header.Get("X-Tier")
	switch {
	case err != nil:
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s: status %d: %.300s", p.with(value), response.StatusCode, found.text)
	case strings.Contains(string(found.text[:min(len(found.text), 200)]), `"result":[]`):
		err = fmt.Errorf("%s: an empty answer measures nothing", p.with(value))
	}
	return found, err
}
