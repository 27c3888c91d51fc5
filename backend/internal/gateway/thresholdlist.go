package gateway

import (
	"bytes"
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

// alertingRule is an alerting rule in an answer of the rules endpoint.
type alertingRule struct {
	Type        string            `json:"type"`
	Name        string            `json:"name"`
	Query       string            `json:"query"`
	Duration    float64           `json:"duration"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// ruleGroup is a group of rules in an answer of the rules endpoint.
type ruleGroup struct {
	Name  string         `json:"name"`
	File  string         `json:"file"`
	Rules []alertingRule `json:"rules"`
	// Tier is absent if one tier has answered. Source are the external labels of the Prometheus,
	// if there are others.
	Tier   string `json:"tier"`
	Source string `json:"source"`
}

// pins returns the external labels of the Prometheus that evaluates the rules; nil if there
// are no others, or if a fan-out server lists the rules of several.
func (g *ruleGroup) pins() map[string]string {
	text, isSet := strings.CutPrefix(g.Source, "{")
	if !isSet {
		return nil
	}
	pins, err := promql.ParseLabels(strings.TrimSuffix(text, "}"))
	if err != nil {
		return nil
	}
	return pins
}

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
	Annotations map[string]string `json:"annotations"`
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

const (
	// rulesFactor is how much memory to acquire for rules while they are read, as a multiple of
	// their JSON: the text, the buffer of the decoder, and one group.
	rulesFactor = 3
	// perThreshold is what a Threshold or a SkippedRule takes besides its texts, in bytes.
	perThreshold = 700
	// heavyRules is the size of an answer from which on reading it counts as costly, in bytes:
	// it takes some milliseconds.
	heavyRules = 256 << 10
)

// thresholdList makes alert thresholds of rules.
type thresholdList struct {
	Thresholds []Threshold
	Skipped    []SkippedRule
	Warnings   []string

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

// readAll reads an answer of the rules endpoint.
func (l *thresholdList) readAll(ctx context.Context, text []byte) error {
	defer func() {
		if l.release != nil {
			l.release()
		}
	}()
	if len(text) >= heavyRules {
		if err := l.takeTurn(); err != nil {
			return err
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	var broken error // of rules that were understood
	err := members(decoder, func(name string) error {
		switch name {
		case "warnings":
			return decoder.Decode(&l.Warnings)
		case "isPartial":
			var isPartial bool
			if err := decoder.Decode(&isPartial); err == nil && isPartial {
				l.Warnings = append(l.Warnings, promapi.PartialWarning)
			}
			return nil
		case "data":
			return members(decoder, func(name string) error {
				if name != "groups" {
					return skipValue(decoder)
				}
				return elements(decoder, func() error {
					var group ruleGroup
					if err := decoder.Decode(&group); err != nil {
						return err
					}
					broken = l.add(ctx, &group)
					return broken
				})
			})
		}
		return skipValue(decoder)
	})
	if broken != nil || err == nil {
		return broken
	}
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorInternal, Message: "the tier's answer is not one of the rules endpoint", Cause: err}
}

// members calls member for the name of each member of the object that the decoder is at. It has
// to decode the value.
func members(decoder *json.Decoder, member func(name string) error) error {
	return within(decoder, '{', func() error {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		return member(name)
	})
}

// elements calls element for each element of the list that the decoder is at, or of null.
func elements(decoder *json.Decoder, element func() error) error {
	return within(decoder, '[', element)
}

func within(decoder *json.Decoder, start json.Delim, next func() error) error {
	token, err := decoder.Token()
	if err != nil || token == nil {
		return err
	}
	if token != start {
		return errNotRules
	}
	for decoder.More() {
		if err := next(); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

func skipValue(decoder *json.Decoder) error {
	var skipped json.RawMessage
	return decoder.Decode(&skipped)
}

var errNotRules = promapi.Errorf(http.StatusBadGateway, promapi.ErrorInternal, "the tier's answer is not one of the rules endpoint")

// takeTurn waits until costly work may go on, once.
func (l *thresholdList) takeTurn() (err error) {
	if l.release == nil {
		l.release, err = l.heavy()
	}
	return err
}

// add adds the thresholds of a group. Rules that the caller may not read leave no trace.
func (l *thresholdList) add(ctx context.Context, group *ruleGroup) error {
	pins := group.pins()
	for i := range group.Rules {
		rule := &group.Rules[i]
		if rule.Type != "alerting" || (l.rule != nil && !l.rule.AllowsRule(rule.Labels)) || !l.filter.selects(rule) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: err, Message: "reading the rules did not end in time: select fewer rules"}
		}
		if err := l.addRule(group, rule, pins); err != nil {
			return err
		}
	}
	return nil
}

// addRule adds the thresholds of a rule.
func (l *thresholdList) addRule(group *ruleGroup, rule *alertingRule, pins map[string]string) error {
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
	for _, comparison := range split.Comparisons {
		if !l.filter.readsOne(comparison.Metrics) {
			continue
		}
		if reason := l.whyHidden(comparison, pins != nil); reason != "" {
			if err := l.skip(group, rule, reason); err != nil {
				return err
			}
			continue
		}
		made := Threshold{
			Alert: rule.Name, Group: group.Name, File: group.File, Title: strings.Join([]string{rule.Name, comparison.Operator, comparison.Shown}, " "),
			Query: rule.Query, Left: comparison.Left, Operator: comparison.Operator, Right: comparison.Right, Metrics: notNil(comparison.Metrics),
			For: rule.Duration, Labels: rule.Labels, Annotations: rule.Annotations, State: rule.State, Tier: group.Tier,
		}
		if made.Tier == "" {
			made.Tier = l.tier
		}
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
func (l *thresholdList) whyHidden(comparison promql.Comparison, hasOthers bool) string {
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
		group.Name, rule.Name, rule.Query, strconv.FormatFloat(rule.Duration, 'g', -1, 64),
		promql.FormatLabels(rule.Labels), promql.FormatLabels(rule.Annotations),
	}
}

// push adds a threshold, or joins it with the same one of another server.
func (l *thresholdList) push(key promql.Key, made Threshold) error {
	if at, isKnown := l.made[key]; isKnown {
		known := &l.Thresholds[at]
		if slices.Index(states, made.State) < slices.Index(states, known.State) {
			known.State = made.State
		}
		known.Tier = joinTiers(known.Tier, made.Tier)
		return nil
	}
	size := perThreshold + len(made.Alert) + len(made.Title) + len(made.Query)
	for _, set := range []map[string]string{made.Labels, made.Annotations} {
		for name, value := range set {
			size += len(name) + len(value) + 64
		}
	}
	if err := l.acquire(int64(size)); err != nil {
		return err
	}
	l.made[key] = len(l.Thresholds)
	l.Thresholds = append(l.Thresholds, made)
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
	key := promql.KeyOf(group.Name, rule.Name, rule.Query, reason)
	if l.left[key] {
		return nil
	}
	if err := l.acquire(int64(perThreshold + len(rule.Query) + len(reason))); err != nil {
		return err
	}
	l.left[key] = true
	l.Skipped = append(l.Skipped, SkippedRule{Alert: rule.Name, Group: group.Name, Query: rule.Query, Reason: reason})
	return nil
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
