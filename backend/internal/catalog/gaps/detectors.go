package gaps

import (
	"cmp"
	"context"
	"maps"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
)

// Detectors are the gap detectors of a tier, by server and scope. Different servers may answer at
// one address. The zero value is ready to use. It is not safe for concurrent use.
type Detectors map[string]*detector

const (
	// detectorsKept is the maximum number of detectors. They are kept for detectorUnusedFor.
	detectorsKept     = 32
	detectorUnusedFor = time.Hour
)

// of returns the detector of a server and a scope.
func (g *Detectors) of(server, scope string, now time.Time) *detector {
	if *g == nil {
		*g = Detectors{}
	}
	key := server + "\x00" + scope
	found := (*g)[key]
	if found == nil {
		maps.DeleteFunc(*g, func(_ string, known *detector) bool { return now.Sub(known.usedAt) > detectorUnusedFor })
		if len(*g) >= detectorsKept {
			clear(*g)
		}
		found = &detector{scope: scope}
		(*g)[key] = found
	}
	found.usedAt = now
	return found
}

// Follow looks for the newest samples of a server, and for gaps since the last look. Each scope is a
// matcher list without braces, or empty, and stands for a source of the server.
func (g *Detectors) Follow(ctx context.Context, client ownrequest.Client, server string, scopes []string, now time.Time) (Followed, error) {
	var detectors []*detector
	for _, scope := range scopes {
		each := g.of(server, scope, now)
		if err := each.follow(ctx, asker{client}, now); err != nil {
			return Followed{}, err
		}
		detectors = append(detectors, each)
	}
	return Followed{detectors, asker{client}}, nil
}

// ContiguousSince returns the end of the last gap, in milliseconds since the Unix epoch, in any
// server that has answered within the last hour, because each of them may answer again. It returns
// zero without a gap.
func (g Detectors) ContiguousSince(now time.Time) (latest int64) {
	for _, known := range g {
		if known.complete && known.ended && now.Sub(known.usedAt) <= detectorUnusedFor {
			latest = max(latest, known.start)
		}
	}
	return latest
}

// Servers returns the number of servers that have answered within the last hour. A server that was
// restarted is still the same.
func (g Detectors) Servers(now time.Time) int {
	servers := map[string]struct{}{}
	for key, known := range g {
		if now.Sub(known.usedAt) <= detectorUnusedFor {
			server, _, _ := strings.Cut(key, "\x00")
			host, _, _ := strings.Cut(server, " ")
			servers[cmp.Or(host, server)] = struct{}{}
		}
	}
	return len(servers)
}

// AreScanning reports whether a scan ended before it was complete.
func (g Detectors) AreScanning() bool {
	for _, known := range g {
		if known.start != 0 && !known.complete {
			return true
		}
	}
	return false
}

// Followed are the sources of one server, after a look at their newest samples.
type Followed struct {
	detectors []*detector
	client    asker
}

// IsUnchanged reports whether the look found the newest samples of every source, and no gap since
// the look before.
func (f Followed) IsUnchanged() bool {
	for _, each := range f.detectors {
		if !each.isContinued || !each.complete {
			return false
		}
	}
	return len(f.detectors) > 0
}

// Newest returns the timestamp of the newest sample of the source that is furthest behind, in
// milliseconds since the Unix epoch, or zero if there are none.
func (f Followed) Newest() (newest int64) {
	for _, each := range f.detectors {
		if each.newest != 0 && (newest == 0 || each.newest < newest) {
			newest = each.newest
		}
	}
	return newest
}

// ScrapeInterval returns the longest scrape interval that was measured, or zero.
func (f Followed) ScrapeInterval() (interval time.Duration) {
	for _, each := range f.detectors {
		interval = max(interval, each.interval)
	}
	return interval
}

// CanaryInterval returns the longest scrape interval of those series, one of each source, by which
// new samples are noticed, or zero.
func (f Followed) CanaryInterval() time.Duration {
	var interval int64
	for _, each := range f.detectors {
		if len(each.canaries) > 0 {
			interval = max(interval, each.canaries[0].interval)
		}
	}
	return time.Duration(interval) * time.Millisecond
}

// Scan looks for gaps back to the oldest sample, in milliseconds since the Unix epoch; zero stands
// for a server that does not report it. It goes on where it ended if it returns an error.
func (f Followed) Scan(ctx context.Context, oldest int64, now time.Time) error {
	for _, each := range f.detectors {
		if oldest == 0 {
			if err := each.checkStart(ctx, f.client, now); err != nil {
				return err
			}
		}
		if err := each.scan(ctx, f.client, oldest, now); err != nil {
			return err
		}
	}
	return nil
}

// Start returns the time since which every source has samples without a gap, in milliseconds since
// the Unix epoch. isMeasured is false if a source has no series to follow, and isSparse is set if
// one has none because it has no samples, or only old ones.
func (f Followed) Start() (start int64, isMeasured, isSparse bool) {
	isMeasured, isSparse = len(f.detectors) > 0, len(f.detectors) == 0
	for _, each := range f.detectors {
		start = max(start, each.start)
		// An empty storage, or one that has just started, covers nothing.
		isMeasured, isSparse = isMeasured && each.start != 0, isSparse || each.empty || each.newest != 0
	}
	return start, isMeasured, isSparse
}
