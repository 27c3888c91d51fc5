package catalog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/comparison"
)

// samples is what is known of the samples that both tiers have of hot's series, or of those of one
// source of hot.
type samples struct {
	newest   atomic.Pointer[coldEnd]
	coldEnd  *comparison.ColdEnd
	comparer *comparison.Comparer // of what both tiers have of the metrics in use
	// coldInterval is the scrape interval of cold, measured at intervalMeasured. Only Run uses
	// them, and coldEnd.
	coldInterval     time.Duration
	intervalMeasured time.Time
	cancel           context.CancelFunc // ends the comparer of a source; nil for hot as a whole
}

// newSamples returns samples of which nothing is known.
func newSamples(options *Options, state func(time.Time) comparison.State) *samples {
	made := &samples{comparer: comparison.New(comparison.Options{
		Hot: options.Hot.api, Cold: options.Cold.api, State: state, ProbeInterval: options.Cold.options.ProbeInterval, LearnInterval: options.LearnInterval,
	})}
	made.newest.Store(&coldEnd{})
	made.coldEnd = comparison.NewColdEnd(made.comparer)
	return made
}

// measureColdInterval measures the scrape interval of cold. If that fails, that of hot counts.
func (s *samples) measureColdInterval(ctx context.Context, now time.Time) {
	at := now
	if newest := s.newest.Load().newest; newest != 0 {
		at = time.UnixMilli(newest)
	}
	var err error
	if s.coldInterval, err = s.coldEnd.MeasureInterval(ctx, at); err != nil {
		s.coldInterval, now = 0, time.Time{}
	}
	s.intervalMeasured = now
}

// measure finds the newest sample that cold has. isNew is false if the last result stays.
func (s *samples) measure(ctx context.Context, lags bool, now time.Time) (isNew bool) {
	newest, found := s.coldEnd.Measure(ctx, s.newest.Load().newest, lags, now)
	if found {
		s.newest.Store(&coldEnd{newest: newest, measured: now, interval: s.coldInterval})
	}
	return found
}
