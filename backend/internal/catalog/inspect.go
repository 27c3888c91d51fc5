package catalog

import (
	"cmp"
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Inspection is the result of Tier.Inspect.
type Inspection struct {
	// Status is the result of a probe.
	Status
	// CoverageStart is the start of hot's coverage in milliseconds since the Unix epoch, or
	// tier.NothingCovered: see Tier.State.
	CoverageStart int64
	// Failure is the class of Status.Error if the tier does not answer, or empty.
	Failure upstream.Failure
	// Version is the version that the server reports, or empty.
	Version string
	// Settings are the tier's defaults, as far as it reports them.
	Settings Settings
}

// Inspect probes a tier once, and reads its version and settings. Do not call it on a tier that
// Run probes.
func (t *Tier) Inspect(ctx context.Context) Inspection {
	if !t.options.ProbeBudget.acquire(ctx) {
		return Inspection{Failure: upstream.FailureOf(ctx.Err())}
	}
	defer t.options.ProbeBudget.release()
	t.probe(ctx)
	found := Inspection{Status: t.Status()}
	if err := cmp.Or(ctx.Err(), found.failure); err != nil {
		found.Failure = upstream.FailureOf(err)
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, t.probeTimeout())
	defer cancel()
	found.CoverageStart = t.State(time.Now()).Oldest
	found.Version = t.api.version(ctx)
	if settings, err := t.api.settings(ctx); err == nil {
		found.Settings = settings
	}
	return found
}
