package tier

import (
	"errors"
	"fmt"
	"math"
	"time"

	promqlengine "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// DefaultLookbackDelta is how far an instant selector looks back for a sample
// when nothing else is said: the default of Prometheus and of Thanos.
const DefaultLookbackDelta = 5 * time.Minute

// Extent is what a request reads: the oldest and the newest sample timestamp
// it can touch and the longest stretch it reads at once.
type Extent struct {
	// Oldest and Newest bound the timestamps of the samples that the request
	// can touch, inclusive, in milliseconds since the Unix epoch. They mean
	// nothing when Nothing is set.
	Oldest, Newest int64
	// Span is the longest stretch that is read at once: the larger of
	// end − start and the widest window a selector reads at one step.
	Span time.Duration
	// Nothing is set when no sample is read at all, as by `vector(1)`.
	Nothing bool
}

// Evaluation is one PromQL evaluation as the query endpoints ask for it.
type Evaluation struct {
	// Query is the PromQL text.
	Query string
	// Start and End bound the evaluation times. They are equal in an instant query.
	Start, End time.Time
	// Step is the distance of two evaluation times; zero in an instant query.
	Step time.Duration
	// LookbackDelta is the lookback of this evaluation; zero means
	// DefaultLookbackDelta.
	LookbackDelta time.Duration
}

// promqlParser accepts everything that some tier may accept: a query that is
// only valid behind a feature flag still has an extent.
var promqlParser = parser.NewParser(parser.Options{
	EnableExperimentalFunctions: true,
	EnableBinopFillModifiers:    true,
	EnableUnquotedUTF8Names:     true,
})

// Analyze returns the extent of e, computed from the AST the way the engine
// computes it before it asks its storage: range, offset, @, subqueries and
// lookback included.
//
// It returns an error when the query cannot be parsed, and
// ErrBeyondArithmetic when its extent cannot be computed. Such a query may still
// be valid in a tier that is newer or speaks another dialect: see
// UnknownExtent.
//
// What a text reads relative to its start is remembered: a panel that is
// refreshed asks the same again, some seconds later.
func Analyze(e Evaluation) (Extent, error) {
	key := promql.KeyOf("extent", e.Query, fmt.Sprint(e.End.Sub(e.Start), e.Step, e.LookbackDelta))
	fixed := false
	found := promql.Remembered(key, func() (relativeExtent, int) {
		found := relativeExtent{start: e.Start.UnixMilli()}
		if found.extent, fixed, found.err = analyze(e); fixed {
			return found, promql.Forget // It does not move along with the start.
		}
		return found, sizeOfError(found.err)
	})
	return found.at(e.Start), found.err
}

// relativeExtent is an extent with the start that it was computed for.
type relativeExtent struct {
	extent Extent
	start  int64
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

// analyze computes the extent. fixed tells that it does not move along with
// the start, because a time stands in the query.
func analyze(e Evaluation) (extent Extent, fixed bool, err error) {
	expression, err := promqlParser.ParseExpr(e.Query)
	if err != nil {
		return Extent{}, false, fmt.Errorf("parse query: %w", err)
	}
	fixed = namesTimes(expression)
	expression, err = promqlengine.PreprocessExpr(expression, e.Start, e.End, e.Step)
	if err != nil {
		return Extent{}, fixed, fmt.Errorf("preprocess query: %w", err)
	}
	if beyondArithmetic(expression) {
		return Extent{}, fixed, ErrBeyondArithmetic
	}
	window, selects := widestWindow(expression)
	if !selects {
		return Extent{Nothing: true}, fixed, nil
	}
	lookback := e.LookbackDelta
	if lookback == 0 {
		lookback = DefaultLookbackDelta
	}
	oldest, newest := promqlengine.FindMinMaxTime(&parser.EvalStmt{
		Expr: expression, Start: e.Start, End: e.End, Interval: e.Step, LookbackDelta: lookback,
	})
	return Extent{Oldest: oldest, Newest: newest, Span: max(e.End.Sub(e.Start), window)}, fixed, nil
}

// namesTimes tells whether a time stands in the query itself, after @.
func namesTimes(expression parser.Expr) bool {
	found := false
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			found = found || (node != nil && node.Timestamp != nil)
		case *parser.SubqueryExpr:
			found = found || node.Timestamp != nil
		}
		return nil
	})
	return found
}

// ErrBeyondArithmetic is returned by Analyze for a query whose ranges, offsets
// or @ timestamps are so large that computing with them overflows: the result
// would point anywhere.
var ErrBeyondArithmetic = errors.New("the query reaches too far back or ahead to compute its extent")

const (
	largestReach     = float64(1<<62) / float64(time.Millisecond) // milliseconds, about 146 years
	largestTimestamp = int64(1 << 50)                             // milliseconds, more than 30,000 years
)

// beyondArithmetic tells whether the extent of the expression could overflow.
// Ranges and offsets of all nesting levels are added up, whatever their sign.
func beyondArithmetic(expression parser.Expr) bool {
	var reach float64
	beyond := false
	add := func(durations ...time.Duration) {
		for _, duration := range durations {
			reach += math.Abs(float64(duration) / float64(time.Millisecond))
		}
	}
	at := func(timestamp *int64) {
		if timestamp != nil && (*timestamp > largestTimestamp || *timestamp < -largestTimestamp) {
			beyond = true
		}
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			add(node.OriginalOffset, node.Offset)
			at(node.Timestamp)
		case *parser.MatrixSelector:
			add(node.Range)
		case *parser.SubqueryExpr:
			add(node.Range, node.OriginalOffset, node.Offset, node.Step)
			at(node.Timestamp)
		}
		return nil
	})
	return beyond || reach > largestReach
}

// UnknownExtent is the extent of a request whose query cannot be parsed here:
// it may read anything up to its end, so that only a tier that holds
// everything is sure to answer it.
func UnknownExtent(start, end time.Time) Extent {
	return Extent{Oldest: math.MinInt64, Newest: end.UnixMilli(), Span: end.Sub(start)}
}

// RangeExtent is the extent of a request that reads the series of a time
// range without evaluating anything, such as /api/v1/labels. The zero time as
// start means from the beginning.
func RangeExtent(start, end time.Time) Extent {
	if start.IsZero() {
		return Extent{Oldest: math.MinInt64, Newest: end.UnixMilli(), Span: math.MaxInt64}
	}
	return Extent{Oldest: start.UnixMilli(), Newest: end.UnixMilli(), Span: end.Sub(start)}
}

// widestWindow returns the longest stretch that one selector reads for one
// evaluation time (its range and the ranges of the subqueries around it), and
// whether there is a selector at all. Lookback is left out: an instant
// selector reads one sample, however far it has to look for it.
func widestWindow(expression parser.Expr) (time.Duration, bool) {
	var widest time.Duration
	selects := false
	parser.Inspect(expression, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || selector == nil {
			if call, ok := node.(*parser.Call); ok && call.Func.Name == "info" {
				selects = true
			}
			return nil
		}
		selects = true
		var window time.Duration
		for _, ancestor := range path {
			switch ancestor := ancestor.(type) {
			case *parser.SubqueryExpr:
				window += ancestor.Range
			case *parser.MatrixSelector:
				window += ancestor.Range
			}
		}
		widest = max(widest, window)
		return nil
	})
	return widest, selects
}
