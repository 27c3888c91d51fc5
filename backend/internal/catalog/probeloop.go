package catalog

import (
	"context"

	"golang.org/x/sync/semaphore"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
)

// ProbeBudget limits the probes of all tiers of one project. nil means no limit.
type ProbeBudget struct {
	slots  *semaphore.Weighted
	memory *admission.BudgetShare
}

// NewProbeBudget returns a budget for a number of concurrent probes, and for the bytes of all
// metric names in memory.
func NewProbeBudget(atOnce, nameBytes int64) *ProbeBudget {
	return &ProbeBudget{slots: semaphore.NewWeighted(atOnce), memory: admission.NewBudget[string](nameBytes, 0).Of("names")}
}

// acquire waits until a probe may begin. It returns false if ctx ends first.
func (p *ProbeBudget) acquire(ctx context.Context) bool {
	if p == nil {
		return ctx.Err() == nil
	}
	return p.slots.Acquire(ctx, 1) == nil
}

// memoryShare returns the memory for metric names, or nil for no limit.
func (p *ProbeBudget) memoryShare() *admission.BudgetShare {
	if p == nil {
		return nil
	}
	return p.memory
}

func (p *ProbeBudget) release() {
	if p != nil {
		p.slots.Release(1)
	}
}

// latch opens once, after the first probe. One goroutine opens it.
type latch chan struct{}

// Wait blocks until the end of the first probe, whatever its result, or until ctx ends.
func (l latch) Wait(ctx context.Context) {
	select {
	case <-l:
	case <-ctx.Done():
	}
}

// Probed reports whether the first probe has ended, whatever its result.
func (l latch) Probed() bool {
	select {
	case <-l:
		return true
	default:
		return false
	}
}

func (l latch) open() {
	if !l.Probed() {
		close(l)
	}
}
