package engine

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// relabel makes hot answer with the external labels that its series have in cold.
func (p *Plan) relabel() {
	request, traits := p.query.Request, p.query.Request.Endpoint.Traits()
	added, conflicting := p.injected()
	if added == nil {
		return
	}
	if p.snapshot.Evidence != nil && p.snapshot.Evidence.HotSources != nil && len(p.snapshot.Hot.ReplicaLabels) > 0 && traits.Evaluates() {
		if query, err := promql.Parse(request.Parameters.Get("query")); err == nil && query.DependsOnResets() {
			p.Input.Unlabelled = "hot corrects counter resets while it removes replica labels" // So does cold, which warns of it.
			return
		}
	}
	if len(added) == 0 || traits.External == promapi.NoExternal || traits.External == 0 {
		p.isLabelled = true
		return
	}
	if len(conflicting) == 0 && p.addOwnValue(added) {
		return
	}
	err := p.relabelRequest(added, traits)
	if err == nil && len(conflicting) > 0 {
		err = errors.New("series of hot carry the external label " + strings.Join(conflicting, ", ") + " themselves")
	}
	if err != nil {
		p.hot, p.added = request, nil
		line, _, _ := strings.Cut(err.Error(), "\n")
		p.Input.Unlabelled = tier.Note{Detail: line, Public: promql.ErrNotRewritable.Error()}.For(p.Input.Detailed)
	}
	p.isLabelled = err == nil
}

// injected returns the labels that the answer of hot lacks, and those of them that series of hot carry
// themselves. It returns nil while they are not known. Without cold, only several sources of hot
// have them, to be told apart.
func (p *Plan) injected() (added map[string]string, conflicting []string) {
	switch evidence := p.snapshot.Evidence; {
	case evidence != nil && evidence.InjectedLabels != nil:
		return evidence.InjectedLabels, evidence.ConflictingLabels
	case evidence != nil:
		return map[string]string{}, nil
	case p.query.Datasource.Cold == nil && len(p.matching.all) > 1 && len(p.hotSource.labels) == 1:
		return p.hotSource.labels[0], nil
	}
	return nil, nil
}

// relabelRequest sets the request for hot. It returns an error for one that needs
// labels which hot cannot add.
func (p *Plan) relabelRequest(added map[string]string, traits *promapi.Traits) (err error) {
	request := p.query.Request
	if traits.External != promapi.ExternalByQuery {
		p.added = added
	}
	switch traits.Selects {
	case promapi.ByQuery:
		query, err := promql.Parse(request.Parameters.Get("query"))
		if err != nil {
			return err
		}
		rewrite := query.WithLabelsInSelectors
		if traits.External == promapi.ExternalByQuery {
			rewrite = query.WithLabels
		}
		rewritten, err := rewrite(added)
		if err != nil && traits.Routing.Has(promapi.UnionAlways) {
			return p.selectExemplars(query, added)
		}
		if err != nil {
			return err
		}
		if rewritten != query {
			p.hot = request.With(url.Values{"query": {rewritten.String()}})
		}
	case promapi.ByMatch:
		p.hot, err = relabelMatchers(request, added)
	default:
	}
	return err
}

// relabelMatchers removes matchers on external labels from match[].
func relabelMatchers(request *promapi.Request, added map[string]string) (*promapi.Request, error) {
	if _, is := added[request.Label]; is {
		return nil, errors.New("hot has no values of its external label " + request.Label)
	}
	selectors, err := matchesOf(request)
	if err != nil || len(selectors) == 0 {
		return request, err
	}
	changed := make([]string, 0, len(selectors))
	for _, selector := range selectors {
		relabelled, err := selector.WithLabels(added)
		if err != nil {
			return nil, err
		}
		changed = append(changed, relabelled.String())
	}
	return request.With(url.Values{"match[]": changed}), nil
}

// downsamplingStep is the step from which on Thanos uses downsampled data by itself:
// its finest resolution is 5 minutes, and it uses a fifth of the step.
const downsamplingStep = 25 * time.Minute

// explicitDefaults returns the request for cold, with the defaults of hot that differ.
func (p *Plan) explicitDefaults() *promapi.Request {
	request, in, hot, cold := p.query.Request, &p.Input, p.snapshot.Hot, p.snapshot.Cold
	changed, traits := url.Values{}, request.Endpoint.Traits()
	isPrometheus := cold.ExternalLabels != nil && cold.MetadataRange == 0
	if traits.Selects == promapi.ByMatch && !isPrometheus && request.Parameters.Get("start") == "" {
		// Without a start, a Prometheus reads everything that it has, and other stores may read
		// recent data only.
		changed.Set("start", "0")
	}
	if !traits.Evaluates() {
		return request.With(changed)
	}
	note := func(sentence string) {
		in.Cold.Notes = append(in.Cold.Notes[:len(in.Cold.Notes):len(in.Cold.Notes)], tier.PublicNote(sentence))
	}
	if hot.LookbackDelta > 0 && cold.LookbackDelta != hot.LookbackDelta &&
		(cold.LookbackDelta > 0 || hot.LookbackDelta != promql.DefaultLookbackDelta) && !request.Parameters.Has("lookback_delta") {
		changed.Set("lookback_delta", model.Duration(hot.LookbackDelta).String())
	}
	if p.merged != "" {
		note("the cold tier removes the label " + p.merged + " as a replica label, although series of hot carry it: it takes those that differ in nothing else for one")
	}
	query, err := promql.Parse(request.Parameters.Get("query"))
	if err == nil && query.DependsOnResets() && len(cold.ReplicaLabels) > 0 && request.Parameters.Get("dedup") != "false" {
		note("the cold tier corrects counter resets while it removes replica labels: resets() finds none, and rate(), irate() and increase() over a subquery may differ")
	}
	if err == nil && query.HasDefaultSteps() && hot.EvaluationInterval > 0 && hot.EvaluationInterval != cold.EvaluationInterval {
		if explicit, err := query.WithSteps(hot.EvaluationInterval); err == nil {
			changed.Set("query", explicit.String())
		} else {
			note("the cold tier takes another step than hot for subqueries that name none, and it could not be written into the query")
		}
	}
	downsamples := cold.AutoDownsampling && request.TimeRange.Step >= downsamplingStep
	if traits.Times == promapi.OneTime {
		downsamples = cold.InstantResolution > 0
	}
	if downsamples && !request.Parameters.Has("max_source_resolution") {
		if in.Extent.Nothing || in.Extent.Oldest >= in.Hot.Oldest {
			// Raw samples that hot has are in cold too, or will be.
			changed.Set("max_source_resolution", "0s")
		} else {
			note("the cold tier downsamples by itself: what it answers may be downsampled data")
		}
	}
	return request.With(changed)
}
