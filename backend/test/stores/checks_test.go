//go:build e2e

package stores

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// awaitCoverage waits until the gateway knows since when hot has samples. A VictoriaMetrics shows the
// past that it has just got some time later.
func (w *world) awaitCoverage(t *testing.T, of *tierproxy) {
	t.Helper()
	began := time.Now()
	require.Eventually(t, func() bool {
		_, body, err := stack.Get(t.Context(), of.base+"/api/v1/datasources/health", nil)
		var health resolve.Health
		if err != nil || json.Unmarshal(body, &health) != nil {
			return false
		}
		hot := health.Tiers["hot"]
		return hot.CoverageStart != nil || len(hot.Sources) > 0
	}, 3*minute, time.Second, "the coverage of hot is not known")
	t.Logf("the coverage of hot was known after %s", time.Since(began).Round(time.Second))
}

// health checks what the gateway knows of the tiers: since when hot has samples, up to when cold has
// some, and what the sources of cold are.
func (w *world) health(t *testing.T, of *tierproxy, in expected) {
	t.Helper()
	_, body, err := stack.Get(t.Context(), of.base+"/api/v1/datasources/health", nil)
	require.NoError(t, err)
	t.Logf("health: %s", body)
	var health resolve.Health
	require.NoError(t, json.Unmarshal(body, &health), string(body))
	assert.Equal(t, resolve.StatusHealthy, health.Status)
	assert.True(t, strings.HasPrefix(health.Completeness, in.completeness), "completeness: %s", health.Completeness)
	hot, cold := health.Tiers["hot"], health.Tiers["cold"]
	assert.Equal(t, in.kinds, [2]string{hot.Kind, cold.Kind})
	assert.False(t, hot.CoverageDeclared, "the coverage of hot is measured")
	if len(hot.Sources) == 0 && assert.NotNil(t, hot.CoverageStart, "the coverage of hot is known") {
		assert.WithinDuration(t, w.now.Add(-hotReach), *hot.CoverageStart, 10*minute)
	}
	if assert.NotNil(t, cold.CoverageEnd, "the end of cold is known") {
		assert.WithinDuration(t, time.Now(), *cold.CoverageEnd, 2*minute)
	}
}

// confined asks a gateway that may show the namespace shop, and no other.
func (w *world) confined(t *testing.T) {
	t.Helper()
	of := w.gateway(t, low, func(settings *config.Config) {
		settings.DefaultDatasource.Namespaces = []string{"shop"}
		settings.Enforcement.Datasources = []config.ConfinedDatasource{{Name: "metrics", Namespaces: []string{"shop"}}}
	})
	end := time.Now().Add(-underWay)
	for asked, expected := range map[string]string{
		`count by (namespace) ({__name__=~".+"})`:     `count by (namespace) ({__name__=~".+",namespace="shop"})`,
		`sum by (namespace, job) (up)`:                `sum by (namespace, job) (up{namespace="shop"})`,
		`temperature_celsius`:                         `temperature_celsius{namespace="shop"}`,
		`node_load1{namespace=~"infra|shop"}`:         `node_load1{namespace=~"infra|shop",namespace="shop"}`,
		`sum(patchy) or sum(temperature_celsius)`:     `sum(patchy{namespace="shop"}) or sum(temperature_celsius{namespace="shop"})`,
		`sum(absent(temperature_celsius)) or sum(up)`: `sum(absent(temperature_celsius{namespace="shop"})) or sum(up{namespace="shop"})`,
	} {
		for _, span := range []time.Duration{0, 10 * minute, 12 * hour} {
			q := instant(asked)
			if span > 0 {
				q = panel(asked, span, max(span/120, interval))
			}
			got, err := of.ask(t.Context(), q.endpoint, q.values(end))
			require.NoError(t, err)
			q.query = expected
			right, err := w.oracle.ask(t.Context(), q.endpoint, q.values(end))
			require.NoError(t, err)
			assert.NotContains(t, withoutQuestion(got), "infra", "%s over %s", asked, span)
			if differs := difference(right, got); len(got.ownWarnings()) == 0 {
				assert.Empty(t, differs, "%s over %s, by %s", asked, span, got.tier)
			}
		}
	}
	for _, endpoint := range []string{"label/namespace/values", "label/__name__/values", "label/job/values", "series"} {
		for _, span := range []time.Duration{10 * minute, 12 * hour} {
			got, err := of.ask(t.Context(), endpoint, question{endpoint: endpoint, query: `{__name__=~".+"}`, span: span}.values(end))
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.NotEmpty(t, got.items)
			for _, other := range []string{"infra", "temperature_celsius", "node_load1", "sensor"} {
				assert.NotContains(t, got.body, other, "%s over %s", endpoint, span)
			}
		}
	}
}

// withoutQuestion leaves out errors, which may repeat the question.
func withoutQuestion(of answer) string {
	if of.status != http.StatusOK {
		return ""
	}
	return of.body
}

// besides asks for what is not samples: an exemplar that hot has, metadata, rules and alerts.
func (w *world) besides(t *testing.T, of *tierproxy) {
	t.Helper()
	now := time.Now()
	if w.takesExemplars {
		one := samples(shop(w.now), now.Add(-2*interval), now.Add(-interval))[:1]
		one[0].Exemplars = []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "abc"}}, Value: 1, Timestamp: now.Add(-interval).UnixMilli()}}
		one[0].Samples = nil
		require.NoError(t, post(t.Context(), w.hot.base+"/api/v1/write", nil, one))
	}
	span := url.Values{"query": {`{__name__=~".+"}`}, "start": {seconds(now.Add(-5 * minute))}, "end": {seconds(now)}}
	for endpoint, values := range map[string]url.Values{"query_exemplars": span, "metadata": nil, "rules": nil, "alerts": nil} {
		status, body, err := stack.Get(t.Context(), of.base+"/api/v1/"+endpoint+"?"+values.Encode(), nil)
		if body == nil {
			require.NoError(t, err)
		}
		var read struct{ Status, ErrorType, Error string }
		require.NoError(t, json.Unmarshal(body, &read), "%s: %s", endpoint, body)
		t.Logf("%s: status %d, %s", endpoint, status, body[:min(len(body), 200)])
		if read.Status != "success" {
			assert.NotEmpty(t, read.ErrorType, "%s: %s", endpoint, body)
			assert.NotEmpty(t, read.Error, "%s: %s", endpoint, body)
		}
		if endpoint == "query_exemplars" && w.takesExemplars {
			assert.Contains(t, string(body), `"trace_id":"abc"`, "the exemplar of hot")
		}
	}
}

// followed is a live query, and what ends it.
type followed struct {
	asked  question
	stream *livestream.Stream
	ended  chan error
}

// follow follows live queries until the test ends.
func (w *world) follow(t *testing.T) []*followed {
	t.Helper()
	of := w.gateway(t, low, func(settings *config.Config) { settings.Routing.Freshness = config.Duration(30 * time.Second) })
	ctx, cancel := context.WithCancel(t.Context())
	var list []*followed
	for _, query := range []string{`sum by (job) (rate(http_requests_total[1m]))`, `temperature_celsius`, `sum(up) - sum(up offset 1h)`, `avg_over_time(sum(up)[5m:1m])`} {
		made := &followed{asked: panel(query, hour, interval), ended: make(chan error, 1)}
		made.stream = &livestream.Stream{
			Base: func(int) string { return of.base }, Client: http.DefaultClient, Range: hour,
			Values: url.Values{"query": {query}, "step": {interval.String()}, "range": {"1h"}},
		}
		go func() { made.ended <- made.stream.Run(ctx) }()
		list = append(list, made)
	}
	t.Cleanup(func() {
		cancel()
		for _, each := range list {
			assert.NoError(t, <-each.ended)
		}
	})
	return list
}

// settled waits until live queries have what the oracle answers, or a warning. The newest two steps may
// have been evaluated before their samples came in: then the next append changes them.
func (w *world) settled(t *testing.T, list []*followed) {
	t.Helper()
	for _, each := range list {
		var state livestream.State
		differs := "nothing has been compared"
		for deadline := time.Now().Add(2 * minute); differs != "" && time.Now().Before(deadline); time.Sleep(time.Second) {
			state = each.stream.State()
			if state.Seen.Appends < 3 {
				continue
			}
			differs = w.liveDifference(t, each, state)
			if state.Seen.Warned > 0 {
				break
			}
		}
		t.Logf("live: %s: %d appends with %d steps, %d of them changed ones; %d updates with a warning, %q; %s", each.asked,
			state.Seen.Appends, state.Seen.Fresh, state.Seen.Changed, state.Seen.Warned, state.Seen.LastWarning, differs)
		if state.Seen.Warned == 0 {
			assert.Empty(t, differs, "live: %s", each.asked)
		}
	}
}

// liveDifference says how what a live query has differs from what the oracle answers.
func (w *world) liveDifference(t *testing.T, of *followed, state livestream.State) string {
	t.Helper()
	last := time.UnixMilli(state.Last).Add(-2 * interval)
	right, err := w.oracle.ask(t.Context(), "query_range", url.Values{
		"query": {of.asked.query}, "start": {seconds(time.UnixMilli(state.First))}, "end": {seconds(last)}, "step": {fmt.Sprint(interval.Seconds())},
	})
	require.NoError(t, err)
	data, err := json.Marshal(state.Matrix)
	require.NoError(t, err)
	got := answer{status: http.StatusOK}
	require.NoError(t, got.read(data))
	for _, points := range got.points {
		maps.DeleteFunc(points, func(at, _ string) bool {
			number, err := strconv.ParseFloat(at, 64)
			return err != nil || number > float64(last.Unix())
		})
	}
	return difference(right, got)
}

// withoutHot stops hot, after which cold answers.
func (w *world) withoutHot(t *testing.T, of *tierproxy, in expected) {
	t.Helper()
	w.stopHot()
	for _, asked := range panels()[:10] {
		end := time.Now().Add(-underWay)
		got, err := of.ask(t.Context(), asked.endpoint, asked.values(end))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status, "%s: %s", asked, got.body)
		require.Equal(t, "cold", got.tier, "%s: %s", asked, got.reason)
		right, err := w.oracle.ask(t.Context(), asked.endpoint, asked.values(end))
		require.NoError(t, err)
		if differs := difference(right, got); len(got.ownWarnings()) == 0 && !in.isOwn(asked) {
			assert.Empty(t, differs, "%s without hot", asked)
		}
	}
}
