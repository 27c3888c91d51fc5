package gateway

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
)

const thresholdsPath = "/api/v1/alert_thresholds"

// ruleFilter says which alerting rules a request for alert thresholds selects. A rule has to
// fit all kinds of conditions, and one condition of each kind. A kind without conditions fits
// all rules.
type ruleFilter struct {
	// alerts and metrics are sets of names.
	alerts, metrics map[string]bool
	// matches are for the labels of a rule, alertname included.
	matches []promql.Selector
}

// parametersOfRules are parameters of the rules endpoint. They would select rules in another way
// at each tier, and the list of all is needed to find duplicates.
var parametersOfRules = []string{"type", "exclude_alerts", "rule_name[]", "rule_group[]", "file[]", "group_limit", "group_next_token"}

// readRuleFilter parses the parameters of a request for alert thresholds. It returns all
// mistakes.
func readRuleFilter(parameters url.Values) (ruleFilter, datasource.ValidationErrors) {
	var mistakes datasource.ValidationErrors
	filter := ruleFilter{alerts: map[string]bool{}, metrics: map[string]bool{}}
	for _, name := range parameters["alert"] {
		if filter.alerts[name] = true; name == "" {
			addMistake(&mistakes, "alert", "is empty: set the name of an alert, or omit the parameter")
		}
	}
	for _, name := range parameters["metric"] {
		if filter.metrics[name] = true; !model.UTF8Validation.IsValidMetricName(name) {
			addMistake(&mistakes, "metric", "%q is not the name of a metric: set one, or omit the parameter", name)
		}
	}
	for _, text := range parameters["match[]"] {
		selector, err := promql.ParseSelector(text)
		switch {
		case err != nil:
			addMistake(&mistakes, "match[]", `%q is not a selector of labels such as {severity="critical"}: %s`, text, strings.Join(promql.ErrorTexts(err, 1), ""))
		case selector.Names(model.MetricNameLabel):
			addMistake(&mistakes, "match[]", `%q names a metric, which rules do not have: select labels, {alertname="…"} for the name of the alert, or use the parameter metric`, text)
		default:
			filter.matches = append(filter.matches, selector)
		}
	}
	for _, name := range parametersOfRules {
		if parameters.Has(name) {
			addMistake(&mistakes, name, "is a parameter of /api/v1/rules: remove it, and select rules by alert, match[] or metric")
		}
	}
	return filter, mistakes
}

// selects reports whether the name and the labels of a rule fit. As in Prometheus, a label whose
// value is a template counts as absent.
func (f *ruleFilter) selects(rule *alertingRule) bool {
	if len(f.alerts) > 0 && !f.alerts[rule.Name] {
		return false
	}
	if len(f.matches) == 0 {
		return true
	}
	set := maps.Clone(rule.Labels)
	if set == nil {
		set = map[string]string{}
	}
	maps.DeleteFunc(set, func(_, value string) bool { return strings.Contains(value, "{{") })
	set[model.AlertNameLabel] = rule.Name
	return slices.ContainsFunc(f.matches, func(selector promql.Selector) bool { return selector.MatchesLabels(set) })
}

// readsOne reports whether a comparison reads one of the metrics.
func (f *ruleFilter) readsOne(metrics []string) bool {
	return len(f.metrics) == 0 || slices.ContainsFunc(metrics, func(name string) bool { return f.metrics[name] })
}

// mentionsOne reports whether an expression that may not be PromQL has the name of one of the
// metrics in its text.
func (f *ruleFilter) mentionsOne(expression string) bool {
	if len(f.metrics) == 0 {
		return true
	}
	for name := range f.metrics {
		if strings.Contains(expression, name) {
			return true
		}
	}
	return false
}

// surelyReadsNone reports whether an expression reads none of the metrics for sure, so that it need
// not be parsed. A name that is not in the text can only be a pattern, or have escapes.
func (f *ruleFilter) surelyReadsNone(expression string) bool {
	return !f.mentionsOne(expression) && !strings.Contains(expression, model.MetricNameLabel) && !strings.Contains(expression, `\`)
}

// serveThresholds responds with the thresholds of alerting rules of all tiers.
func (g *Gateway) serveThresholds(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, path string, caller admission.Caller) {
	started := time.Now()
	end, err := g.core.Begin(promapi.AlertThresholds)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	defer end()
	observed := &telemetry.Writer{ResponseWriter: w}
	defer g.core.Metrics.CountRequest(incoming.Context(), promapi.AlertThresholds, observed)
	query := engine.Query{Caller: caller, DetachOnCancel: true}
	if query.Request, err = promapi.ReadRequest(incoming, promapi.AlertThresholds, path, started); err == nil {
		query, err = g.core.Admit(incoming.Context(), query, resolved, "")
	}
	if err != nil {
		g.failed(observed, incoming, resolved, query.Request, started, err)
		return
	}
	defer query.OnPlanned()
	filter, mistakes := readRuleFilter(query.Request.Parameters)
	if len(mistakes) > 0 {
		writeMistakes(observed, mistakes)
		return
	}
	request := query.Request
	var response *engine.Response
	var deadline time.Time
	if query.Forced, err = choice(incoming.Header.Values(headerChoice)); err == nil {
		query.Request, err = request.ForAlertingRules()
	}
	if err == nil {
		deadline = g.untilAnswered(observed)
		ctx, cancel := context.WithDeadline(incoming.Context(), deadline.Add(-answerGrace))
		defer cancel()
		response, err = g.thresholds(ctx, query, resolved, &filter)
	}
	if err != nil {
		g.failed(observed, incoming, resolved, request, started, err)
		return
	}
	g.stream(observed, incoming, response, resolved, request, started, deadline)
}

// thresholds fetches the rules, and returns the response with their thresholds, or with the
// error of the tier.
func (g *Gateway) thresholds(ctx context.Context, query engine.Query, resolved *resolve.Resolved, filter *ruleFilter) (*engine.Response, error) {
	response, err := g.core.Engine.Do(ctx, query)
	if err != nil || response.Status >= http.StatusMultipleChoices {
		return response, err
	}
	text, err := response.ReadText(ctx)
	if err != nil {
		return nil, err
	}
	list := &thresholdList{
		filter: filter, rule: resolved.Rule, maxLength: g.core.Config.Query.MaxLength, tier: string(response.Tier), acquire: text.Acquire,
		heavy: func() (func(), error) { return g.core.AcquirePlanning(ctx, query.Caller) },
		made:  map[promql.Key]int{}, left: map[promql.Key]bool{},
	}
	err = list.readAll(ctx, text.Bytes)
	if err != nil {
		text.Release()
		return nil, err
	}
	text.Drop()
	if resolved.Rule != nil {
		list.warnings = confinedWarnings(list.warnings, response.Warnings)
	}
	response.Replace(newThresholdBody(list, text.Release))
	return response, nil
}

// warningOfTiers takes the place of warnings of tiers, which may name rules or servers that
// a confined caller must not see.
const warningOfTiers = "a tier answered with warnings, which may be about rules of other namespaces: some rules may be missing"

// confinedWarnings returns those warnings that tierproxy itself has added, and warningOfTiers in
// place of others.
func confinedWarnings(warnings, own []string) []string {
	var kept []string
	for _, warning := range warnings {
		if !slices.Contains(own, warning) && warning != promapi.PartialWarning {
			warning = warningOfTiers
		}
		if !slices.Contains(kept, warning) {
			kept = append(kept, warning)
		}
	}
	return kept
}
