package ownrequest

import (
	"context"
	"math/rand/v2"
	"time"
)

// Jittered returns an interval that differs by up to a tenth, so that several gateways do not
// send their requests at the same time.
func Jittered(interval time.Duration) time.Duration {
	return time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // Nothing depends on it.
}

// Sleep waits for a time. It returns false if ctx ends first.
func Sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// WaitAll waits for all channels. It returns false if ctx ends first.
func WaitAll(ctx context.Context, waits []<-chan struct{}) bool {
	for _, wait := range waits {
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
