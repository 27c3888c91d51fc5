package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// confirmed is how long it takes until an answer is kept, once tierproxy knows its tiers: until a later probe
	// of cold has found the same stores. probe.interval is 5 seconds.
	confirmed = 12 * time.Second
	// keptWithin is how long a dashboard may take until it comes from the cache, and lookEvery is the time
	// between two loads of it until then.
	keptWithin, lookEvery = 3 * time.Minute, 2 * time.Second
	// keptPart is the least part of the steps that comes from the cache then, and sharedPart that for replicas with
	// a Redis, which does not always answer in time on a busy machine.
	keptPart, sharedPart = 0.95, 0.5
)

// confirm waits until answers are kept. It returns the error of the context if that ends first.
func confirm(ctx context.Context) error { return pause(ctx, confirmed) }

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

// untilKept loads a dashboard until a part of its steps comes from the cache. It returns how long that took from the
// first load on, or an error if that never happens.
func (w *way) untilKept(ctx context.Context, shown window, end time.Time, kept float64) (time.Duration, error) {
	for began := time.Now(); ; {
		w.cached.Store(0)
		w.steps.Store(0)
		if err := w.fetchAll(ctx, shown, end); err != nil {
			return 0, err
		}
		took := time.Since(began)
		switch part := w.hitRatio(); {
		case part >= kept:
			return took, nil
		case took > keptWithin:
			return 0, fmt.Errorf("%s of the steps come from the cache through %s, %s after the first load", percent(part), w.name, short(took))
		}
		if err := pause(ctx, lookEvery); err != nil {
			return 0, err
		}
	}
}

// untilKept waits until a dashboard comes from the cache of every tierproxy, and notes how long that takes.
func (b *refreshBench) untilKept(ctx context.Context, what string, ways refreshWays, shown refreshedDashboard) error {
	for _, each := range []*way{ways.through, ways.alone, ways.replicas} {
		kept := keptPart
		if each == ways.replicas {
			kept = sharedPart
		}
		took, err := each.untilKept(ctx, shown.window, time.Now().Add(-refreshes*shown.every), kept)
		if err != nil {
			return err
		}
		b.report.note(what+"from the first load until it comes from the cache, through "+each.name, "", short(took), "")
	}
	return nil
}
