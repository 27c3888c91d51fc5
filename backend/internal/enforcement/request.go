package enforcement

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// Confinement is what a request was confined to.
type Confinement struct {
	// Values are those of the label that the request may read.
	Values []string
	// ReadsNothing is set when none of the series that the request selects has one
	// of them, so that its answer is empty whatever the tiers hold.
	ReadsNothing bool
}

// storeMatch[] is in none of them: it selects stores by their external labels,
// which the selectors do not confine.
var (
	evaluation = []string{"query", "time", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats", "engine",
		"dedup", "partial_response", "max_source_resolution", replicaLabels}
	selection = []string{"match[]", "start", "end", "limit", "dedup", "partial_response", replicaLabels}
)

// replicaLabels are labels that the tier removes from its answer.
const replicaLabels = "replicaLabels[]"

// parameters are those that are known to change nothing about which series the
// answer of an endpoint depends on. Whatever else a server knows could reach past
// the selectors.
var parameters = map[promapi.Endpoint][]string{
	promapi.Query:          evaluation,
	promapi.QueryRange:     evaluation,
	promapi.QueryExemplars: {"query", "start", "end", "partial_response"},
	promapi.Series:         selection,
	promapi.Labels:         selection,
	promapi.LabelValues:    selection,
	promapi.FormatQuery:    {"query"},
	promapi.ParseQuery:     {"query"},
	// These select rules, of which AllowsRule leaves those that may be read.
	promapi.AlertThresholds: {"alert", "match[]", "metric", "dedup", "partial_response", replicaLabels},
}

// buildInfo is the one path below status that says nothing about data.
const buildInfo = "/api/v1/status/buildinfo"

// Confine returns the request confined to what the rule allows, and what that
// means for it. The request is written anew from its parameters, so that nothing
// reaches a tier that was not understood here.
//
// It returns an Error with status 403 for an endpoint that cannot be confined,
// 400 for a parameter that is not known to be harmless, and the errors of query.
func (r *Rule) Confine(request *promapi.Request) (*promapi.Request, Confinement, error) {
	how := request.Endpoint.Traits().Confinement
	if request.Endpoint == promapi.StatusInfo && request.Path == buildInfo {
		how = promapi.NothingConfine
	}
	confinement, changed := Confinement{Values: r.values}, url.Values{}
	maps.Copy(changed, request.Parameters)
	err := r.checkParameters(request.Parameters, parameters[request.Endpoint])
	switch {
	case how != promapi.NothingConfine && how != promapi.ConfineQuery && how != promapi.ConfineMatch && how != promapi.ConfineRules:
		err = promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden, "%s is refused: its answer cannot be confined to %s", request.Path, r)
	case err != nil:
	case how == promapi.ConfineQuery:
		var query string
		query, confinement.ReadsNothing, err = r.query(changed.Get("query"))
		changed["query"] = []string{query}
	case how == promapi.ConfineMatch:
		changed["match[]"], confinement.ReadsNothing, err = r.matches(changed["match[]"])
	}
	if err != nil {
		return nil, Confinement{}, err
	}
	return request.Only(changed), confinement, nil
}

// checkParameters refuses what is not known to leave the selectors alone.
func (r *Rule) checkParameters(parameters url.Values, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if !slices.Contains(known, name) {
			return promapi.BadData("invalid parameter %q: remove it, it is not known whether the request can be confined to %s with it", name, r)
		}
	}
	if slices.Contains(parameters[replicaLabels], r.label) {
		return promapi.BadData("invalid parameter %q: the request is confined by the label %s, which must not be removed", replicaLabels, r.label)
	}
	return nil
}

// matches confines the selectors of match[]. None at all means every series. isEmpty
// is set when they match nothing that is allowed.
func (r *Rule) matches(texts []string) (_ []string, isEmpty bool, _ error) {
	if len(texts) == 0 {
		all, err := promql.Selector{r.matcher}.Portable()
		return []string{all}, false, err
	}
	isEmpty = true
	matches := make([]string, 0, len(texts))
	for _, text := range texts {
		selector, isEmptySelector, err := r.selector(text)
		if err != nil {
			return nil, false, err
		}
		matches, isEmpty = append(matches, selector), isEmpty && isEmptySelector
	}
	return matches, isEmpty, nil
}
