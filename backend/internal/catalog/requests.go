package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// RequestKind says what tierproxy wants to know by a request of its own. It is a label value.
type RequestKind string

const (
	// RequestProbe checks whether a tier answers, and measures its coverage and its newest data.
	RequestProbe RequestKind = "probe"
	// RequestStores reads the stores of a Thanos.
	RequestStores RequestKind = "stores"
	// RequestSettings reads the configuration and the flags of a tier.
	RequestSettings RequestKind = "settings"
	// RequestSources finds the sources of cold and the labels of hot's series in cold.
	RequestSources RequestKind = "sources"
	// RequestSeries finds out whether a tier has series of metric names that queries read.
	RequestSeries RequestKind = "series"
	// RequestNames lists metric names for selectors with patterns.
	RequestNames RequestKind = "names"
	// RequestSamples compares which samples of metrics that queries read the tiers have.
	RequestSamples RequestKind = "samples"
)

// RequestKinds lists all kinds.
func RequestKinds() []RequestKind {
	return []RequestKind{RequestProbe, RequestStores, RequestSettings, RequestSources, RequestSeries, RequestNames, RequestSamples}
}

const (
	// evidenceTimeout is the timeout of one request for evidence. Queries do not wait for it.
	evidenceTimeout = 15 * time.Second
	// evidenceAtOnce is the number of concurrent requests for evidence to one server.
	evidenceAtOnce = 2
	// restFactor is how much longer than renewals the pause before the next ones is: they keep
	// less than a tenth of a connection busy.
	restFactor = 10
	// firstPause and longestPause bound the pause after failed requests. It doubles each time.
	firstPause, longestPause = time.Second, time.Minute
)

// errPartial is returned if some of cold's stores did not answer.
var errPartial = errors.New("some of its stores did not answer")

// Pacer bounds the requests for evidence to one server, of all tiers and datasources that use
// it. It slows down for a server that is slow, and pauses after failures. It is safe for
// concurrent use.
type Pacer struct {
	slots *semaphore.Weighted

	mutex  sync.Mutex
	rests  time.Time     // until when nothing is renewed
	pauses time.Time     // until when nothing is requested
	pause  time.Duration // after the last failure; zero after a success
}

// NewPacer returns a pacer without a pause.
func NewPacer() *Pacer { return &Pacer{slots: semaphore.NewWeighted(evidenceAtOnce)} }

// do makes one request as soon as there is room for it, also in the budget, and any pause is
// over.
func (p *Pacer) do(ctx context.Context, budget *ProbeBudget, request func(context.Context) error) error {
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.slots.Release(1)
	for p.isPaused(time.Now()) {
		if !sleep(ctx, p.pauseLeft(time.Now())) {
			return ctx.Err()
		}
	}
	if !budget.acquire(ctx) {
		return ctx.Err()
	}
	defer budget.release()
	timed, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	err := request(timed)
	if ctx.Err() == nil { // Otherwise it says nothing about the server.
		p.record(time.Now(), err == nil || errors.Is(err, errPartial) || upstream.CannotTell(err))
	}
	return err
}

// record records the end of a request.
func (p *Pacer) record(now time.Time, answered bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if answered {
		p.pause = 0
		return
	}
	p.pause = min(max(2*p.pause, firstPause), longestPause)
	p.pauses = now.Add(p.pause)
}

// rest begins the pause after renewals that took some time.
func (p *Pacer) rest(took time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rests = time.Now().Add(restFactor * took)
}

// pauseLeft returns the rest of a pause.
func (p *Pacer) pauseLeft(now time.Time) time.Duration {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.pause == 0 {
		return 0
	}
	return max(0, p.pauses.Sub(now))
}

// hasFailed reports whether the last request failed.
func (p *Pacer) hasFailed() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.pause > 0
}

// isPaused reports whether the server failed a short while ago.
func (p *Pacer) isPaused(now time.Time) bool { return p.pauseLeft(now) > 0 }

// mayRenew reports whether evidence may be renewed now.
func (p *Pacer) mayRenew(now time.Time) bool {
	if p.isPaused(now) {
		return false
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return !now.Before(p.rests)
}

// jittered returns an interval that differs by up to a tenth, so that several gateways do not
// send their requests at the same time.
func jittered(interval time.Duration) time.Duration {
	return time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // Nothing depends on it.
}

// sleep waits for a time. It returns false if ctx ends first.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// startOf formats the start of a request for series. Without a start, some stores look at recent
// data only.
func startOf(since time.Time) string {
	if since.IsZero() || since.UnixMilli() < 0 {
		return "0"
	}
	return promapi.FormatTime(since)
}
