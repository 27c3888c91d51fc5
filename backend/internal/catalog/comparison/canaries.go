package comparison

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// canariesPerTier is the maximum number of canary series of a metric that one tier names.
	canariesPerTier = 3
	// longestSeries is the maximum length of the labels of such a series in bytes.
	longestSeries = 2 << 10
	// canaryCandidates is the number of series among which they are chosen.
	canaryCandidates = 20
	// comparedWindow is the time at both ends of a measurement in which candidates have samples.
	comparedWindow = 10 * time.Minute
)

// comparedSeries is a canary that is compared in both tiers.
type comparedSeries struct {
	hot, cold string // its selectors
}

// Mapping says how the labels of a series differ between the tiers.
type Mapping struct {
	// Injected are the labels that cold has in addition.
	Injected map[string]string
	// Removed are the names of replica labels, which cold may have or not.
	Removed []string
	// Distinct are the labels that all of hot's series have in cold.
	Distinct map[string]string
	// OfHot are the labels of those series of hot that are compared, if these are not all.
	OfHot map[string]string
	// IsAmbiguous is set if series of other sources have no label that tells them from hot's.
	IsAmbiguous bool
}

// ofHot returns the canary for a series of hot. ok is false for a series with an own value of a
// label that cold has in addition.
func (m *Mapping) ofHot(series map[string]string) (_ comparedSeries, ok bool) {
	inCold := promql.WithoutLabels(series, m.Removed)
	for name, value := range m.Injected {
		if _, own := series[name]; own {
			return comparedSeries{}, false
		}
		inCold[name] = value
	}
	return comparedSeries{hot: promql.FormatLabels(series), cold: promql.FormatLabels(inCold)}, true
}

// SeriesInCold returns the selector in cold of a series of hot. ok is false for a series with an own
// value of a label that cold has in addition.
func (m *Mapping) SeriesInCold(series map[string]string) (selector string, ok bool) {
	canary, ok := m.ofHot(series)
	return canary.cold, ok
}

// ofCold returns the canary for a series of cold that comes from hot.
func (m *Mapping) ofCold(series map[string]string) comparedSeries {
	inHot, inCold := promql.WithoutLabels(series, m.Removed), promql.WithoutLabels(series, m.Removed)
	for name := range m.Injected {
		delete(inHot, name)
	}
	return comparedSeries{hot: promql.FormatLabels(inHot), cold: promql.FormatLabels(inCold)}
}

// inHot returns the selector of a metric in hot.
func (m *Mapping) inHot(metric string) string {
	set := map[string]string{model.MetricNameLabel: metric}
	if m != nil {
		maps.Copy(set, m.OfHot)
	}
	return promql.FormatLabels(set)
}

// InCold returns the selector of hot's series of a metric in cold.
func (m *Mapping) InCold(metric string) string {
	set := map[string]string{model.MetricNameLabel: metric}
	maps.Copy(set, m.Injected)
	maps.Copy(set, m.Distinct)
	return promql.FormatLabels(set)
}

// chooseCanaries chooses canaries of a metric among the series of both tiers, if possible such
// as have existed since the beginning.
func (m *measurer) chooseCanaries(ctx context.Context, metric string, since, until int64) (canaries []comparedSeries, err error) {
	var byHot, byCold []map[string]string
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		byHot, err = m.hot.longLived(groupContext, m.mapping.inHot(metric), since, until)
		return err
	})
	if !m.mapping.IsAmbiguous {
		group.Go(func() (err error) {
			byCold, err = m.cold.longLived(groupContext, m.mapping.InCold(metric), since, until)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, series := range byHot {
		if chosen, ok := m.mapping.ofHot(series); ok {
			canaries = append(canaries, chosen)
		}
	}
	for _, series := range byCold {
		if chosen := m.mapping.ofCold(series); !slices.Contains(canaries, chosen) {
			canaries = append(canaries, chosen)
		}
	}
	return canaries, nil
}

// longLived returns some series that a selector matches at the beginning and at the end of a
// time range. It adds series of the end and of the beginning if there are too few.
func (q sampleQuestions) longLived(ctx context.Context, selector string, since, until int64) ([]map[string]string, error) {
	window := min(comparedWindow.Milliseconds(), until-since)
	now, err := q.series(ctx, selector, until-window, until, canaryCandidates)
	if err != nil {
		return nil, err
	}
	then, err := q.series(ctx, selector, since, since+window, canaryCandidates)
	if err != nil {
		return nil, err
	}
	isTooLong := func(series map[string]string) bool { return len(promql.FormatLabels(series)) > longestSeries }
	now, then = slices.DeleteFunc(now, isTooLong), slices.DeleteFunc(then, isTooLong)
	var chosen, rest []map[string]string
	for _, series := range now {
		if promql.ContainsLabels(then, series) {
			chosen = append(chosen, series)
		} else {
			rest = append(rest, series)
		}
	}
	chosen = chosen[:min(len(chosen), canariesPerTier)]
	// Neither end is without a canary.
	for i := range max(len(rest), len(then)) {
		for _, list := range [][]map[string]string{rest, then} {
			if i < len(list) && len(chosen) < canariesPerTier && !promql.ContainsLabels(chosen, list[i]) {
				chosen = append(chosen, list[i])
			}
		}
	}
	return chosen, nil
}

// measurer measures what both tiers have of a metric.
type measurer struct {
	hot, cold sampleQuestions
	mapping   *Mapping
	// least is how many samples in a row have to be missing. Deduplication drops some.
	least int
}

// measurement is what both tiers have of a metric.
type measurement struct {
	// since and until bound the measured time, and measured is when all of it was measured. All
	// are in milliseconds since the Unix epoch.
	since, until, measured int64
	// checked is when it was measured, or seen to be as before, the last time; the zero time if it
	// has changed since.
	checked  time.Time
	canaries []comparedSeries
	current  *comparedSeries // one that has samples now, or nil
	interval time.Duration   // about the time between two samples, or zero if it is unknown
	// hotLacks and coldLacks are the stretches of a tier. Their ends are tier.Beginning and
	// tier.End where they have no other.
	hotLacks, coldLacks []gap
}

// lacks returns the stretches of a tier.
func (m *measurement) lacks(name tier.Name) []gap {
	if name == tier.Hot {
		return m.hotLacks
	}
	return m.coldLacks
}

// contains reports whether the measured time contains the time from a timestamp until now, and was
// checked a short while ago.
func (m *measurement) contains(from int64, now time.Time, staleAfter time.Duration) bool {
	return m != nil && m.since <= from && now.Sub(m.checked) <= staleAfter
}
