//go:build e2e

package stores

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// low and high are the thresholds.
	low, high = 15 * minute, 6 * hour
	// settles is how long a gateway learns what it was asked for, and how long samples are under way.
	settles = 10 * time.Second
	// underWay is how old the newest samples are that all tiers have.
	underWay = 45 * time.Second
	// mostShown bounds the wrong answers of a round that are shown.
	mostShown = 5
)

// expected is what has to hold in a world.
type expected struct {
	name  string
	start func(*testing.T) *world
	// kinds are the kinds of hot and cold that health names.
	kinds [2]string
	// completeness is how it is known what cold has, or the beginning of that.
	completeness string
	// answeredByHot are at least how many of the 60 questions hot answers alone, by the threshold, without cuts.
	answeredByHot [2]int
	// own are parts of questions that the store itself answers in its own way, and why.
	own map[string]string
	// ownPromQL is set for a world with a store whose PromQL is another language.
	ownPromQL bool
}

func worlds() []expected {
	thanos := map[string]string{
		"jobs_processed_total": "Thanos corrects counter resets while it deduplicates, so that the value after one is not zero",
		"labels of wide":       "Thanos lists replica labels although it removes them from series",
	}
	return []expected{
		{name: "Prometheus hot, Prometheus cold", kinds: [2]string{"Prometheus", "Prometheus"}, start: ofPrometheus("prometheus", "prometheus"), completeness: "assumed", answeredByHot: [2]int{17, 40}},
		{name: "Prometheus 2.42 hot, Prometheus cold", kinds: [2]string{"Prometheus", "Prometheus"}, start: ofPrometheus("prometheus-2.42", "prometheus"), completeness: "assumed", answeredByHot: [2]int{17, 40}},
		{name: "Prometheus hot, Prometheus 2.42 cold", kinds: [2]string{"Prometheus", "Prometheus"}, start: ofPrometheus("prometheus", "prometheus-2.42"), completeness: "assumed", answeredByHot: [2]int{17, 40}},
		{name: "Prometheus hot, Cortex cold", kinds: [2]string{"Prometheus", "Cortex"}, start: coldCortex, completeness: "learned", answeredByHot: [2]int{15, 35}},
		{name: "Prometheus hot, Thanos Receive cold", kinds: [2]string{"Prometheus", "Thanos Query over receivers"}, start: coldReceive, completeness: "learned", answeredByHot: [2]int{15, 35}, own: thanos},
		{name: "Thanos Query hot, Thanos Query cold", kinds: [2]string{"Thanos Query", "Thanos Query"}, start: ofThanosQueries, completeness: "learned", answeredByHot: [2]int{15, 35}, own: thanos},
		{name: "Prometheus hot, VictoriaMetrics cold", kinds: [2]string{"Prometheus", "VictoriaMetrics"}, start: coldVictoriaMetrics, completeness: "learned", answeredByHot: [2]int{15, 35}, ownPromQL: true},
		{name: "VictoriaMetrics hot, Prometheus cold", kinds: [2]string{"VictoriaMetrics", "Prometheus"}, start: hotVictoriaMetrics, completeness: "assumed", answeredByHot: [2]int{15, 35}, ownPromQL: true},
	}
}

// TestStores_AnswersEqualOnePrometheus asks 60 questions of dashboards in each world.
func TestStores_AnswersEqualOnePrometheus(t *testing.T) {
	require.Len(t, questions(), 60)
	for _, each := range worlds() {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel() // It waits most of the time.
			w := each.start(t)
			w.hot.upTo(t, time.Now().Add(-underWay))
			w.cold.upTo(t, time.Now().Add(-underWay))
			t.Log(each.name, w.direct(t))
			live := w.follow(t)
			var last *tierproxy
			for i, threshold := range []time.Duration{low, high} {
				routed := w.gateway(t, threshold, func(settings *config.Config) {
					settings.Routing.Strategy, settings.Cache.Enabled = string(tier.StrategyRoute), false
				})
				w.judge(t, routed, "first asked", each)
				w.awaitCoverage(t, routed)
				time.Sleep(settles)
				counted := w.judge(t, routed, fmt.Sprintf("threshold %s, routed", threshold), each)
				assert.GreaterOrEqual(t, counted.byTier["hot"], each.answeredByHot[i], "hot answers too little: %s", counted)
				byDefault := w.gateway(t, threshold, nil)
				for _, round := range []string{"first asked by default", "by default", "again by default"} {
					w.judge(t, byDefault, fmt.Sprintf("threshold %s, %s", threshold, round), each)
					time.Sleep(settles)
				}
				last = byDefault
			}
			w.health(t, last, each)
			w.besides(t, last)
			w.confined(t)
			w.settled(t, live)
			w.withoutHot(t, last, each)
		})
	}
}

// tally counts answers.
type tally struct {
	name                                string
	asked, equal, asStore, warned, kept int
	own, wrong                          int
	byTier                              map[string]int
	reasons                             map[string]int
	warnedEqual                         int
}

// String is a line of a report.
func (c *tally) String() string {
	return fmt.Sprintf("%s: %d questions, answered by %v, equal to the oracle %d, to the store itself %d, with a warning %d (%d of them equal), partly kept %d, in the store's own way %d, wrong without a warning %d; %v",
		c.name, c.asked, c.byTier, c.equal, c.asStore, c.warned, c.warnedEqual, c.kept, c.own, c.wrong, c.reasons)
}

// direct says how many answers of the tiers themselves equal the oracle's.
func (w *world) direct(t *testing.T) string {
	t.Helper()
	equal := map[string]int{}
	end := w.now
	for _, asked := range questions() {
		right, err := w.oracle.ask(t.Context(), asked.endpoint, asked.values(end))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, right.status, "%s: %s", asked, right.why)
		for name, each := range map[string]server{"hot": w.hot, "cold": w.cold} {
			got, err := each.ask(t.Context(), asked.endpoint, asked.values(end))
			require.NoError(t, err)
			differs := difference(right, got)
			if differs == "" {
				equal[name]++
			} else if name == "cold" {
				t.Logf("cold itself: %s\n      %s", asked, differs)
			}
		}
	}
	return fmt.Sprintf("asked directly, hot equals the oracle in %d and cold in %d of 60", equal["hot"], equal["cold"])
}

// judge asks the gateway all questions, and fails for an answer that differs from the oracle's and
// has no warning.
func (w *world) judge(t *testing.T, of *tierproxy, name string, in expected) *tally {
	t.Helper()
	counted := &tally{name: in.name + ", " + name, byTier: map[string]int{}, reasons: map[string]int{}}
	end := time.Now().Add(-underWay).Truncate(interval)
	var (
		mutex   sync.Mutex
		running errgroup.Group
	)
	running.SetLimit(4)
	for _, asked := range questions() {
		running.Go(func() error {
			values := asked.values(end)
			right, err := w.oracle.ask(t.Context(), asked.endpoint, values)
			if err != nil {
				return err
			}
			got, err := of.ask(t.Context(), asked.endpoint, values)
			if err != nil {
				return err
			}
			byStore, err := w.ofTier(got).ask(t.Context(), asked.endpoint, values)
			if err != nil {
				return err
			}
			mutex.Lock()
			defer mutex.Unlock()
			differs := counted.add(right, got, byStore)
			if w.secret != "" && strings.Contains(got.body, w.secret) {
				t.Errorf("%s: %s shows what another tenant has", name, asked)
			}
			switch {
			case differs == "" || len(got.ownWarnings()) > 0:
			case in.isOwn(asked) && w.asPieces(byStore, got):
				counted.own++
			default:
				if counted.wrong++; counted.wrong > mostShown {
					return nil
				}
				t.Errorf("%s: %s\n      by %s for %s, warnings %q:\n      %s\n      the store itself: %s",
					name, asked, got.tier, got.reason, got.warnings, differs, difference(right, byStore))
			}
			if differs != "" && in.ownPromQL && !strings.Contains(got.tier, ",") && difference(byStore, got) != "" {
				t.Errorf("%s: %s\n      by %s for %s is not what the store itself answers: %s", name, asked, got.tier, got.reason, difference(byStore, got))
			}
			return nil
		})
	}
	require.NoError(t, running.Wait())
	t.Log(counted)
	assert.Zero(t, counted.wrong, "%s: answers are wrong without a warning", name)
	return counted
}

// isOwn reports whether a store may answer a question in its own way.
func (e expected) isOwn(asked question) bool {
	for part := range e.own {
		if strings.Contains(asked.String(), part) {
			return true
		}
	}
	return false
}

// asPieces reports whether an answer is what the store itself answers. Of an answer that was cut, it is
// not known which steps are of which tier.
func (w *world) asPieces(byStore, got answer) bool {
	return strings.Contains(got.tier, ",") || difference(byStore, got) == ""
}

// ofTier returns the server that is asked for what a tier has answered.
func (w *world) ofTier(got answer) server {
	if got.tier == string(tier.Hot) {
		return w.hot
	}
	return w.cold
}

// add counts an answer, and returns how it differs from the right one.
func (c *tally) add(right, got, byStore answer) (differs string) {
	c.asked++
	c.byTier[got.tier]++
	c.reasons[got.reason]++
	if got.fromCache {
		c.kept++
	}
	differs = difference(right, got)
	if differs == "" {
		c.equal++
	}
	if difference(byStore, got) == "" {
		c.asStore++
	}
	if len(got.ownWarnings()) > 0 {
		c.warned++
		if differs == "" {
			c.warnedEqual++
		}
	}
	return differs
}
