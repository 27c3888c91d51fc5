package catalog

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// AnyHas returns whether one of several servers of hot has series of one of several metric names since
// a time in milliseconds since the Unix epoch. What is not known yet it has looked for, and waits a
// short time. Of a server that is unavailable, nothing new is known.
func AnyHas(ctx context.Context, servers []*Tier, names []string, oldest int64) tier.Presence {
	ctx, cancel := context.WithTimeout(ctx, evidenceWait)
	defer cancel()
	for attempt := 0; ; attempt++ {
		var waits []<-chan struct{}
		found := tier.Absent
		for _, server := range servers {
			state := server.State(time.Now())
			for _, name := range names {
				presence, looking := server.names.Lookup("", name, max(oldest, state.Oldest), state.Available && state.Oldest != tier.NothingCovered, time.Now())
				if looking != nil {
					waits = append(waits, looking)
				}
				switch {
				case presence == tier.Present:
					return tier.Present
				case presence == tier.Unknown, !state.Available:
					found = tier.Unknown
				}
			}
		}
		if found == tier.Absent || len(waits) == 0 || attempt > mostAttempts || !ownrequest.WaitAll(ctx, waits) {
			return found
		}
	}
}

// HasAll reports whether hot is known to have series of all of the metric names since a time in
// milliseconds since the Unix epoch.
func (t *Tier) HasAll(names []string, oldest int64) bool {
	for _, name := range names {
		if presence, _ := t.names.Lookup("", name, oldest, false, time.Now()); presence != tier.Present {
			return false
		}
	}
	return true
}
