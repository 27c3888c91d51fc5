//go:build e2e

package oracle

import (
	"context"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// coverage is what a setup has put into its tiers. It is written down where the
// data is written, so that it can be held against what the gateway says.
type coverage struct {
	// hotBegins is where hot's data begins, inclusive; coldEnds where cold's
	// ends, exclusive. The zero time as the latter means that cold has
	// everything.
	hotBegins, coldEnds time.Time
}

// everything is what a setup holds whose cold tier has all the data, or whose
// answers are excused by their warnings.
var everything coverage

// byNeither reports whether a question reads samples from before hot's data
// and from after cold's, so that neither tier alone can answer it. What is read
// is what Prometheus' own engine asks its storage for.
func (c coverage) byNeither(ctx context.Context, asked question) bool {
	if c.coldEnds.IsZero() {
		return false
	}
	oldest, newest, reads := touched(ctx, asked)
	return reads && oldest < c.hotBegins.UnixMilli() && newest >= c.coldEnds.UnixMilli()
}

// touched returns the oldest and the newest timestamp, inclusive, that the
// engine asks its storage for; reads is false where it asks for nothing.
func touched(ctx context.Context, asked question) (oldest, newest int64, reads bool) {
	oldest, newest = math.MaxInt64, math.MinInt64
	for _, each := range selectionsOf(ctx, asked) {
		oldest, newest = min(oldest, each.oldest), max(newest, each.newest)
	}
	return oldest, newest, oldest <= newest
}

// selection is what the engine asks its storage for at once: the samples between two timestamps,
// both inclusive.
type selection struct {
	oldest, newest int64
	matchers       []*labels.Matcher
}

// selectionsOf returns what the engine asks its storage for.
func selectionsOf(ctx context.Context, asked question) []selection {
	seen := &asker{}
	var (
		evaluation promql.Query
		err        error
	)
	query := asked.values.Get("query")
	switch asked.endpoint {
	case "query":
		evaluation, err = bareEngine.NewInstantQuery(ctx, seen, nil, query, asked.at("time"))
	case "query_range":
		step, _ := strconv.ParseFloat(asked.values.Get("step"), 64)
		evaluation, err = bareEngine.NewRangeQuery(ctx, seen, nil, query, asked.at("start"), asked.at("end"), time.Duration(step*float64(time.Second)))
	default:
		return nil // Metadata are united.
	}
	if err != nil {
		return nil // No server evaluates it.
	}
	defer evaluation.Close()
	_ = evaluation.Exec(ctx) // What it asked for counts, whatever came of it.
	return seen.selections
}

// at returns the time of a parameter; that of the Unix epoch if it is missing.
func (q question) at(parameter string) time.Time {
	value, _ := strconv.ParseFloat(q.values.Get(parameter), 64)
	return time.UnixMilli(int64(math.Round(value * 1000)))
}

// bareEngine evaluates with the defaults of the oracle.
var bareEngine = promql.NewEngine(promql.EngineOpts{
	MaxSamples: 50_000_000, Timeout: 10 * time.Second, EnableAtModifier: true, EnableNegativeOffset: true, LookbackDelta: 5 * minute,
	NoStepSubqueryIntervalFn: func(int64) int64 { return scrapeInterval.Milliseconds() },
	Parser:                   parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true}),
})

// asker is an empty storage that notes what it is asked for.
type asker struct {
	mutex      sync.Mutex
	selections []selection
}

// Querier implements storage.Queryable.
func (a *asker) Querier(_, _ int64) (storage.Querier, error) {
	return &askedQuerier{Querier: storage.NoopQuerier(), asker: a}, nil
}

type askedQuerier struct {
	storage.Querier
	asker *asker
}

// Select implements storage.Querier.
func (q *askedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	q.asker.mutex.Lock()
	defer q.asker.mutex.Unlock()
	q.asker.selections = append(q.asker.selections, selection{hints.Start, hints.End, matchers})
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}
