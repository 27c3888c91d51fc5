package engine

import (
	"net/url"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// downsamplingStep is the step from which on Thanos takes downsampled data by
// itself: the finest is of 5 minutes, and it takes a fifth of the step.
const downsamplingStep = 25 * time.Minute

// explicitDefaults says to cold what hot would have taken for granted, where
// their defaults differ.
func (q Query) explicitDefaults(learned *catalog.Snapshot, in *tier.Input) *promapi.Request {
	changed := url.Values{}
	switch q.Request.Endpoint {
	case promapi.Query, promapi.QueryRange:
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		if learned.Cold.MetadataRange > 0 && q.Request.Parameters.Get("start") == "" {
			// Hot would begin at the beginning.
			changed.Set("start", "0")
		}
		return q.Request.With(changed)
	default:
		return q.Request
	}
	note := func(sentence string) {
		in.Cold.Notes = append(in.Cold.Notes[:len(in.Cold.Notes):len(in.Cold.Notes)], tier.PublicNote(sentence))
	}
	hot, cold := learned.Hot, learned.Cold
	if hot.LookbackDelta > 0 && cold.LookbackDelta != hot.LookbackDelta &&
		(cold.LookbackDelta > 0 || hot.LookbackDelta != promql.DefaultLookbackDelta) && !q.Request.Parameters.Has("lookback_delta") {
		changed.Set("lookback_delta", model.Duration(hot.LookbackDelta).String())
	}
	query, err := promql.Parse(q.Request.Parameters.Get("query"))
	isParsed := err == nil
	if isParsed && query.DependsOnResets() && len(cold.ReplicaLabels) > 0 && q.Request.Parameters.Get("dedup") != "false" {
		note("the cold tier corrects counter resets while it removes replica labels: resets() finds none, and rate(), irate() and increase() over a subquery may differ")
	}
	if hot.EvaluationInterval > 0 && hot.EvaluationInterval != cold.EvaluationInterval {
		if isParsed && query.HasDefaultSteps() {
			if explicit, err := query.WithSteps(hot.EvaluationInterval); err == nil {
				changed.Set("query", explicit.String())
			} else {
				note("the cold tier takes another step than hot for subqueries that name none, and it could not be written into the query")
			}
		}
	}
	downsamples := cold.AutoDownsampling && q.Request.TimeRange.Step >= downsamplingStep
	if q.Request.Endpoint == promapi.Query {
		downsamples = cold.InstantResolution > 0
	}
	if downsamples && !q.Request.Parameters.Has("max_source_resolution") {
		if in.Extent.Nothing || in.Extent.Oldest >= in.Hot.Oldest {
			// Raw samples that hot has are in cold too, or will be.
			changed.Set("max_source_resolution", "0s")
		} else {
			note("the cold tier downsamples by itself: what it answers may be downsampled data")
		}
	}
	return q.Request.With(changed)
}
