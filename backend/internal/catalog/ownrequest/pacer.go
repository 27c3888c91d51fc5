package ownrequest

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

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

// ErrPartial is returned for an answer with warnings: some of cold's stores did not answer.
var ErrPartial = errors.New("some of its stores did not answer")

// Pacer bounds the requests for evidence to one server, of all tiers and datasources that use
// it. It slows down for a server that is slow, and pauses after failures. It is safe for
// concurrent use.
type Pacer struct {
	slots *semaphore.Weighted

	mutex  sync.Mutex
	rests  time.Time     // until when nothing is renewed
	pauses time.Time     // until when nothing is requested
	pause  time.Duration // after the last failure; zero after a success
	took   time.Duration // of the last request
}

// NewPacer returns a pacer without a pause.
func NewPacer() *Pacer { return &Pacer{slots: semaphore.NewWeighted(evidenceAtOnce)} }

// Paced makes one request as soon as the pacer and the budget have room for it, and any pause is
// over. It returns the error of the request, or that of ctx if it ends first.
func (c Client) Paced(ctx context.Context, request func(context.Context) error) error {
	p := c.Pacer
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.slots.Release(1)
	for p.IsPaused(time.Now()) {
		if !Sleep(ctx, p.pauseLeft(time.Now())) {
			return ctx.Err()
		}
	}
	if !c.Budget.Acquire(ctx) {
		return ctx.Err()
	}
	defer c.Budget.Release()
	timed, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	began := time.Now()
	err := request(timed)
	if ctx.Err() == nil { // Otherwise it says nothing about the server.
		p.record(began, time.Now(), err == nil || errors.Is(err, ErrPartial) || upstream.CannotTell(err))
	}
	return err
}

// record records the end of a request.
func (p *Pacer) record(began, now time.Time, answered bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.took = now.Sub(began)
	if answered {
		p.pause = 0
		return
	}
	p.pause = min(max(2*p.pause, firstPause), longestPause)
	p.pauses = now.Add(p.pause)
}

// Rest begins the pause after renewals that took some time, if the server is slow.
func (p *Pacer) Rest(took time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if isSlow(took) {
		p.rests = time.Now().Add(restFactor * took)
	}
}

// IsStrained reports whether the server failed the last request, or took long for it. Then queries
// do not wait for renewals, which go on in the background.
func (p *Pacer) IsStrained() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.pause > 0 || isSlow(p.took)
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

// HasFailed reports whether the last request failed.
func (p *Pacer) HasFailed() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.pause > 0
}

// IsPaused reports whether the server failed a short while ago.
func (p *Pacer) IsPaused(now time.Time) bool { return p.pauseLeft(now) > 0 }

// MayRenew reports whether evidence may be renewed now.
func (p *Pacer) MayRenew(now time.Time) bool {
	if p.IsPaused(now) {
		return false
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return !now.Before(p.rests)
}
