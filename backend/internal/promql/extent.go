package promql

import (
	"errors"
	"fmt"
	"math"
	"time"

	promqlengine "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// DefaultLookbackDelta is how far an instant selector looks back for a sample by
// default, in Prometheus and in Thanos.
const DefaultLookbackDelta = 5 * time.Minute

// Extent is what a request reads: the oldest and the newest sample timestamp
// it can touch and the longest stretch it reads at once.
type Extent struct {
	// Oldest and Newest bound the timestamps of the samples that the request can
	// touch, in milliseconds since the Unix epoch. Both are inclusive. They are
	// meaningless when Nothing is set.
	Oldest, Newest int64
	// Span is the longest stretch that is read at once: the larger of
	// end − start and the widest window a selector reads at one step.
	Span time.Duration
	// Nothing is set when no sample is read at all, as by `vector(1)`.
	Nothing bool
}

// Evaluation is how a query is evaluated: when, and how far it looks back.
type Evaluation struct {
	// Start and End bound the evaluation times. They are equal in an instant query.
	Start, End time.Time
	// Step is the distance of two evaluation times. It is zero in an instant query.
	Step time.Duration
	// LookbackDelta is the lookback of this evaluation. Zero means
	// DefaultLookbackDelta.
	LookbackDelta time.Duration
}

// Extent returns what the query reads in an evaluation. It is computed as the
// engine does it before it asks its storage: with ranges, offsets, @, subqueries
// and lookback.
//
// It returns ErrBeyondArithmetic, or an error of the engine, when the extent cannot
// be computed. Such a query may still be valid in a tier: see UnknownExtent.
//
// The extent is cached relative to its start: a panel that is refreshed sends the same
// query again, some seconds later.
func (q *Query) Extent(e Evaluation) (Extent, error) {
	if q.facts.namesTime {
		return q.computeExtent(e) // It does not move along with the start.
	}
	key := cacheKey{kind: extentOf, text: q.text, strict: q.strict, span: e.End.Sub(e.Start), step: e.Step, lookback: e.LookbackDelta}
	relative := cached(key, func() (relativeExtent, int) {
		extent, err := q.computeExtent(e)
		return relativeExtent{extent: extent, start: e.Start.UnixMilli(), err: err}, sizeOfError(err)
	})
	return relative.at(e.Start), relative.err
}

// relativeExtent is an extent with the start that it was computed for.
type relativeExtent struct {
	extent Extent
	start  int64 // in milliseconds since the Unix epoch
	err    error
}

// at moves the extent to another start.
func (r relativeExtent) at(start time.Time) Extent {
	moved := r.extent
	if r.err == nil && !moved.Nothing {
		moved.Oldest += start.UnixMilli() - r.start
		moved.Newest += start.UnixMilli() - r.start
	}
	return moved
}

func (q *Query) computeExtent(e Evaluation) (Extent, error) {
	expression, err := promqlengine.PreprocessExpr(clone(q.tree()), e.Start, e.End, e.Step)
	if err != nil {
		return Extent{}, fmt.Errorf("preprocess query: %w", err)
	}
	reads := readsOf(expression)
	switch {
	case reads.reach > largestReach || reads.farthest > largestTimestamp:
		return Extent{}, ErrBeyondArithmetic
	case !reads.selects:
		return Extent{Nothing: true}, nil
	}
	lookback := e.LookbackDelta
	if lookback == 0 {
		lookback = DefaultLookbackDelta
	}
	oldest, newest := promqlengine.FindMinMaxTime(&parser.EvalStmt{
		Expr: expression, Start: e.Start, End: e.End, Interval: e.Step, LookbackDelta: lookback,
	})
	return Extent{Oldest: oldest, Newest: newest, Span: max(e.End.Sub(e.Start), reads.window)}, nil
}

// ErrBeyondArithmetic is returned by Query.Extent when ranges, offsets or @
// timestamps are so large that computing with them overflows.
var ErrBeyondArithmetic = errors.New("the query reaches too far back or ahead to compute its extent")

const (
	largestReach     = float64(1 << 62) // nanoseconds, about 146 years
	largestTimestamp = float64(1 << 50) // milliseconds, more than 30,000 years
)

// reads is how an expression reads its series.
type reads struct {
	selects bool // whether it reads any
	// window is the longest stretch that one selector reads for one evaluation time:
	// its range and the ranges of the subqueries around it. Lookback does not count:
	// an instant selector reads one sample, however far it has to look for it.
	window time.Duration
	// reach is the sum of all ranges and offsets without their signs, in nanoseconds.
	reach float64
	// farthest is the largest timestamp after an @, without its sign, in milliseconds
	// since the Unix epoch.
	farthest float64
}

func readsOf(expression parser.Expr) reads {
	var r reads
	note := func(timestamp *int64, durations ...time.Duration) {
		if timestamp != nil {
			r.farthest = max(r.farthest, math.Abs(float64(*timestamp)))
		}
		for _, duration := range durations {
			r.reach += math.Abs(float64(duration))
		}
	}
	parser.Inspect(expression, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			r.selects = r.selects || node.Func.Name == "info"
		case *parser.MatrixSelector:
			note(nil, node.Range)
		case *parser.SubqueryExpr:
			note(node.Timestamp, node.Range, node.OriginalOffset, node.Offset, node.Step)
		case *parser.VectorSelector:
			if node == nil {
				return nil
			}
			r.selects = true
			note(node.Timestamp, node.OriginalOffset, node.Offset)
			var window time.Duration
			for _, ancestor := range path {
				switch ancestor := ancestor.(type) {
				case *parser.SubqueryExpr:
					window += ancestor.Range
				case *parser.MatrixSelector:
					window += ancestor.Range
				}
			}
			r.window = max(r.window, window)
		}
		return nil
	})
	return r
}

// UnknownExtent returns the extent of a query that cannot be parsed here. It may read
// anything up to its end, so only a tier that holds everything surely answers it.
func UnknownExtent(start, end time.Time) Extent {
	return Extent{Oldest: math.MinInt64, Newest: end.UnixMilli(), Span: end.Sub(start)}
}

// RangeExtent returns the extent of a request that reads the series of a time range
// and evaluates nothing, such as /api/v1/labels. The zero time as start means the
// beginning.
func RangeExtent(start, end time.Time) Extent {
	if start.IsZero() {
		return Extent{Oldest: math.MinInt64, Newest: end.UnixMilli(), Span: math.MaxInt64}
	}
	return Extent{Oldest: start.UnixMilli(), Newest: end.UnixMilli(), Span: end.Sub(start)}
}
