package comparison

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// mostRefined is the maximum number of stretches of a metric whose ends are looked for. Of
	// others, the ends of the windows count.
	mostRefined = 8
	// wholeHistory is how far back cold is searched for a metric that it does not seem to have.
	wholeHistory = 400 * 24 * time.Hour
	// leastMissing is how many samples in a row have to be missing.
	leastMissing = 2
	// leastDeduplicated is the same where cold removes replica labels.
	leastDeduplicated = 4
	// fewSamples is how many samples a metric that cold does not have yet may have in hot.
	fewSamples = 4
)

// measure compares what both tiers have of a metric in a time range.
func (m *measurer) measure(ctx context.Context, metric string, since, until int64) (*measurement, error) {
	made := &measurement{since: since, until: until, measured: until, checked: time.UnixMilli(until)}
	var err error
	if made.canaries, err = m.chooseCanaries(ctx, metric, since, until); err != nil || len(made.canaries) == 0 {
		return made, err
	}
	over, hot, cold, err := m.countEnough(ctx, made)
	if err != nil || areDisjoint(hot, cold) {
		// If no series is in both tiers, their labels differ in a way that is not known.
		return made, err
	}
	if !hasSamples(cold) {
		series, err := m.cold.series(ctx, m.mapping.InCold(metric), until-wholeHistory.Milliseconds(), until, 1)
		if err != nil {
			return nil, err
		}
		if len(series) == 0 && total(hot) >= 2*fewSamples {
			made.coldLacks = []gap{{tier.Beginning, tier.End}}
			return made, nil
		}
	}
	made.hotLacks, err = (&refiner{measurer: m, made: made, over: over, name: tier.Hot}).lacked(ctx, hot, cold)
	if err != nil {
		return nil, err
	}
	made.coldLacks, err = (&refiner{measurer: m, made: made, over: over, name: tier.Cold}).lacked(ctx, cold, hot)
	return made, err
}

// leastOf returns how many samples have to be missing in a window with a number of samples.
// Deduplication drops some where it changes replicas.
func (m *measurer) leastOf(count int) int {
	if m.least > leastMissing {
		return max(m.least, count/50)
	}
	return m.least
}

// countEnough counts the samples of the canaries in windows in which there are enough of them.
func (m *measurer) countEnough(ctx context.Context, made *measurement) (over countWindows, hot, cold [][]int, err error) {
	for step := shortestStep; ; step *= 4 {
		over = countWindowsOf(made.since, made.until, step)
		if hot, cold, err = m.countBoth(ctx, made.canaries, over); err != nil {
			return over, nil, nil, err
		}
		most := max(largest(hot), largest(cold))
		if most > 0 {
			made.interval = time.Duration(2*over.step/int64(most)) * time.Millisecond
		}
		if most == 0 || most >= 2*m.least || over.count <= 4 {
			made.keepCurrent(hot, cold)
			return over, hot, cold, nil
		}
	}
}

// largest returns the largest count.
func largest(counts [][]int) (most int) {
	for _, series := range counts {
		most = max(most, slices.Max(series))
	}
	return most
}

// keepCurrent notes a canary that has samples now.
func (m *measurement) keepCurrent(hot, cold [][]int) {
	for i := range m.canaries {
		if last := len(hot[i]) - 1; hot[i][last] > 0 || cold[i][last] > 0 {
			m.current = &m.canaries[i]
			return
		}
	}
}

// countBoth counts the samples of canaries in both tiers.
func (m *measurer) countBoth(ctx context.Context, canaries []comparedSeries, over countWindows) (hot, cold [][]int, err error) {
	var inHot, inCold []string
	for _, each := range canaries {
		inHot, inCold = append(inHot, each.hot), append(inCold, each.cold)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { hot, err = m.hot.counts(ctx, inHot, over); return err })
	group.Go(func() (err error) { cold, err = m.cold.counts(ctx, inCold, over); return err })
	return hot, cold, group.Wait()
}

// hasSamples reports whether a series has samples.
func hasSamples(counts [][]int) bool { return largest(counts) > 0 }

// total returns the sum of all counts. As windows overlap, a sample counts twice.
func total(counts [][]int) (sum int) {
	for _, series := range counts {
		for _, count := range series {
			sum += count
		}
	}
	return sum
}

// areDisjoint reports whether both tiers have series, but none of them has samples in both.
func areDisjoint(hot, cold [][]int) bool {
	for i := range hot {
		if slices.Max(hot[i]) > 0 && slices.Max(cold[i]) > 0 {
			return false
		}
	}
	return hasSamples(hot) && hasSamples(cold)
}

// refiner finds the ends of the stretches that a tier lacks.
type refiner struct {
	*measurer
	made    *measurement
	over    countWindows
	name    tier.Name // the tier that lacks something
	regions []gap     // that were refined
	found   []gap
}

// lacked returns the stretches. counts are those of the tier, and others those of the other one.
func (r *refiner) lacked(ctx context.Context, counts, others [][]int) ([]gap, error) {
	for i, each := range r.made.canaries {
		for _, region := range r.over.lackingWindows(counts[i], others[i], r.leastOf) {
			if err := r.refine(ctx, each, region, counts[i]); err != nil {
				return nil, err
			}
		}
	}
	return joined(r.found), nil
}

// refine adds the stretches within a region, in which the tier lacks samples of a series. counts
// are how many it has in each window.
func (r *refiner) refine(ctx context.Context, of comparedSeries, region gap, counts []int) error {
	if slices.Contains(r.regions, region) {
		return nil // As a rule, all series lack the same.
	}
	if r.regions = append(r.regions, region); len(r.regions) > mostRefined {
		r.found = append(r.found, region)
		return nil
	}
	list, err := r.within(ctx, of, region)
	if err != nil {
		return err
	}
	for _, each := range list {
		if each.to == r.made.until && !r.hasEnded(each) {
			continue // It is about to come in.
		}
		// Where the other tier has no samples either, the stretch goes on to the next own one.
		if each.to == region.to {
			if each.to, err = r.nextSample(ctx, of, region.to, counts); err != nil {
				return err
			}
		}
		if each.from == region.from {
			if each.from, err = r.previousSample(ctx, of, region.from, counts); err != nil {
				return err
			}
		}
		r.found = append(r.found, each)
	}
	return nil
}

// nextSample returns the timestamp of the first sample that the tier has after a time, or tier.End.
func (r *refiner) nextSample(ctx context.Context, of comparedSeries, after int64, counts []int) (int64, error) {
	for i, count := range counts {
		if count == 0 || r.over.end(i) <= after {
			continue
		}
		samples, err := r.samples(ctx, of, gap{max(after, r.over.start(i)), r.over.end(i)})
		if err != nil || len(samples) > 0 {
			return slices.Min(append(samples, r.over.end(i))), err
		}
	}
	return tier.End, nil
}

// previousSample returns the timestamp of the last sample that the tier has until a time, or
// tier.Beginning.
func (r *refiner) previousSample(ctx context.Context, of comparedSeries, until int64, counts []int) (int64, error) {
	for i := len(counts) - 1; i >= 0; i-- {
		if counts[i] == 0 || r.over.start(i) >= until {
			continue
		}
		samples, err := r.samples(ctx, of, gap{r.over.start(i), min(until, r.over.end(i))})
		if err != nil || len(samples) > 0 {
			return slices.Max(append(samples, r.over.start(i))), err
		}
	}
	return r.beginning(ctx, of)
}

// samples returns the timestamps of the tier's own samples.
func (r *refiner) samples(ctx context.Context, of comparedSeries, bounds gap) ([]int64, error) {
	if r.name == tier.Hot {
		return r.hot.timestamps(ctx, of.hot, bounds)
	}
	return r.cold.timestamps(ctx, of.cold, bounds)
}

// within returns the stretches within a region. Of a long one, only both ends are read.
func (r *refiner) within(ctx context.Context, of comparedSeries, region gap) ([]gap, error) {
	edge := 3 * r.over.step
	if region.to-region.from <= 2*edge {
		return r.gaps(ctx, of, region)
	}
	whole := region
	head, err := r.gaps(ctx, of, gap{region.from, region.from + edge})
	if err != nil {
		return nil, err
	}
	if len(head) > 0 && head[len(head)-1].to == region.from+edge {
		whole.from, head = head[len(head)-1].from, head[:len(head)-1]
	}
	tail, err := r.gaps(ctx, of, gap{region.to - edge, region.to})
	if err != nil {
		return nil, err
	}
	if len(tail) > 0 && tail[0].from == region.to-edge {
		whole.to, tail = tail[0].to, tail[1:]
	}
	return slices.Concat(head, []gap{whole}, tail), nil
}

// gaps returns the stretches within a short time.
func (r *refiner) gaps(ctx context.Context, of comparedSeries, bounds gap) ([]gap, error) {
	var inHot, inCold []int64
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { inHot, err = r.hot.timestamps(ctx, of.hot, bounds); return err })
	group.Go(func() (err error) { inCold, err = r.cold.timestamps(ctx, of.cold, bounds); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	samples, others := inHot, inCold
	if r.name == tier.Cold {
		samples, others = inCold, inHot
	}
	r.made.interval = max(r.made.interval, medianDistance(others))
	return gapsBetween(samples, others, bounds, r.least), nil
}

// hasEnded reports whether a stretch up to now is longer than samples take to get into cold.
func (r *refiner) hasEnded(of gap) bool {
	return of.to-of.from > (5*r.made.interval/2 + ownrequest.Slack).Milliseconds()
}

// beginning returns where a stretch begins that begins before the measured time.
func (r *refiner) beginning(ctx context.Context, of comparedSeries) (int64, error) {
	if r.name == tier.Hot {
		return tier.Beginning, nil // Of what is older, a longer measurement tells.
	}
	start := r.over.start(0)
	for _, each := range []struct{ reach, resolution time.Duration }{{24 * time.Hour, time.Minute}, {30 * 24 * time.Hour, time.Hour}} {
		last, found, err := r.cold.lastBefore(ctx, of.cold, start, each.reach, each.resolution)
		if err != nil || found {
			return last, err
		}
	}
	return start, nil
}

// sortedUnique returns the numbers in order, each of them once.
func sortedUnique(list []int64) []int64 {
	slices.Sort(list)
	return slices.Compact(list)
}
