package live

import (
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

// piece is what one evaluation has answered for some steps.
type piece struct {
	first, last int64
	matrix      *splice.Matrix
	bytes       int64 // of the topic's memory
}

// window is what a topic knows of the steps that may still change. It never changes itself. All times
// are in milliseconds since the Unix epoch.
type window struct {
	pieces []piece
	// settled is the last step that can no longer change.
	settled int64
	// checkedAt is when all steps after settled were evaluated.
	checkedAt time.Time
	// answer says who answered the newest step.
	answer *Answer
	// isWhole is set if one evaluation answered all steps of the topic.
	isWhole bool
}

// first returns the first step of the window.
func (w *window) first() int64 { return w.pieces[0].first }

// last returns the newest step.
func (w *window) last() int64 { return w.pieces[len(w.pieces)-1].last }

// part returns the matrices with the steps from a time on.
func (w *window) part(from, step int64) ([]*splice.Matrix, error) {
	var parts []*splice.Matrix
	for _, piece := range w.pieces {
		if piece.last < from {
			continue
		}
		part, err := piece.matrix.Part(max(from, piece.first), piece.last, step)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// followedBy returns the window with one more piece.
func (w *window) followedBy(next piece, answer *Answer) *window {
	return &window{pieces: append(slices.Clip(w.pieces), next), settled: w.settled, checkedAt: w.checkedAt, answer: answer}
}

// changedSince returns the first step that is new in a piece, or that has another value than in the
// window, which may be nil.
func (next piece) changedSince(w *window, step int64) (int64, error) {
	if w == nil {
		return next.first, nil
	}
	changed := w.last() + step
	for _, known := range w.pieces {
		from, to := max(known.first, next.first), min(known.last, next.last)
		if from > to {
			continue
		}
		before, err := known.matrix.Part(from, to, step)
		if err != nil {
			return 0, err
		}
		after, err := next.matrix.Part(from, to, step)
		if err != nil {
			return 0, err
		}
		at, differs, err := splice.FirstDifference(before, after, to)
		switch {
		case err != nil:
			return 0, err
		case differs:
			changed = min(changed, at)
		}
	}
	return max(changed, next.first), nil
}
