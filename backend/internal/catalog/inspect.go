package catalog

import (
	"cmp"
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Inspection is the result of Tier.Inspect.
type Inspection struct {
	// Status is the result of a probe.
	Status
	// CoverageStart is the start of hot's coverage in milliseconds since the Unix epoch, or
	// tier.NothingCovered: see Tier.State. Of a hot tier that lists its stores, it is that of the
	// sources whose coverage is known.
	CoverageStart int64
	// Failure is the class of Status.Error if the tier does not answer, or empty.
	Failure upstream.Failure
	// Settings are the tier's defaults, as far as it reports them.
	Settings Settings
	// TargetHoles are the stretches of the last hour in which hot could not scrape targets.
	TargetHoles []targets.Hole
}

// probesAtOnce is the maximum number of probes of an inspection. The first one may end before it
// has scanned all samples of hot.
const probesAtOnce = 5

// areScanning reports whether the look for gaps ended before it was complete.
func (t *Tier) areScanning() bool {
	for _, source := range t.hotStores.followed {
		if source.gaps.AreScanning() {
			return true
		}
	}
	return t.gaps.AreScanning()
}

// Inspect probes a tier as Run does, until its coverage is known, and reads its version and settings. Do not call it on a tier that
// Run probes.
func (t *Tier) Inspect(ctx context.Context) Inspection {
	if !t.options.ProbeBudget.Acquire(ctx) {
		return Inspection{Failure: upstream.FailureOf(ctx.Err())}
	}
	defer t.options.ProbeBudget.Release()
	for range probesAtOnce {
		t.probe(ctx)
		if !t.areScanning() {
			break
		}
	}
	inspection := Inspection{Status: t.Status()}
	if err := cmp.Or(ctx.Err(), inspection.failure); err != nil {
		inspection.Failure = upstream.FailureOf(err)
		return inspection
	}
	ctx, cancel := context.WithTimeout(ctx, t.probeTimeout())
	defer cancel()
	covered := t.coveredState(time.Now())
	inspection.CoverageStart = covered.Oldest
	if covered.Oldest == tier.NothingCovered && len(inspection.Notes) == 0 {
		inspection.Notes = covered.Notes // They say why, for example that an answer lacked a store.
	}
	if settings, err := readSettings(ctx, t.api); err == nil {
		inspection.Settings = settings
	}
	if t.options.Name == tier.Hot {
		client := t.api
		client.Budget = nil // It is acquired.
		t.lookWith(ctx, func(ctx context.Context, query string, at time.Time) ([]targets.Series, error) {
			return askTargets(ctx, client, query, at)
		}, time.Now())
		inspection.TargetHoles = t.targets.Holes()
	}
	return inspection
}
