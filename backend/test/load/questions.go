package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// panels are the queries of a dashboard with 20 panels, over the series of the
// history package.
var panels = []string{
	`sum by (job) (rate(http_requests_total[5m]))`,
	`sum by (job, code) (rate(http_requests_total[5m]))`,
	`sum by (job) (rate(http_requests_total{code="500"}[5m])) / sum by (job) (rate(http_requests_total[5m]))`,
	`sum by (instance) (rate(http_requests_total{job="cart"}[5m]))`,
	`sum by (instance) (rate(http_requests_total{job="checkout"}[5m]))`,
	`sum by (instance) (rate(http_requests_total{job="search"}[5m]))`,
	`topk(3, sum by (instance) (rate(http_requests_total[5m])))`,
	`histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`histogram_quantile(0.95, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`sum(rate(http_request_duration_seconds_sum[5m])) / sum(rate(http_request_duration_seconds_count[5m]))`,
	`histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes[5m])))`,
	`sum by (job) (process_resident_memory_bytes)`,
	`max by (job) (process_resident_memory_bytes)`,
	`count by (job) (up == 1)`,
	`avg(node_load1)`,
	`node_load1`,
	`sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))`,
	`sum by (mode) (rate(node_cpu_seconds_total[5m]))`,
	`min by (instance) (node_memory_MemAvailable_bytes)`,
}

// window is a time range that dashboards show, with the step of its panels.
type window struct{ span, step time.Duration }

var (
	lastMinutes = window{5 * time.Minute, 15 * time.Second}
	lastHour    = window{time.Hour, 30 * time.Second}
	lastDay     = window{24 * time.Hour, 10 * time.Minute}
	lastWeek    = window{7 * 24 * time.Hour, time.Hour}
)

// allDashboards is how many dashboards the users have, with the same panels: teams have dashboards of
// their own.
const allDashboards = 10

// dashboards asks for the panels of dashboards: each time another panel, up to now, with the window
// that is drawn.
func dashboards(draw func() window) request {
	return func(base string) (vegeta.Target, error) {
		path := panelQuery(draw(), rand.IntN(allDashboards), rand.IntN(len(panels))) //nolint:gosec // Not a secret.
		return vegeta.Target{Method: http.MethodGet, URL: base + path, Header: http.Header{"Accept-Encoding": {browserEncodings}}}, nil
	}
}

// panelQuery returns path and parameters for a panel of a dashboard up to now. Its times are aligned to
// the step, as Perses does. A comment makes each dashboard's question its own.
func panelQuery(shown window, dashboard, panel int) string {
	end := time.Now().Truncate(shown.step)
	return "/api/v1/query_range?" + url.Values{
		"query": {fmt.Sprintf("%s # dashboard %d", panels[panel], dashboard)},
		"start": {seconds(end.Add(-shown.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(shown.step.Seconds()))},
	}.Encode()
}

func always(shown window) func() window { return func() window { return shown } }

// evenly draws each window as often as the others.
func evenly(windows ...window) func() window {
	return func() window { return windows[rand.IntN(len(windows))] } //nolint:gosec // Not a secret.
}

// mixed draws as people look at dashboards: 70 % the last minutes, 20 % the last
// hour, 10 % the last week.
func mixed() window {
	switch share := rand.IntN(10); { //nolint:gosec // Not a secret.
	case share < 7:
		return lastMinutes
	case share < 9:
		return lastHour
	}
	return lastWeek
}

// answerOf asks for an answer of that many bytes, of the server that makes them
// up. A number makes every question another one, so that none is shared.
func answerOf(size int, method string) request {
	return func(base string) (vegeta.Target, error) {
		now := time.Now()
		values := url.Values{
			"query": {panels[0]}, "start": {seconds(now.Add(-5 * time.Minute))}, "end": {seconds(now)}, "step": {"15"},
			bytesParameter: {strconv.Itoa(size)}, "number": {strconv.FormatUint(rand.Uint64(), 36)}, //nolint:gosec // Not a secret.
		}
		if method == http.MethodGet {
			return vegeta.Target{Method: method, URL: base + "/api/v1/query_range?" + values.Encode()}, nil
		}
		return vegeta.Target{
			Method: method, URL: base + "/api/v1/query_range", Body: []byte(values.Encode()),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		}, nil
	}
}

// seconds writes a time as the API reads it.
var seconds = promapi.FormatTime
