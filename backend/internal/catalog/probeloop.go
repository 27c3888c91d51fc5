package catalog

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
)

// probeLoop probes now, about every interval and whenever it receives from again, until ctx
// ends.
func probeLoop(ctx context.Context, budget *ownrequest.Budget, interval time.Duration, again <-chan struct{}, probe func()) {
	for budget.Acquire(ctx) {
		began := time.Now()
		probe()
		budget.Release()
		timer := time.NewTimer(ownrequest.Jittered(interval) - time.Since(began))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-again:
			timer.Stop()
		}
	}
}

// latch opens once, after the first probe. One goroutine opens it.
type latch chan struct{}

// Wait blocks until the end of the first probe, whatever its result, or until ctx ends.
func (l latch) Wait(ctx context.Context) {
	select {
	case <-l:
	case <-ctx.Done():
	}
}

// Probed reports whether the first probe has ended, whatever its result.
func (l latch) Probed() bool {
	select {
	case <-l:
		return true
	default:
		return false
	}
}

func (l latch) open() {
	if !l.Probed() {
		close(l)
	}
}
