package catalog

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
)

// Refresh notes that queries use what is known of some tiers and, if not nil, their catalog. What
// is older than the probe interval is looked at again. Refresh waits for that if it is much older,
// for a short time or until ctx ends, but not for a tier that is slow or unavailable.
func Refresh(ctx context.Context, of *Catalog, tiers ...*Tier) {
	ctx, cancel := ownrequest.WithTimeout(ctx, ownrequest.Patience)
	defer cancel()
	var waits []<-chan struct{}
	for _, each := range tiers {
		if each == nil || !each.Probed() {
			continue
		}
		if ended := each.probes.Refresh(time.Time{}); ended != nil && each.status.Load().Available {
			waits = append(waits, ended)
		}
	}
	if !ownrequest.WaitAll(ctx, waits) || of == nil || !of.Probed() {
		return
	}
	var since time.Time
	if of.hasNewSource() {
		since = of.options.Cold.Status().CheckedAt
	}
	if ended := of.looks.Refresh(since); ended != nil {
		ownrequest.WaitAll(ctx, []<-chan struct{}{ended})
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
