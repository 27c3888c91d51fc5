//go:build e2e

package stores

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// question is what a panel, a variable or an editor asks.
type question struct {
	// endpoint is the path below /api/v1.
	endpoint string
	// query is PromQL, or a selector for endpoints of metadata.
	query string
	// span is the length of the time range, and zero for an instant query; step is that of the steps.
	span, step time.Duration
}

// String is what a person would write down.
func (q question) String() string {
	switch {
	case q.step > 0:
		return fmt.Sprintf("%s over %s every %s", q.query, q.span, q.step)
	case q.span > 0:
		return fmt.Sprintf("%s of %s over %s", q.endpoint, q.query, q.span)
	}
	return q.query + " at once"
}

// values returns the parameters of a request whose time range ends at a time.
func (q question) values(end time.Time) url.Values {
	switch {
	case q.step > 0:
		end = end.Truncate(q.step)
		return url.Values{"query": {q.query}, "start": {seconds(end.Add(-q.span))}, "end": {seconds(end)}, "step": {strconv.FormatFloat(q.step.Seconds(), 'f', -1, 64)}}
	case q.span > 0:
		return url.Values{"match[]": {q.query}, "start": {seconds(end.Add(-q.span))}, "end": {seconds(end)}}
	}
	return url.Values{"query": {q.query}, "time": {seconds(end)}}
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

func panel(query string, span, step time.Duration) question {
	return question{endpoint: "query_range", query: query, span: span, step: step}
}

func instant(query string) question { return question{endpoint: "query", query: query} }

// questions are 60 that dashboards ask.
func questions() []question {
	return append(panels(), append(longPanels(),
		instant(`sum(up)`),
		instant(`topk(2, rate(http_requests_total[5m]))`),
		instant(`sum by (job) (increase(http_requests_total[1d]))`),
		instant(`avg_over_time(up[24h])`),
		instant(`max_over_time(node_load1[6h])`),
		instant(`sum(rate(http_requests_total[5m] offset 20h))`),
		instant(`histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[1h])))`),
		question{endpoint: "series", query: `http_requests_total{job="cart"}`, span: hour},
		question{endpoint: "label/instance/values", query: `up`, span: 6 * hour},
		question{endpoint: "labels", query: `wide`, span: hour},
	)...)
}

// panels are those of at most a few hours.
func panels() []question {
	const s15, s30 = 15 * time.Second, 30 * time.Second
	return []question{
		panel(`up`, 5*minute, s15),
		panel(`sum by (job) (up)`, 10*minute, s15),
		panel(`sum by (job) (rate(http_requests_total[5m]))`, 10*minute, s15),
		panel(`sum by (job, code) (rate(http_requests_total[1m]))`, 12*minute, s15),
		panel(`histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`, 10*minute, s30),
		panel(`topk(3, rate(http_requests_total[5m]))`, 3*hour, minute),
		panel(`process_resident_memory_bytes`, 5*minute, s15),
		panel(`node_load1`, 2*hour, s30),
		panel(`100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])))`, 3*hour, minute),
		panel(`sum without (mode) (rate(node_cpu_seconds_total[2m]))`, 10*minute, s15),
		panel(`sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))`, hour, s30),
		panel(`sum(rate(http_request_duration_seconds_sum[5m])) / sum(rate(http_request_duration_seconds_count[5m]))`, 4*hour, minute),
		panel(`irate(jobs_processed_total[2m])`, 10*minute, s15),
		panel(`deriv(temperature_celsius[15m])`, 2*hour, s30),
		panel(`avg_over_time(temperature_celsius[10m])`, 5*minute, s15),
		panel(`quantile_over_time(0.9, node_load1[20m])`, 3*hour, minute),
		panel(`quantile by (job) (0.9, process_resident_memory_bytes)`, 2*hour, minute),
		panel(`sum(rate(http_requests_total[5m])) / sum(rate(http_requests_total[5m] offset 1h))`, 2*hour, minute),
		panel(`max_over_time(sum(rate(http_requests_total[5m]))[30m:1m])`, 2*hour, minute),
		panel(`absent(up{job="nothing"})`, 10*minute, s30),
		panel(`up{job="cart"} or up{job="search"}`, 10*minute, s15),
		panel(`sum(temperature_celsius > 100) or vector(0)`, 2*hour, s30),
		panel(`up{namespace="shop"} unless up{job="cart"}`, 10*minute, s30),
		panel(`node_load1 * on (instance) group_left () up{job="node"}`, hour, s30),
		panel(`node_load1 @ end()`, hour, minute),
		panel(`sum(temperature_celsius) - sum(temperature_celsius @ start())`, 3*hour, minute),
		panel(`patchy`, 3*hour, s15),
		panel(`count_over_time(patchy[10m])`, 3*hour, minute),
		panel(`label_replace(up{job="node"}, "host", "$1", "instance", "(.*):.*")`, 5*minute, s30),
		panel(`sum by (l03, l07) (wide)`, 2*hour, s30),
		panel(`stddev by (job) (process_resident_memory_bytes)`, 10*minute, s30),
		panel(`time() - max by (job) (timestamp(up))`, 10*minute, s15),
		panel(`predict_linear(node_memory_MemAvailable_bytes[1h], 3600)`, 3*hour, minute),
	}
}

// longPanels are those of more hours.
func longPanels() []question {
	return []question{
		panel(`sum by (job) (increase(http_requests_total{code="500"}[10m]))`, 6*hour, minute),
		panel(`histogram_quantile(0.5, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`, 12*hour, 2*minute),
		panel(`histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[10m])))`, 24*hour, 5*minute),
		panel(`avg by (job) (process_resident_memory_bytes)`, 24*hour, 5*minute),
		panel(`100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[10m])))`, 24*hour, 5*minute),
		panel(`node_memory_MemAvailable_bytes / 1e9`, 6*hour, minute),
		panel(`sum(rate(http_requests_total{code="500"}[10m])) / sum(rate(http_requests_total[10m]))`, 24*hour, 5*minute),
		panel(`rate(jobs_processed_total[5m])`, 5*hour, minute),
		panel(`increase(jobs_processed_total[1h])`, 12*hour, 5*minute),
		panel(`delta(temperature_celsius[30m])`, 8*hour, 2*minute),
		panel(`max_over_time(node_load1[1h])`, 24*hour, 5*minute),
		panel(`min_over_time(temperature_celsius[30m])`, 5*hour, minute),
		panel(`sum(rate(http_requests_total[5m])) - sum(rate(http_requests_total[5m] offset 12h))`, 6*hour, minute),
		panel(`avg_over_time(sum(rate(http_requests_total[5m]))[1h:5m])`, 12*hour, 5*minute),
		panel(`absent_over_time(vanished_total[10m])`, 6*hour, minute),
		panel(`vanished_total`, 6*hour, minute),
		panel(`count by (job) (up == 1)`, 24*hour, 5*minute),
	}
}
