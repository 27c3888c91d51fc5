//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const hotRules = `groups:
  - name: of hot
    interval: 1s
    rules:
      - {record: one, expr: vector(1)}
      - {alert: HotFires, expr: 'vector(1) > 0', labels: {severity: page}, annotations: {summary: It always does.}}
      - {alert: HotIsQuiet, expr: 'vector(0) > 0'}
`

const rulerRules = `groups:
  - name: of the ruler
    interval: 1s
    rules:
      - {alert: RulerFires, expr: 'vector(1) > 0', labels: {severity: ticket}}
`

// ruleTiers are real servers with rules: a Prometheus, and a Thanos Ruler.
type ruleTiers struct {
	hot            *stack.Server
	sidecar, ruler *stack.ThanosPart
	thanos         stack.Thanos
}

// startRuleTiers starts a Prometheus with rules, the sidecar beside it, and a
// ruler with other rules.
func startRuleTiers(t *testing.T, hotRules, rulerRules string) *ruleTiers {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	s := &ruleTiers{thanos: stack.Thanos{Dir: dir}}
	data := filepath.Join(dir, "hot")
	var err error
	s.hot, err = stack.Prometheus{
		Name: "hot", Dir: dir, Data: data, Retention: "1d", ScrapeItself: true, RuleFiles: []string{write("hot-rules.yaml", hotRules)},
		Global: map[string]any{"external_labels": document{externalLabel: "e2e"}},
	}.Start(t.Context(), shared.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.hot.Stop() })
	part := func(name string, arguments ...string) *stack.ThanosPart {
		started, err := s.thanos.StartPart(t.Context(), shared.thanosPath, name, arguments...)
		require.NoError(t, err)
		t.Cleanup(started.Kill)
		return started
	}
	s.sidecar = part("sidecar", "--tsdb.path", data, "--prometheus.url", s.hot.URL)
	s.ruler = part("rule", "--data-dir", filepath.Join(dir, "rule"), "--rule-file", write("ruler-rules.yaml", rulerRules),
		"--label", `ruler="one"`, "--query", s.hot.URL, "--eval-interval", "1s")
	return s
}

// query starts a Thanos Query over the blocks that hot has uploaded, as it were,
// and some of the parts.
func (s *ruleTiers) query(t *testing.T, parts ...*stack.ThanosPart) *stack.ThanosPart {
	t.Helper()
	arguments := []string{"--endpoint", shared.cold.StoreAddress()}
	for _, each := range parts {
		arguments = append(arguments, "--endpoint", each.GRPC)
	}
	started, err := s.thanos.StartPart(t.Context(), shared.thanosPath, "query", arguments...)
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	return started
}

// toldRules is what a caller learns of rules and alerts through Perses.
type toldRules struct {
	// tiers holds who tells of a group or an alert, by its name.
	Groups, Alerts map[string]string
	// Clusters are the external labels of the alerts.
	Clusters map[string]string
	// Active are the alerts of each rule.
	Active map[string]int
}

func askRules(t *testing.T, s *site) toldRules {
	t.Helper()
	base := s.perses.URL + "/proxy/globaldatasources/metrics"
	told := toldRules{Groups: map[string]string{}, Alerts: map[string]string{}, Clusters: map[string]string{}, Active: map[string]int{}}
	var rules struct {
		Data struct {
			Groups []struct {
				Name, Tier string
				Rules      []struct {
					Name   string
					Type   string
					State  string
					Alerts []json.RawMessage
				}
			}
		}
	}
	got := mustDo(t, call{base: base, endpoint: "rules"})
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.NoError(t, json.Unmarshal(got.body, &rules))
	for _, group := range rules.Data.Groups {
		told.Groups[group.Name] = group.Tier
		for _, rule := range group.Rules {
			if rule.Type == "alerting" {
				told.Active[rule.Name] = len(rule.Alerts)
			}
		}
	}
	var alerts struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
				Tier   string
			}
		}
	}
	got = mustDo(t, call{base: base, endpoint: "alerts"})
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.NoError(t, json.Unmarshal(got.body, &alerts))
	for _, each := range alerts.Data.Alerts {
		if each.State != "firing" {
			continue
		}
		name := each.Labels["alertname"]
		require.NotContains(t, told.Alerts, name, "each alert is there once: %s", got.body)
		told.Alerts[name] = each.Tier
		told.Clusters[name] = each.Labels[externalLabel]
	}
	return told
}

// TestRules_OfBothTiersAreOneList reads rules and alerts of a real Prometheus and a
// real Thanos Ruler through Perses. Each names its tier, and those of both occur
// once.
func TestRules_OfBothTiersAreOneList(t *testing.T) {
	tiers := startRuleTiers(t, hotRules, rulerRules)
	for name, test := range map[string]struct {
		parts          []*stack.ThanosPart
		groups, alerts map[string]string
	}{
		"Thanos has rules of its own": {
			parts:  []*stack.ThanosPart{tiers.ruler},
			groups: map[string]string{"of hot": "hot", "of the ruler": "cold"},
			alerts: map[string]string{"HotFires": "hot", "RulerFires": "cold"},
		},
		"Thanos has those of hot too, by its sidecar": {
			parts:  []*stack.ThanosPart{tiers.ruler, tiers.sidecar},
			groups: map[string]string{"of hot": "hot,cold", "of the ruler": "cold"},
			alerts: map[string]string{"HotFires": "hot,cold", "RulerFires": "cold"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cold := tiers.query(t, test.parts...)
			s := newSite(t, stack.Perses{}, document{"hot": document{"url": tiers.hot.URL}, "cold": document{"url": cold.URL}})
			s.login()
			s.apply(s.global("metrics", nil))
			expected := toldRules{
				Groups: test.groups, Alerts: test.alerts,
				Clusters: map[string]string{"HotFires": "e2e", "RulerFires": ""}, // Alerts of hot carry its external labels.
				Active:   map[string]int{"HotFires": 1, "HotIsQuiet": 0, "RulerFires": 1},
			}
			// Rules are evaluated, and the tiers are learned, in the background.
			var told toldRules
			for deadline := time.Now().Add(minute); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
				if told = askRules(t, s); assert.ObjectsAreEqual(expected, told) {
					break
				}
			}
			require.Equal(t, expected, told)
		})
	}
}
