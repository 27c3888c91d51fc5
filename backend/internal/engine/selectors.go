package engine

import (
	"errors"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// selectorsOf returns what a request selects. No selector at all means that no
// series is read; an empty one means every series. It returns an error when a
// selector cannot be understood.
func selectorsOf(request *promapi.Request) (list []promql.Selector, err error) {
	switch request.Endpoint.Traits().Selects {
	case promapi.ByQuery:
		query, err := promql.Parse(request.Parameters.Get("query"))
		if err != nil {
			return nil, err
		}
		return query.Selectors(), nil
	case promapi.ByMatch:
		if list, err = matchesOf(request); len(list) == 0 {
			list = []promql.Selector{{}}
		}
		return list, err
	case promapi.ByMetric:
		if metric := request.Parameters.Get("metric"); metric != "" {
			return []promql.Selector{{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, metric)}}, nil
		}
		return []promql.Selector{{}}, nil
	case promapi.AllSeries:
		return []promql.Selector{{}}, nil
	default:
		return nil, nil
	}
}

// matchesOf returns the selectors of match[].
func matchesOf(request *promapi.Request) (list []promql.Selector, err error) {
	for _, text := range request.Parameters["match[]"] {
		selector, err := promql.ParseSelector(text)
		if err != nil {
			return nil, err
		}
		list = append(list, selector)
	}
	return list, nil
}

// keyOf identifies what a request selects: its endpoint with its PromQL, selectors
// or metric. Neither its times nor any other parameter is part of it, so that it is
// the same for every refresh of a panel.
func keyOf(request *promapi.Request) promql.Key {
	texts := []string{string(request.Endpoint), request.Label, request.Parameters.Get("query"), request.Parameters.Get("metric")}
	return promql.KeyOf(append(texts, request.Parameters["match[]"]...)...)
}

// errEmptyMatchers is what Prometheus says of a match[] that selects everything.
var errEmptyMatchers = errors.New("match[] must contain at least one non-empty matcher")

// selectorError returns the error of Prometheus for the selectors of a request that
// evaluates nothing; nil if it has none. selectsAll reports that they are understood
// but select everything: a tier may take them, or may have been sent others.
func selectorError(request *promapi.Request) (_ *promapi.Error, selectsAll bool) {
	traits := request.Endpoint.Traits()
	var err error
	switch {
	case traits.Selects == promapi.ByMatch:
		// Prometheus reads them all before it looks into them.
		var list []promql.Selector
		list, err = matchesOf(request)
		selectsAll = slices.ContainsFunc(list, func(selector promql.Selector) bool {
			return !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return !matcher.Matches("") })
		})
		if selectsAll {
			err = errEmptyMatchers
		}
	case traits.Selects == promapi.ByQuery && !traits.Evaluates():
		_, err = promql.Parse(request.Parameters.Get("query"))
	}
	switch {
	case err == nil:
		return nil, false
	case request.Endpoint == promapi.Series:
		return promapi.InvalidParameter("match[]", err), selectsAll
	}
	return promapi.BadData("%s", err), selectsAll
}
