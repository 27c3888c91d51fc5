// Package gaps finds out by samples since when a server has all of them: what hot covers.
package gaps

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// scanWindow is the time of which a scan counts the samples at once. It grows with the age
	// of the samples, up to mostScanWindow. windowsPerScan is the number of them in one query.
	scanWindow     = 10 * time.Minute
	mostScanWindow = 4 * time.Hour
	windowsPerScan = 500
	// examinedAtOnce is the longest time of which a scan reads every sample at once.
	examinedAtOnce = 6 * time.Hour
	// examinedAround is the time before and after it in which the scrape interval is measured.
	examinedAround = 30 * time.Minute
	// followedFor is the longest time that one look at a canary reads. After a longer pause, the
	// detector looks at everything again.
	followedFor = 30 * time.Minute
	// gapSettlesAfter is the age from which on a gap is certain. Before that, it may turn out to
	// be a changed scrape interval, so the detector looks at it again, every recheckInterval.
	gapSettlesAfter = 15 * time.Minute
	recheckInterval = 30 * time.Second
	// startCheckInterval is how often the detector checks that the oldest samples are still
	// there, if the server does not report it.
	startCheckInterval = time.Minute
	// depthOfScan is the maximum age of samples that a scan looks for.
	depthOfScan = 10 * 365 * 24 * time.Hour
)

// detector finds out since when a server has samples without a gap. It follows a few canary
// series: usually series named up, which a Prometheus writes at every scrape, even if the target
// is down.
//
// It looks back from the newest samples to the oldest ones, and stops at the first gap. What it
// finds depends on the samples of the server alone, so that every look finds the same.
type detector struct {
	// scope restricts the canaries to one source, as a matcher list without braces.
	scope string
	// canaries are the canary series of now, and interval is the longest scrape interval that
	// was seen among their candidates.
	canaries []canary
	interval time.Duration
	// newest is the timestamp of the newest sample, or zero if there is none. empty is set if
	// the server has no series now.
	newest int64
	empty  bool
	// names are the metric names of the canaries if they are not named up. Older canaries have
	// to have the same names: a recorded series may have been added for a time before the first
	// scrape.
	names []string
	// start is the time since which there is no gap, as far as it was looked for. older are the
	// series to look at before start, and olderUntil is the time at which they were chosen: they
	// do not have to have samples after it. complete is set if start is the end of a gap or of all
	// samples, and ended if it is the end of a gap, or of all samples before bound.
	start           int64
	older           []canary
	olderUntil      int64
	complete, ended bool
	bound           int64
	lookedAt        time.Time // when the canaries were chosen, or none were found
	startCheckedAt  time.Time
	usedAt          time.Time
	isContinued     bool // the last look found the newest samples, and no gap before them
}

// follow looks for the newest sample and for gaps since the last look.
func (d *detector) follow(ctx context.Context, client asker, now time.Time) error {
	d.isContinued = false
	recheck := now.Sub(d.lookedAt) >= recheckInterval
	unsettled := d.ended && now.UnixMilli()-d.start < milliseconds(gapSettlesAfter)
	if now.UnixMilli()-d.newest < milliseconds(followedFor) && (!unsettled || !recheck) {
		known := min(d.newest, now.UnixMilli()) // Each canary has to have its samples since then.
		for i := range d.canaries {
			fresh, whole, err := d.followOne(ctx, client, &d.canaries[i], known, now)
			if err != nil {
				return err
			}
			if fresh && whole {
				d.canaries[0], d.canaries[i] = d.canaries[i], d.canaries[0]
				d.isContinued = true
				return nil
			}
			recheck = recheck || fresh
		}
	}
	if !recheck {
		return nil // No samples come in.
	}
	return d.restart(ctx, client, now)
}

// followOne reports whether a canary has a new sample, and whether it has all samples since the
// last look, which found samples until a known time.
func (d *detector) followOne(ctx context.Context, client asker, followed *canary, known int64, now time.Time) (fresh, whole bool, err error) {
	margin := time.Duration(max(2*intervalsAround*followed.interval, milliseconds(3*time.Minute))) * time.Millisecond
	times, err := client.timestamps(ctx, followed.selector, time.UnixMilli(known).Add(-margin), now)
	if len(times) == 0 {
		return false, false, err
	}
	last := times[len(times)-1]
	followed.interval = usual(newestInterval(times), followed.interval)
	missing := absences(times, followed.interval, max(d.start, known), last)
	d.newest = max(d.newest, last)
	return now.UnixMilli()-last <= 2*followed.interval+milliseconds(ownrequest.Slack), len(missing) == 0, nil
}

// restart chooses new canaries, and forgets what was found.
func (d *detector) restart(ctx context.Context, client asker, now time.Time) error {
	search, err := client.canariesAt(ctx, d.scope, now, ownrequest.Slack)
	if err != nil {
		return err
	}
	found := search.alive
	d.newest, d.empty, d.names = max(d.newest, search.newest), search.empty, search.names
	if len(found) == 0 {
		if d.newest == 0 {
			if d.newest, err = client.searchNewest(ctx, "up{"+d.scope+"}", now, now.Add(-24*time.Hour)); err != nil && !upstream.CannotTell(err) {
				return err
			}
		}
		// The canaries may come back. Until then, nothing is known.
		d.start, d.complete, d.ended, d.lookedAt = max(d.newest, d.start), true, true, now
		return nil
	}
	d.canaries, d.interval = found.fastest(), found.slowest()
	d.older, d.start = slices.Clone(d.canaries), 0
	for _, each := range d.canaries {
		d.start = max(d.start, each.newest)
	}
	d.olderUntil = d.start
	d.complete, d.ended, d.bound, d.startCheckedAt, d.lookedAt = false, false, math.MaxInt64, now, now
	return nil
}

// scan looks for gaps between bound, in milliseconds since the Unix epoch, and the time since
// which none are known. It goes on where it ended if it returns an error.
func (d *detector) scan(ctx context.Context, client asker, bound int64, now time.Time) error {
	bound = max(bound, now.Add(-depthOfScan).UnixMilli())
	if !d.ended && bound < d.bound {
		d.complete = false
	}
	window, stalled := scanWindow, false
	for !d.complete {
		before := d.start
		if err := d.scanWindows(ctx, client, bound, milliseconds(window)); err != nil {
			return err
		}
		if stalled && d.start >= before {
			d.complete, d.ended = true, true // What the server answers makes no sense.
		}
		stalled = d.start >= before
		window = min(4*window, mostScanWindow)
	}
	d.bound = bound
	return nil
}

// scanWindows counts the samples of the canaries in some windows before start, from the newest
// to the oldest one. It reads every sample of those with fewer samples than there should be.
func (d *detector) scanWindows(ctx context.Context, client asker, bound, window int64) error {
	windows := min((d.start-bound)/window+1, windowsPerScan)
	top := d.start
	counts, err := d.count(ctx, client, top-(windows-1)*window, top, window)
	if err != nil {
		return err
	}
	full := window / fastestInterval(d.older)
	for i := int64(0); i < windows && d.start > bound; i++ {
		end := top - i*window
		if end-window >= bound && isFull(counts[end], full) {
			d.start = end - window
			continue
		}
		// The neighbours are examined along.
		for !isFull(counts[top-(i+1)*window], full) && (i+2)*window-(top-end) <= milliseconds(examinedAtOnce) {
			i++
		}
		bottom := max(top-(i+1)*window, bound)
		interval, err := d.examine(ctx, client, bottom, bound)
		if err != nil || d.start > bottom {
			return err // There is a gap, or there are other canaries, to be counted anew.
		}
		full = window / interval
	}
	d.complete = d.start <= bound
	return nil
}

// isFull reports whether a window has as many samples as it should have. More of them mean
// another scrape interval. With some versions of Prometheus, samples at both ends count.
func isFull(count, full int64) bool { return count == full || count == full+1 }

func fastestInterval(canaries []canary) int64 {
	fastest := int64(math.MaxInt64)
	for _, each := range canaries {
		fastest = min(fastest, each.interval)
	}
	return fastest
}

// count returns the largest number of samples of the older canaries in windows, by the end of
// the window.
func (d *detector) count(ctx context.Context, client asker, from, to, window int64) (map[int64]int64, error) {
	var parts []string
	for _, each := range d.older {
		parts = append(parts, fmt.Sprintf("count_over_time(%s[%dms])", each.selector, window))
	}
	samples, err := client.Samples(ctx, "/api/v1/query_range", url.Values{
		"query": {fmt.Sprintf("max(%s)", strings.Join(parts, " or "))},
		"start": {promapi.FormatTime(time.UnixMilli(from))}, "end": {promapi.FormatTime(time.UnixMilli(to))},
		"step": {strconv.FormatFloat(float64(window)/1000, 'f', 3, 64)},
		// Otherwise VictoriaMetrics moves the windows.
		"nocache": {"1"},
	})
	if err != nil {
		return nil, err
	}
	counts := make(map[int64]int64, len(samples))
	for _, sample := range samples {
		counts[int64(sample.Timestamp)] = int64(sample.Value)
	}
	return counts, nil
}

// examine reads the samples of the older canaries between bottom and start. If there is no gap,
// it moves start to bottom, and returns the scrape interval of that time in milliseconds. If all
// canaries lack samples, it looks for other series that have some: then they are the older
// canaries from now on. If there are none, start is the end of a gap.
func (d *detector) examine(ctx context.Context, client asker, bottom, bound int64) (interval int64, err error) {
	missing := []absence{{math.MinInt64, math.MaxInt64}}
	for i := range d.older {
		each := &d.older[i]
		times, err := client.timestamps(ctx, each.selector, time.UnixMilli(bottom).Add(-examinedAround), time.UnixMilli(d.start).Add(examinedAround))
		if err != nil {
			return 0, err
		}
		// An absence may have begun before start, and end after it.
		top := d.olderUntil
		if after, _ := slices.BinarySearch(times, d.start); after < len(times) {
			top = min(top, times[after])
		}
		missing = intersect(absences(times, each.interval, bottom, top), missing)
		inside, _ := slices.BinarySearch(times, bottom)
		each.interval = usual(oldestInterval(times[inside:]), each.interval)
		interval = max(interval, each.interval)
		if len(missing) == 0 {
			d.start = bottom
			return interval, nil
		}
	}
	last := missing[len(missing)-1]
	if last.to-bound <= tolerance(interval) {
		d.start = bound
		return interval, nil
	}
	// Other series may have samples in that time. A series that is there in the middle of the
	// canaries' absence has to be as fast as they are, or it would hide the gap.
	search, err := d.searchOlder(ctx, client, time.UnixMilli(last.to))
	if err != nil {
		return 0, err
	}
	found := search.alive
	if last.from != math.MinInt64 {
		found = slices.DeleteFunc(found, func(other canary) bool { return last.to-other.newest > tolerance(interval) })
	}
	d.start = last.to
	if len(found) > 0 {
		d.older, d.olderUntil = found.fastest(), last.to
		return interval, nil
	}
	// Every series has its first sample within an interval.
	d.start += max(interval, milliseconds(d.interval))
	d.complete, d.ended = true, true
	return interval, nil
}

// searchOlder looks for series that have samples before a time.
func (d *detector) searchOlder(ctx context.Context, client asker, at time.Time) (canarySearch, error) {
	if len(d.names) > 0 {
		return client.namedCanariesAt(ctx, d.names, d.scope, at, 0)
	}
	return client.upCanariesAt(ctx, d.scope, at, 0)
}

// checkStart looks for gaps anew if the samples at start are no longer there. It is for servers
// that do not report their oldest sample.
func (d *detector) checkStart(ctx context.Context, client asker, now time.Time) error {
	if !d.complete || len(d.older) == 0 || now.Sub(d.startCheckedAt) < startCheckInterval {
		return nil
	}
	d.startCheckedAt = now
	window := max(milliseconds(scanWindow), 2*milliseconds(d.interval))
	end := min(d.start+window, now.UnixMilli())
	counts, err := d.count(ctx, client, end, end, window)
	if err != nil || len(counts) > 0 {
		return err
	}
	return d.restart(ctx, client, now)
}
