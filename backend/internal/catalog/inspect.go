package catalog

import (
	"cmp"
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Inspection is the result of Tier.Inspect.
type Inspection struct {
	// Status is what a probe found.
	Status
	// CoverageStart is from when on hot may be asked, in milliseconds since the
	// Unix epoch, or tier.NothingCovered: see Tier.State.
	CoverageStart int64
	// Failure is the class of Status.Error where the tier does not answer; empty
	// where it answers.
	Failure upstream.Failure
	// Version is that of the server; empty when it does not tell.
	Version string
	// Settings are the tier's defaults, as far as it tells them.
	Settings Settings
}

// Inspect probes a tier once, and asks it for its version and settings. Do not call
// it on a tier that Run probes.
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
