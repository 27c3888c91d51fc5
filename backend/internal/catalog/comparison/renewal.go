package comparison

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// renewalWindow is the time that a renewal of all metrics in use reads.
	renewalWindow = 10 * time.Minute
	// mostUnchecked is the longest time between two checks of a metric: each reads more than that.
	// After a longer time, all of the metric is compared again.
	mostUnchecked = renewalWindow / 2
	// mostQueryBytes bounds the query of such a renewal.
	mostQueryBytes = 4 << 10
	// mostRenewed is the maximum number of queries in one renewal.
	mostRenewed = 50
)

func isTooLarge(err error) bool { return errors.Is(err, upstream.ErrTooLarge) }

// recentCheck is a metric of a renewal with its canary.
type recentCheck struct {
	record *comparison
	known  *measurement
	canary comparedSeries
}

// companionFor is how long after its last use a metric is checked together with others that are
// used: the panels of a dashboard that refreshes every minute share one check.
const companionFor = 90 * time.Second

// renew checks whether metrics in use are still in both tiers as they were. It has those measured
// again that are not, and some of the others: see wholeInterval.
func (c *Comparer) renew(ctx context.Context, now time.Time) {
	hot, cold := c.options.Hot.Pacer, c.options.Cold.Pacer
	state := c.options.State(now)
	if !hot.MayRenew(now) || !cold.MayRenew(now) || !state.areComparable() {
		return
	}
	// Of tiers that are strained, all metrics in use are checked, because queries do not wait.
	usedFor := companionFor
	if hot.IsStrained() || cold.IsStrained() {
		usedFor = inUseFor
	}
	// The newest samples may not have got into cold yet.
	until := now.Add(-2*state.ScrapeInterval - ownrequest.Slack)
	checks := c.dueChecks(state.Cold.Newest, usedFor, until, now)
	for range mostRenewed {
		if len(checks) == 0 {
			break
		}
		bytes, count := 0, 0
		for count < len(checks) && (count == 0 || bytes+len(checks[count].canary.cold) <= mostQueryBytes) {
			bytes += len(checks[count].canary.cold)
			count++
		}
		if c.checkRecent(ctx, &state, checks[:count], until, now) != nil {
			break // The next renewal tries again.
		}
		checks = checks[count:]
	}
	took := time.Since(now)
	hot.Rest(took)
	cold.Rest(took)
}

// dueChecks returns those metrics to check until a time that were used within another, and makes those
// pending whose whole measurement is due. end is the end of cold.
func (c *Comparer) dueChecks(end int64, usedFor time.Duration, until, now time.Time) (checks []recentCheck) {
	p := c.comparisons
	p.mutex.Lock()
	defer p.mutex.Unlock()
	records := p.recent.Values()
	most := 1 + len(records)*int(2*c.options.ProbeInterval)/int(max(c.options.LearnInterval, 1))
	for _, record := range records {
		known := record.known
		isOutdated := known != nil && known.checked.IsZero() && record.waiting != nil
		if known == nil || isOutdated || now.Sub(record.used) > usedFor || now.Sub(known.checked) < c.checkInterval(known)*3/4 {
			continue
		}
		if hasMoved(known, end) || until.Sub(time.UnixMilli(known.until)) > mostUnchecked {
			p.outdate(record)
			continue
		}
		if now.Sub(time.UnixMilli(known.measured)) > c.wholeInterval(known) && most > 0 {
			most--
			p.add(record)
		}
		if known.current != nil && known.interval <= renewalWindow/8 {
			checks = append(checks, recentCheck{record, known, *known.current})
		} else {
			renewed := *known
			renewed.until, renewed.checked = now.UnixMilli(), now
			record.known = &renewed
		}
	}
	slices.SortFunc(checks, func(a, b recentCheck) int { return a.known.checked.Compare(b.known.checked) })
	return checks
}

// wholeInterval returns the time between two comparisons of all of a metric. It grows with the time
// that is compared, so that the cost does not. Holes do not come into being in the past, but may be
// filled.
func (c *Comparer) wholeInterval(known *measurement) time.Duration {
	const shortest, longest = 10, 60
	hours := (known.until - known.since) / time.Hour.Milliseconds()
	return c.options.LearnInterval * time.Duration(min(max(hours, shortest), longest))
}

// hasMoved reports whether cold ends later than a metric that it had not got.
func hasMoved(known *measurement, end int64) bool {
	tail, ok := tailOf(known)
	return ok && tail.from != tier.Beginning && end < known.until && end > tail.from+known.interval.Milliseconds()
}

// tailOf returns the stretch of cold that has no end yet.
func tailOf(known *measurement) (gap, bool) {
	if last := len(known.coldLacks) - 1; last >= 0 && known.coldLacks[last].to == tier.End {
		return known.coldLacks[last], true
	}
	return gap{}, false
}

// checkRecent compares how many samples both tiers have before a time. If they have as many as
// before, the metric is measured until that time. Otherwise it is measured again.
func (c *Comparer) checkRecent(ctx context.Context, state *State, checks []recentCheck, until, now time.Time) error {
	over := countWindowsOf(until.Add(-renewalWindow).UnixMilli(), until.UnixMilli(), shortestStep)
	var canaries []comparedSeries
	for _, each := range checks {
		canaries = append(canaries, each.canary)
	}
	measurer := c.newMeasurer(state)
	hot, cold, err := measurer.countBoth(ctx, canaries, over)
	if err != nil {
		return err
	}
	p := c.comparisons
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for i, each := range checks {
		if each.record.known != each.known {
			continue // It has been measured meanwhile.
		}
		_, hasTail := tailOf(each.known)
		last := over.count - 1
		isAsBefore := hasTail && cold[i][last] == 0 && hot[i][last] > 0
		if !hasTail {
			isAsBefore = len(newRegions(over, cold[i], hot[i], measurer, each.known.coldLacks)) == 0 &&
				len(newRegions(over, hot[i], cold[i], measurer, each.known.hotLacks)) == 0 && hot[i][last]+cold[i][last] > 0
		}
		if !isAsBefore {
			p.outdate(each.record)
			continue
		}
		renewed := *each.known
		renewed.until, renewed.checked = until.UnixMilli(), now
		each.record.known = &renewed
	}
	return nil
}

// newRegions returns the windows in which a tier lacks samples, other than in known stretches.
func newRegions(over countWindows, counts, others []int, m *measurer, known []gap) (list []gap) {
	for _, region := range over.lackingWindows(counts, others, m.leastOf) {
		isKnown := false
		for _, each := range known {
			isKnown = isKnown || (each.from < region.to && each.to > region.from)
		}
		if !isKnown {
			list = append(list, region)
		}
	}
	return list
}
