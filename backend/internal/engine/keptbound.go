package engine

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// keptBound is up to when answers of cold may be kept.
type keptBound struct {
	// stores is the set of cold's stores: see catalog.Tier.StableStores.
	stores string
	// until is up to when what cold answers can no longer change, in milliseconds since the Unix
	// epoch.
	until int64
}

// keptBound returns up to when answers of cold to the query may be kept. It returns an error that
// says why none may.
func (p *Plan) keptBound() (keptBound, error) {
	cold, now := p.query.Datasource.Cold, p.query.Request.ReceivedAt
	switch {
	case cold == nil:
		return keptBound{}, errors.New("only answers of cold are kept, and there is no cold tier")
	case len(p.Warnings) > 0:
		return keptBound{}, errors.New("its answer has a warning")
	}
	stores, isStable := cold.StableStores()
	if !isStable {
		return keptBound{}, errors.New("the cold tier lacks one of its stores, or it is not known yet which it has")
	}
	until, err := p.coldCompleteUntil(now)
	if err != nil {
		return keptBound{}, err
	}
	if p.mayReadDownsampled() {
		return keptBound{}, errors.New("the cold tier may answer from downsampled data, which changes when there are new ones: add max_source_resolution=0s to have raw data")
	}
	fresh := p.freshness().Milliseconds()
	if until < math.MinInt64+fresh {
		return keptBound{}, errors.New("it is not known up to when the cold tier has all samples")
	}
	return keptBound{stores: stores, until: min(until, p.Input.Now) - fresh}, nil
}

// coldCompleteUntil returns the time until which cold has all samples that it will ever have of
// what the query reads, apart from the freshness, in milliseconds since the Unix epoch. It returns
// an error that says why that is not known.
func (p *Plan) coldCompleteUntil(now time.Time) (int64, error) {
	evidence, cold := p.replica.Catalog, p.query.Datasource.Cold
	switch {
	case evidence == nil && p.coldOnly() == nil:
		return 0, errors.New("it is not known up to when the cold tier has all samples")
	case evidence == nil:
		return p.coldOnly().CompleteUntil(func() ([]promql.Selector, error) { return selectorsOf(p.query.Request) }, now)
	}
	until, isKnown := evidence.ColdCompleteUntil(now)
	if !isKnown {
		return 0, errors.New("it is not known yet up to when the cold tier has the samples of hot")
	}
	until = min(p.sendersUntil(until, now), p.comparedUntil)
	if p.Input.Completeness != tier.Complete {
		// Others than hot write to cold, too.
		until = min(until, cold.SourcesEnd(now))
	}
	return until, nil
}

// finestDownsampled is the finest resolution to which Thanos downsamples.
const finestDownsampled = 5 * time.Minute

// mayReadDownsampled reports whether cold may answer from downsampled data. Such an answer changes
// when the compactor has downsampled more.
func (p *Plan) mayReadDownsampled() bool {
	request, cold := p.cold, &p.snapshot.Cold
	traits := request.Endpoint.Traits()
	if !traits.Evaluates() {
		return false
	}
	isUnknown := p.coldOnly() != nil && !cold.FlagsKnown
	byItself := request.TimeRange.Step >= downsamplingStep && (cold.AutoDownsampling || isUnknown)
	if traits.Times == promapi.OneTime {
		byItself = cold.InstantResolution >= finestDownsampled || isUnknown
	}
	switch resolution := request.Parameters.Get("max_source_resolution"); resolution {
	case "":
		return byItself
	case "auto":
		return byItself || request.TimeRange.Step >= downsamplingStep
	default:
		asked, err := promapi.ParseDuration(resolution)
		return err != nil || asked >= finestDownsampled
	}
}

// NotCached says why nothing of the answer can be kept, and comes from the cache. It returns an
// empty string if something can.
func (p *Plan) NotCached() string {
	if err := p.notCached(); err != nil {
		return catalog.NoteOf(err).For(p.query.Datasource.Detailed)
	}
	return ""
}

func (p *Plan) notCached() error {
	switch {
	case !p.isCached():
		return errors.New("the cache is off for the datasource")
	case p.Tier == tier.Hot:
		return errors.New("hot answers it, and only answers of cold are kept")
	case (p.Tier == tier.Both && p.Cut == nil) || len(p.further) > 0:
		return errors.New("it takes several tiers to answer it")
	case p.traits().Caching == promapi.NeverCached:
		return errors.New("answers of this endpoint are never kept")
	}
	bound, err := p.keptBound()
	if err != nil {
		return err
	}
	if p.traits().Caching == promapi.CachedWhole {
		return p.notCachedWhole(bound)
	}
	switch {
	case p.stepwise == nil:
		return p.notStepwise
	case p.unjoinable != nil:
		return p.unjoinable
	}
	end, err := p.keptEnd(bound.until)
	if err != nil {
		return err
	}
	if run := p.keptRun(end); run.First > run.Last {
		return mayChange(bound.until)
	}
	return nil
}

// notCachedWhole is notCached for an answer that is kept as a whole.
func (p *Plan) notCachedWhole(bound keptBound) error {
	newest, ok := p.newestOfWhole()
	switch {
	case !ok && p.traits().Times == promapi.OneTime:
		return errors.New("it asks for statistics of the evaluation, or it cannot be parsed")
	case !ok:
		return errors.New("it names no start or no end, or it asks for statistics")
	case newest > bound.until:
		return mayChange(bound.until)
	}
	return nil
}

// mayChange is why answers about times after until are not kept.
func mayChange(until int64) error {
	return fmt.Errorf("what it reads may still change: only what ends before %s is kept", time.UnixMilli(until).UTC().Format(time.RFC3339))
}

// keptEnd returns the index of the first step that reads something after a time.
func (p *Plan) keptEnd(until int64) (end int, err error) {
	steps := p.stepwise
	end = sort.Search(steps.grid.Len(), func(i int) bool {
		extent, failed := steps.extentAt(steps.grid.At(i))
		if failed != nil {
			err = failed
		}
		return failed != nil || (!extent.Nothing && extent.Newest > until)
	})
	return end, err
}
