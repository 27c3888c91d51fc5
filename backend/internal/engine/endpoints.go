package engine

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// endpointRule says how an endpoint takes part in routing. docs/routing.md has
// the same table for people.
type endpointRule struct {
	// only is the tier that alone serves the endpoint, or empty.
	only tier.Name
	// perSeries is set for endpoints without a time range whose answers
	// depend on where the series are.
	perSeries bool
	// union is set where both tiers' answers can be joined when only both
	// together hold the time range; unionWhenIncomplete where they are joined
	// whenever hot may lack something.
	union, unionWhenIncomplete bool
	// ofEach is set where each tier has something of its own to tell, so that
	// neither is complete.
	ofEach bool
	// elsewhere is set where a tier that does not know the endpoint is no
	// reason to give up: the other one is asked.
	elsewhere bool
}

var endpointRules = map[promapi.Endpoint]endpointRule{
	promapi.Query:           {},
	promapi.QueryRange:      {},
	promapi.QueryExemplars:  {union: true, elsewhere: true},
	promapi.Series:          {union: true},
	promapi.Labels:          {union: true},
	promapi.LabelValues:     {union: true},
	promapi.Metadata:        {perSeries: true, unionWhenIncomplete: true, elsewhere: true},
	promapi.Rules:           {perSeries: true, unionWhenIncomplete: true, ofEach: true, elsewhere: true},
	promapi.Alerts:          {perSeries: true, unionWhenIncomplete: true, ofEach: true, elsewhere: true},
	promapi.Targets:         {perSeries: true, elsewhere: true},
	promapi.TargetsMetadata: {elsewhere: true},
	promapi.Alertmanagers:   {elsewhere: true},
	promapi.ScrapePools:     {elsewhere: true},
	promapi.Features:        {elsewhere: true},
	promapi.StatusInfo:      {elsewhere: true},
	promapi.FormatQuery:     {elsewhere: true},
	promapi.ParseQuery:      {elsewhere: true},
	promapi.Stores:          {only: tier.Cold},
}

// selectors returns what a request selects. No selector at all means that no
// series is read; an empty one means every series. It returns an error when a
// selector cannot be understood.
func (r endpointRule) selectors(request *promapi.Request) (list []promql.Selector, err error) {
	switch request.Endpoint {
	case promapi.Query, promapi.QueryRange, promapi.QueryExemplars:
		query, err := promql.Parse(request.Parameters.Get("query"))
		if err != nil {
			return nil, err
		}
		return query.Selectors(), nil
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		for _, text := range request.Parameters["match[]"] {
			selector, err := promql.ParseSelector(text)
			if err != nil {
				return nil, err
			}
			list = append(list, selector)
		}
		if len(list) == 0 {
			list = []promql.Selector{{}}
		}
		return list, nil
	case promapi.Metadata:
		if metric := request.Parameters.Get("metric"); metric != "" {
			return []promql.Selector{{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, metric)}}, nil
		}
	default:
	}
	if r.perSeries {
		return []promql.Selector{{}}, nil
	}
	return nil, nil
}

// keyOf identifies what a request selects: its endpoint with its PromQL, selectors
// or metric. Neither its times nor any other parameter is part of it.
func keyOf(request *promapi.Request) promql.Key {
	switch request.Endpoint {
	case promapi.Query, promapi.QueryRange, promapi.QueryExemplars:
		return promql.KeyOf(string(request.Endpoint), request.Parameters.Get("query"))
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		return promql.KeyOf(append([]string{string(request.Endpoint), request.Path}, request.Parameters["match[]"]...)...)
	case promapi.Metadata:
		return promql.KeyOf(string(request.Endpoint), request.Parameters.Get("metric"))
	default:
		return promql.KeyOf(string(request.Endpoint))
	}
}
