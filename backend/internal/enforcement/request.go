package enforcement

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// access is how the answer of an endpoint depends on the series, and which
// parameters are known to change nothing about that. Whatever else a server
// knows could reach past the selectors.
type access struct {
	kind       kind
	parameters []string
}

type kind int

const (
	refused  kind = iota // its answer cannot be confined
	noSeries             // its answer does not depend on series
	byQuery              // it reads the selectors of query
	byMatch              // it reads the selectors of match[]
)

// storeMatch[] is in none of them: it selects stores by their external labels,
// which the selectors do not confine.
var (
	evaluation = []string{"query", "time", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats", "engine",
		"dedup", "partial_response", "max_source_resolution", replicaLabels}
	selection = []string{"match[]", "start", "end", "limit", "dedup", "partial_response", replicaLabels}
)

// replicaLabels are labels that the tier removes from its answer.
const replicaLabels = "replicaLabels[]"

var endpoints = map[promapi.Endpoint]access{
	promapi.Query:          {byQuery, evaluation},
	promapi.QueryRange:     {byQuery, evaluation},
	promapi.QueryExemplars: {byQuery, []string{"query", "start", "end", "partial_response"}},
	promapi.Series:         {byMatch, selection},
	promapi.Labels:         {byMatch, selection},
	promapi.LabelValues:    {byMatch, selection},
	promapi.FormatQuery:    {noSeries, []string{"query"}},
	promapi.ParseQuery:     {noSeries, []string{"query"}},
	promapi.Features:       {noSeries, nil},
	// The other endpoints hold targets, rules, alerts, metric names or the
	// configuration for all namespaces.
}

// buildInfo is the one path below status that says nothing about data.
const buildInfo = "/api/v1/status/buildinfo"

// Confine returns the request confined to what the rule allows. It is written
// anew from its parameters, so that nothing reaches a tier that was not
// understood here.
//
// It returns an Error with status 403 for an endpoint that cannot be confined, and
// for a conflict where the rule says so. It returns one with status 400 for PromQL that
// cannot be parsed, and for a parameter that is not known to be harmless.
func (r *Rule) Confine(request *promapi.Request) (*promapi.Request, error) {
	how := endpoints[request.Endpoint]
	if request.Endpoint == promapi.StatusInfo && request.Path == buildInfo {
		how = access{kind: noSeries}
	}
	if how.kind == refused {
		return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s is refused: its answer cannot be confined to %s", request.Path, r)
	}
	if err := r.checkParameters(request.Parameters, how.parameters); err != nil {
		return nil, err
	}
	parameters := maps.Clone(request.Parameters)
	readsNothing := false
	switch how.kind {
	case byQuery:
		query, err := r.query(parameters.Get("query"))
		if err != nil {
			return nil, err
		}
		parameters["query"], readsNothing = []string{query.text}, query.isEmpty
	case byMatch:
		matches, isEmpty, err := r.matches(request.Endpoint, parameters["match[]"])
		if err != nil {
			return nil, err
		}
		parameters["match[]"], readsNothing = matches, isEmpty
	case refused, noSeries:
	}
	return request.Confined(parameters, r.values, readsNothing), nil
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

// matches confines the selectors of match[]. None at all means every series,
// but for series, where Prometheus wants one. isEmpty is set when they match
// nothing that is allowed.
func (r *Rule) matches(endpoint promapi.Endpoint, texts []string) (_ []string, isEmpty bool, _ error) {
	if len(texts) == 0 {
		if endpoint == promapi.Series {
			return nil, false, promapi.BadData("no match[] parameter provided")
		}
		all, err := promql.Selector{r.matcher}.Portable()
		return []string{all}, false, err
	}
	isEmpty = true
	matches := make([]string, 0, len(texts))
	for _, text := range texts {
		selector, err := r.selector(text)
		if err != nil {
			return nil, false, err
		}
		matches = append(matches, selector.text)
		isEmpty = isEmpty && selector.isEmpty
	}
	return matches, isEmpty, nil
}
