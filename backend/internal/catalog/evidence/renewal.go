package evidence

import (
	"context"
	"errors"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
)

// companionFor is how long after its last use a name is renewed together with others that are used:
// the panels of a dashboard that refreshes every minute share one renewal.
const companionFor = 90 * time.Second

// renew looks again for names that the tier did not have.
func (x *Index) renew(ctx context.Context) {
	pacer, began := x.options.Client.Pacer, time.Now()
	if !pacer.MayRenew(began) || !x.options.State().Available {
		return
	}
	x.load(ctx)
	isStrained := pacer.IsStrained()
	due := x.due(began, isStrained)
	for of, names := range due {
		x.renewBatch(ctx, of, names)
	}
	if x.renewNames(ctx, began, isStrained) || len(due) > 0 {
		x.save(time.Now())
		pacer.Rest(time.Since(began))
	}
}

// await has evidence renewed that is from a time. It returns a channel that is closed after the
// next attempt, or nil if the evidence counts meanwhile.
func (x *Index) await(recent, failed, now time.Time) <-chan struct{} {
	pacer := x.options.Client.Pacer
	if now.Sub(failed) < x.options.ProbeInterval || !pacer.MayRenew(now) {
		return nil
	}
	renewed := x.renewals.Demand(recent, now)
	if pacer.IsStrained() {
		return nil
	}
	return renewed
}

// renewal is what the names of one request for a renewal have in common.
type renewal struct {
	group Group
	// window is the time before now to look at. whole is set if it is the whole window of the
	// names, and not only its end.
	window time.Duration
	whole  bool
}

// due returns the names to look for again: those in use of each group that is wanted now. Of a
// tier that is strained, these are all, because queries do not wait.
func (x *Index) due(now time.Time, isStrained bool) map[renewal][]string {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	// What is due of a group is wanted if a query waits for it. It is looked for in one request if
	// possible: in the whole window of all names if that is due for one of them.
	wanted, whole := map[Group]bool{}, map[Group]bool{}
	old := func(state *nameState, usedFor time.Duration) bool {
		return state.known && !state.present && state.look == nil && now.Sub(state.used) <= usedFor && now.Sub(state.recent) >= x.options.ProbeInterval*3/4
	}
	usedFor := companionFor
	if isStrained {
		usedFor = inUse
	}
	for _, key := range x.states.Keys() {
		state, _ := x.states.Peek(key)
		wanted[key.group] = wanted[key.group] || isStrained || old(state, x.options.ProbeInterval)
		whole[key.group] = whole[key.group] || (old(state, usedFor) && now.Sub(state.whole) >= x.options.LearnInterval)
	}
	due := map[renewal][]string{}
	for _, key := range x.states.Keys() {
		state, _ := x.states.Peek(key)
		if !old(state, usedFor) || !wanted[key.group] {
			continue
		}
		of := renewal{group: key.group, window: now.Sub(state.recent).Truncate(time.Minute) + time.Minute}
		if whole[key.group] {
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
		if !isHeld || !state.known || state.present {
			return
		}
		if err != nil && !errors.Is(err, ownrequest.ErrPartial) {
			state.failed = began
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
