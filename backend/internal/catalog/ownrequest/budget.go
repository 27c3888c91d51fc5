package ownrequest

import (
	"context"

	"golang.org/x/sync/semaphore"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
)

// Budget limits the probes of all tiers of one project. nil means no limit.
type Budget struct {
	slots  *semaphore.Weighted
	memory *admission.BudgetShare
}

// NewBudget returns a budget for a number of concurrent probes, and for the bytes of all
// metric names in memory.
func NewBudget(atOnce, nameBytes int64) *Budget {
	return &Budget{slots: semaphore.NewWeighted(atOnce), memory: admission.NewBudget[string](nameBytes, 0).Of("names")}
}

// Acquire waits until a probe may begin. It returns false if ctx ends first.
func (p *Budget) Acquire(ctx context.Context) bool {
	if p == nil {
		return ctx.Err() == nil
	}
	return p.slots.Acquire(ctx, 1) == nil
}

// Memory returns the memory for metric names, or nil for no limit.
func (p *Budget) Memory() *admission.BudgetShare {
	if p == nil {
		return nil
	}
	return p.memory
}

// Release ends a probe that Acquire let begin.
func (p *Budget) Release() {
	if p != nil {
		p.slots.Release(1)
	}
}
