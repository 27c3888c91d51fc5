package targetholes

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// question is a question and what answers it.
type question struct {
	query     string
	span, ago time.Duration
	// tier, replica and reason are empty where any is right.
	tier, replica, reason string
}

// requireAnswers asks questions, and requires answers that equal those of one Prometheus with all
// samples, without a warning.
func (s *setup) requireAnswers(t *testing.T, questions []question) {
	t.Helper()
	for _, asked := range questions {
		t.Run(fmt.Sprintf("%s over %s, %s ago", asked.query, asked.span, asked.ago), func(t *testing.T) {
			expected := s.askWhole(t, asked.query, asked.span, asked.ago)
			s.requireRoute(t, asked, func(got *answer) {
				require.Empty(t, got.warnings)
				require.Equal(t, expected.data, got.data, "%s for %s", got.tier, got.reason)
			})
		})
	}
}

// requireRoute asks a question until the right server answers, because the first answers may not wait for all
// that there is to know. Each answer is checked.
func (s *setup) requireRoute(t *testing.T, asked question, check func(*answer)) {
	t.Helper()
	var got *answer
	for range 100 {
		got = s.ask(t, asked.query, asked.span, asked.ago)
		check(got)
		if asked.isAnsweredBy(got) {
			return
		}
	}
	require.Failf(t, "another server answers", "%s: %s %s for %s, expected %+v", asked.query, got.tier, got.replica, got.reason, asked)
}

func (q *question) isAnsweredBy(got *answer) bool {
	isRight := func(expected, got string) bool { return expected == "" || expected == got }
	return isRight(q.tier, got.tier) && isRight(q.replica, got.replica) && isRight(q.reason, got.reason)
}

// kinds are the ways in which a target is not scraped.
var kinds = map[string]bool{"up is 0": false, "up is missing": true}

// inHole are questions of which each reads what is missing.
func inHole(answering, replica, reason string) []question {
	return []question{
		{"count(demo_temp)", 14 * minute, 22 * minute, answering, replica, reason},
		{"sum(rate(demo_requests_total[2m]))", 10 * minute, 25 * minute, answering, replica, reason},
		{"sum(rate(demo_requests_total[2m]))", 0, 30 * minute, answering, replica, reason},
		{"sum by (instance) (demo_temp offset 25m)", 10 * minute, 0, answering, replica, reason},
		{`count({job="node",__name__=~"demo_.*"})`, 0, 35 * minute, answering, replica, reason},
	}
}

// beside are questions that do not read what is missing.
func beside(answering, replica string) []question {
	return []question{
		{"count(demo_temp)", 10 * minute, 0, answering, replica, ""},
		{"count(demo_temp)", 10 * minute, 45 * minute, answering, replica, ""},
		{`sum by (instance) (demo_temp{instance="0"})`, 14 * minute, 22 * minute, answering, replica, ""},
		{`sum(rate(demo_requests_total{instance!="7"}[2m]))`, 0, 30 * minute, answering, replica, ""},
		{`sum by (instance) (demo_temp{job="other"})`, 0, 30 * minute, answering, replica, ""},
		{"sum(db_size)", 14 * minute, 22 * minute, answering, replica, ""},
		{"count(demo_temp) - count(demo_temp offset 1h)", 0, 0, answering, replica, ""},
	}
}

// Case 18, with either replica first, and with and without a cold tier.
func TestHole_TheOtherReplicaAnswers(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	for name, isMissing := range kinds {
		t.Run(name, func(t *testing.T) {
			whole, holed := w.start(t, nil), w.start(t, nil, down(isMissing))
			for name, cold := range map[string]string{"no cold": "", "cold has all": w.whole, "cold lacks the same": w.start(t, external, down(isMissing))} {
				t.Run(name, func(t *testing.T) {
					w.setup(t, cold, holed, whole).requireAnswers(t, append(inHole("hot", "prometheus-1", ""), beside("hot", "")...))
					w.setup(t, cold, whole, holed).requireAnswers(t, append(inHole("hot", "prometheus-0", ""), beside("hot", "")...))
				})
			}
		})
	}
}

// Without another replica, cold answers if it has what hot lacks.
func TestHole_ColdAnswers(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	for name, isMissing := range kinds {
		t.Run(name, func(t *testing.T) {
			s := w.setup(t, w.whole, w.start(t, nil, down(isMissing)))
			s.requireAnswers(t, append(inHole("cold", "", "older-than-hot"), beside("hot", "")...))
		})
	}
}

// Both replicas have a hole at the same time, of different targets.
func TestHole_NoReplicaIsWhole(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	other := down(false)
	other.instance = "6"
	s := w.setup(t, w.whole, w.start(t, nil, down(false)), w.start(t, nil, other))
	s.requireAnswers(t, append(inHole("cold", "", "older-than-hot"),
		question{`sum by (instance) (demo_temp{instance="6"})`, 14 * minute, 22 * minute, "hot", "prometheus-0", ""},
		question{`sum by (instance) (demo_temp{instance="7"})`, 14 * minute, 22 * minute, "hot", "prometheus-1", ""}))
	// Without cold, an answer has a warning that names the target and the stretch.
	s = w.setup(t, "", w.start(t, nil, down(false)), w.start(t, nil, other))
	got := s.ask(t, "count(demo_temp)", 14*minute, 22*minute)
	require.Len(t, got.warnings, 1)
	require.Regexp(t, `^the hot tier answered, which has no samples of the target {instance="[67]", job="node"} between `, got.warnings[0])
}

// Nobody has what hot lacks: nothing is missing elsewhere, and hot stays.
func TestHole_NobodyHasIt(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	requireHot := func(t *testing.T, s *setup) {
		t.Helper()
		for _, asked := range inHole("hot", "", "below-threshold") {
			s.requireRoute(t, asked, func(got *answer) { require.Empty(t, got.warnings) })
		}
	}
	for name, isMissing := range kinds {
		t.Run(name, func(t *testing.T) {
			holed, another := w.start(t, nil, down(isMissing)), w.start(t, nil, down(isMissing))
			cold := w.start(t, external, down(isMissing))
			t.Run("only hot scrapes", func(t *testing.T) { requireHot(t, w.setup(t, cold, holed)) })
			t.Run("both replicas", func(t *testing.T) { requireHot(t, w.setup(t, cold, holed, another)) })
		})
	}
	t.Run("a target that is down for good", func(t *testing.T) {
		gone := outage{instance: "7", from: 10 * hour, to: -hour}
		requireHot(t, w.setup(t, w.start(t, external, gone), w.start(t, nil, gone), w.start(t, nil, gone)))
	})
}

// A target that is down now, at one of two replicas.
func TestHole_WithoutAnEnd(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	now := outage{instance: "7", from: 10 * minute, to: -hour}
	list := []question{
		{"count(demo_temp)", 0, 0, "hot", "prometheus-1", ""}, {"count(demo_temp)", 5 * minute, 0, "hot", "prometheus-1", ""},
		{"count(demo_temp)", 5 * minute, 20 * minute, "hot", "", ""},
	}
	w.setup(t, "", w.start(t, nil, now), w.start(t, nil)).requireAnswers(t, list)
	w.setup(t, w.whole, w.start(t, nil, now)).requireAnswers(t, []question{{"count(demo_temp)", 5 * minute, 0, "cold", "", "older-than-hot"}})
}

// A query that may be cut is cut at the hole.
func TestHole_IsCutOut(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	s := w.setupOf(t, tier.StrategySplit, w.whole, w.start(t, nil, down(false)))
	s.requireAnswers(t, []question{
		{"count(demo_temp)", 50 * minute, 5 * minute, "hot,cold", "", "split"},
		{"count(demo_temp)", 3 * hour, 0, "hot,cold", "", "split"},
		{"sum(db_size)", 14 * minute, 22 * minute, "hot", "", "below-threshold"},
	})
}

// More targets than are told apart are down at once: all of the server counts as missing for that time,
// if there is a server that scraped more of them.
func TestHole_OfTooManyTargets(t *testing.T) {
	var many []string
	var outages []outage
	for i := range 1010 {
		many = append(many, fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250))
		outages = append(outages, outage{instance: many[i], from: 30 * minute, to: 25 * minute})
	}
	w := newWorld(t, 70*minute, many...)
	list := []question{
		{"count(demo_temp)", 0, 27 * minute, "hot", "prometheus-1", ""}, {`sum(rate(demo_requests_total{instance="10.0.0.1:9100"}[2m]))`, 0, 27 * minute, "hot", "prometheus-1", ""},
		{"count(demo_temp)", 0, 65 * minute, "hot", "", ""},
	}
	holed := w.start(t, nil, outages...)
	w.setup(t, "", holed, w.start(t, nil)).requireAnswers(t, list)
	s := w.setup(t, "", holed, w.start(t, nil, outages...))
	require.Eventually(t, func() bool { return len(s.ask(t, "count(demo_temp)", 0, 27*minute).warnings) == 0 }, 30*time.Second, 10*time.Millisecond)
}
