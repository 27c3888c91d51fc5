package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// Threshold is one comparison of an alerting rule: see docs/alert-thresholds.md.
type Threshold struct {
	Alert    string `json:"alert"`
	Group    string `json:"group"`
	File     string `json:"file"`
	Title    string `json:"title"`
	Query    string `json:"query"`
	Left     string `json:"left"`
	Operator string `json:"operator"`
	// Right is the threshold, in PromQL that a range query can evaluate.
	Right string `json:"right"`
	// Metrics are those that the comparison reads.
	Metrics []string `json:"metrics"`
	// For is how long the comparison has to be true before the alert fires, in seconds.
	For         float64           `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations json.RawMessage   `json:"annotations"`
	State       string            `json:"state"`
	Tier        string            `json:"tier"`
}

// SkippedRule is an alerting rule, a part of which is no threshold.
type SkippedRule struct {
	Alert  string `json:"alert"`
	Group  string `json:"group"`
	Query  string `json:"query"`
	Reason string `json:"reason"`
}

// What an answer takes in memory besides its texts, in bytes: see
// TestThresholds_TakeNoMoreMemoryThanIsAcquired.
const (
	perRule      = 600 // with a map
	perLabel     = 64
	perThreshold = 450 // with its comparison, and its entry in a map
	// heavyRules is the size of an answer from which on reading it counts as costly, in bytes:
	// it takes some milliseconds.
	heavyRules = 256 << 10
)

// threshold is a comparison of a rule. The rule is shared by all its comparisons.
type threshold struct {
	group      *ruleGroup
	rule       *alertingRule
	comparison *promql.Comparison
	// state and tier are those of all servers that have the same rule.
	state, tier string
}

// view returns the threshold as it goes out.
func (t *threshold) view() *Threshold {
	view := &Threshold{
		Alert: t.rule.Name, Group: t.group.name, File: t.group.file, Title: strings.Join([]string{t.rule.Name, t.comparison.Operator, t.comparison.Shown}, " "),
		Query: t.rule.Query, Left: t.comparison.Left, Operator: t.comparison.Operator, Right: t.comparison.Right, Metrics: t.comparison.Metrics,
		For: t.rule.Duration, Labels: t.rule.Labels, Annotations: t.rule.Annotations, State: t.state, Tier: t.tier,
	}
	if view.Metrics == nil {
		view.Metrics = []string{}
	}
	if view.Labels == nil {
		view.Labels = map[string]string{}
	}
	if view.Annotations == nil || string(view.Annotations) == "null" {
		view.Annotations = json.RawMessage(`{}`)
	}
	return view
}

// thresholdList makes alert thresholds of rules.
type thresholdList struct {
	thresholds []threshold
	skipped    []SkippedRule
	warnings   []string

	filter *ruleFilter
	// rule says which rules the caller may read; nil for all.
	rule      *enforcement.Rule
	maxLength int
	// tier is the tier of groups that name none.
	tier string
	// acquire acquires memory, in bytes.
	acquire func(bytes int64) error
	// heavy waits for a turn of costly work.
	heavy   func() (release func(), err error)
	release func()
	// made are the thresholds by what identifies them, and left the rules that were skipped.
	made map[promql.Key]int
	left map[promql.Key]bool
}

// takeTurn waits until costly work may go on, once.
func (l *thresholdList) takeTurn() (err error) {
	if l.release == nil {
		l.release, err = l.heavy()
	}
	return err
}

// add adds the thresholds of a group.
func (l *thresholdList) add(ctx context.Context, group *ruleGroup) error {
	if group.tier == "" {
		group.tier = l.tier
	}
	pins := group.pins()
	for _, rule := range group.rules {
		if err := ctx.Err(); err != nil {
			return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: err, Message: "reading the rules did not end in time: select fewer rules"}
		}
		if err := l.addRule(group, rule, pins); err != nil {
			return err
		}
	}
	group.rules = nil
	return nil
}

// addRule adds the thresholds of a rule.
func (l *thresholdList) addRule(group *ruleGroup, rule *alertingRule, pins map[string]string) error {
	if l.filter.surelyReadsNone(rule.Query) {
		return nil
	}
	var split promql.Split
	isCostly, err := promql.Check(l.maxLength, rule.Query)
	if err == nil && isCostly {
		if err := l.takeTurn(); err != nil {
			return err
		}
	}
	if err == nil {
		shown := pins
		if l.rule != nil {
			shown = nil // External labels are hidden from confined callers.
		}
		split = promql.Thresholds(rule.Query, shown)
	} else {
		split.Reasons = []string{"tierproxy does not parse the expression: " + err.Error()}
	}
	identity := identityOf(group, rule)
	for i := range split.Comparisons {
		comparison := &split.Comparisons[i]
		if !l.filter.readsOne(comparison.Metrics) {
			continue
		}
		if reason := l.whyHidden(comparison, pins != nil); reason != "" {
			if err := l.skip(group, rule, reason); err != nil {
				return err
			}
			continue
		}
		made := threshold{group: group, rule: rule, comparison: comparison, state: rule.State, tier: group.tier}
		if err := l.push(promql.KeyOf(append(identity, comparison.Left, comparison.Operator, comparison.Right)...), made); err != nil {
			return err
		}
	}
	for _, reason := range split.Reasons {
		isSelected := l.filter.readsOne(split.Metrics)
		if len(split.Metrics) == 0 {
			isSelected = l.filter.mentionsOne(rule.Query)
		}
		if isSelected {
			if err := l.skip(group, rule, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// whyHidden returns why a confined caller would get other values for a threshold than those that
// the rule compares with; empty if they are the same. hasOthers is set if there are series of
// other clusters.
func (l *thresholdList) whyHidden(comparison *promql.Comparison, hasOthers bool) string {
	switch {
	case l.rule == nil || !comparison.ReadsSeries:
		return ""
	case hasOthers:
		return "the threshold " + comparison.Shown + " is read from series, and the datasource has series of several clusters, which your permissions do not tell apart"
	case !l.rule.Covers(comparison.Right):
		return "the threshold " + comparison.Shown + " may be read from series that you may not see: select them by " + l.rule.Label() + " in the rule"
	}
	return ""
}

// identityOf returns the texts that two rules have in common if they are the same rule of two
// servers, whose files may have other names.
func identityOf(group *ruleGroup, rule *alertingRule) []string {
	return []string{
		group.name, rule.Name, rule.Query, strconv.FormatFloat(rule.Duration, 'g', -1, 64), promql.FormatLabels(rule.Labels),
	}
}

// push adds a threshold, or joins it with the same one of another server.
func (l *thresholdList) push(key promql.Key, made threshold) error {
	if at, isKnown := l.made[key]; isKnown {
		known := &l.thresholds[at]
		if slices.Index(states, made.state) < slices.Index(states, known.state) {
			known.state = made.state
		}
		known.tier = joinTiers(known.tier, made.tier)
		return nil
	}
	size := perThreshold + len(made.comparison.Left) + len(made.comparison.Right) + len(made.comparison.Shown)
	if err := l.acquire(int64(size)); err != nil {
		return err
	}
	kept := *made.comparison // Without the other comparisons of its expression.
	made.comparison = &kept
	l.made[key] = len(l.thresholds)
	l.thresholds = append(l.thresholds, made)
	return nil
}

// states are the states of a rule, the most severe one first. Others come before them.
var states = []string{"firing", "pending", "inactive", "unknown"}

// joinTiers returns the tiers of two lists such as "hot,cold".
func joinTiers(one, other string) string {
	list := strings.Split(one, ",")
	for name := range strings.SplitSeq(other, ",") {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// skip adds a rule to those that were skipped.
func (l *thresholdList) skip(group *ruleGroup, rule *alertingRule, reason string) error {
	key := promql.KeyOf(group.name, rule.Name, rule.Query, reason)
	if l.left[key] {
		return nil
	}
	if err := l.acquire(int64(perThreshold + len(reason))); err != nil {
		return err
	}
	l.left[key] = true
	l.skipped = append(l.skipped, SkippedRule{Alert: rule.Name, Group: group.name, Query: rule.Query, Reason: reason})
	return nil
}
