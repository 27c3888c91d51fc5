package main

import (
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// panels are the queries of the subscribers.
var panels = []string{
	`sum by (job) (rate(http_requests_total[1m]))`, `sum by (code) (rate(http_requests_total[2m]))`, `sum(rate(http_requests_total{code="500"}[1m]))`,
	`sum by (job) (increase(http_requests_total{code="404"}[1m]))`, `histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[2m])))`,
	`histogram_quantile(0.99, sum by (job) (rate(http_response_size_bytes[2m])))`, `sum by (job) (process_resident_memory_bytes)`,
	`max by (job) (process_resident_memory_bytes)`, `node_load1`, `node_memory_MemAvailable_bytes`, `sum by (mode) (rate(node_cpu_seconds_total[1m]))`,
	`sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[1m]))`, `up{job="node"}`, `count by (job) (up == 1)`, `process_resident_memory_bytes{job="cart"}`,
	`rate(http_request_duration_seconds_sum{job="cart"}[1m]) / rate(http_request_duration_seconds_count{job="cart"}[1m])`,
	`topk(2, sum by (job) (rate(http_requests_total[5m])))`, `max_over_time(sum(node_load1)[5m:30s])`, `node_load1 - node_load1 offset 10m`,
	`avg(node_load1) / 4`,
}

// ranges are how far back the subscribers look: most of them as far as dashboards of the present do.
var ranges = []time.Duration{
	5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 15 * time.Minute, 15 * time.Minute, 15 * time.Minute, time.Hour,
}

// query returns the query of a number, each another one.
func query(number int) string {
	panel := panels[number%len(panels)]
	if round := number / len(panels); round > 0 {
		return fmt.Sprintf("(%s) + %d", panel, round)
	}
	return panel
}

// subscription returns the parameters of a subscriber.
func (o options) subscription(number int) (url.Values, time.Duration) {
	length := ranges[number/o.queries%len(ranges)]
	return url.Values{"query": {query(number % o.queries)}, "step": {o.step.String()}, "range": {length.String()}}, length
}

func withLabels(set labels.Labels, more map[string]string) labels.Labels {
	builder := labels.NewBuilder(set)
	for name, value := range more {
		builder.Set(name, value)
	}
	return builder.Labels()
}
