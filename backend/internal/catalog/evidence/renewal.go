package evidence

import (
	"context"
	"errors"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
)

// renew looks again for the names in use that the tier did not have. It forgets the others.
func (x *Index) renew(ctx context.Context) {
	began := time.Now()
	if !x.options.Client.Pacer.MayRenew(began) || !x.options.State().Available {
		return
	}
	x.load(ctx)
	for of, names := range x.due(began) {
		x.renewBatch(ctx, of, names)
	}
	x.renewNames(ctx, began)
	x.save(time.Now())
	x.options.Client.Pacer.Rest(time.Since(began))
}

// renewal is what the names of one request for a renewal have in common.
type renewal struct {
	group Group
	// window is the time before now to look at. whole is set if it is the whole window of the
	// names, and not only its end.
	window time.Duration
	whole  bool
}

// due returns the names to look for again.
func (x *Index) due(now time.Time) map[renewal][]string {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	due := map[renewal][]string{}
	for _, key := range x.states.Keys() {
		state, _ := x.states.Peek(key)
		switch {
		case !state.known || state.present || state.look != nil:
			continue
		case now.Sub(state.used) > inUse, now.Sub(state.recent) < x.options.ProbeInterval*3/4:
			continue // Nobody reads it, or another gateway has just renewed it.
		}
		of := renewal{group: key.group, window: now.Sub(state.recent).Truncate(time.Minute) + time.Minute}
		if now.Sub(state.whole) >= x.options.LearnInterval {
			of.whole, of.window = true, state.window
		}
		due[of] = append(due[of], key.name)
	}
	return due
}

// renewBatch looks for names that the tier did not have.
func (x *Index) renewBatch(ctx context.Context, of renewal, names []string) {
	var since time.Time
	switch {
	case !of.whole:
		since = x.options.State().Newest.Add(-of.window - recentWindow)
	case of.window != allTime:
		since = time.Now().Add(-of.window)
	}
	x.find(ctx, of.group, names, since, func(name string, present bool, began time.Time, err error) {
		state, isHeld := x.states.Peek(nameKey{of.group, name})
		if !isHeld || !state.known || state.present || (err != nil && !errors.Is(err, ownrequest.ErrPartial)) {
			return
		}
		state.recent = began
		if of.whole || present {
			state.whole = began
		}
		switch {
		case present:
			state.present = true
		case err == nil:
			state.certain = began
		case began.Sub(state.certain) > presentFor:
			state.known = false
		}
	})
}
