package diagnosis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// AdviceOptions are the options of Advise.
type AdviceOptions struct {
	// Ranges are the time ranges of typical queries, up to MaxRanges. Each is at least a minute.
	Ranges []time.Duration
	// Query is the PromQL of typical queries. $__interval and $__rate_interval stand for what a
	// panel of Perses puts there. Empty: tierproxy chooses a query.
	Query string
	// Measure is set to measure how long the tiers take.
	Measure bool

	limits adviceLimits // the default for the zero value
}

// MaxRanges is the maximum number of ranges in AdviceOptions.
const MaxRanges = 10

// Validate returns the first mistake in the options.
func (o AdviceOptions) Validate() error {
	if len(o.Ranges) == 0 || len(o.Ranges) > MaxRanges {
		return fmt.Errorf("there are %d ranges: name 1 to %d", len(o.Ranges), MaxRanges)
	}
	for _, each := range o.Ranges {
		if each < time.Minute {
			return fmt.Errorf("the range %s is shorter than a minute", formatRange(each))
		}
	}
	if o.Query == "" {
		return nil
	}
	text := typicalQuery{template: o.Query}.text(time.Minute)
	if _, err := promql.Check(len(text), text); err != nil {
		return fmt.Errorf("the query: %w", err)
	}
	if _, err := promql.Parse(text); err != nil {
		return fmt.Errorf("the query: %w", err)
	}
	return nil
}

// Advise says whether typical queries of the configuration's datasource are split, whether their answers
// are kept, and what prevents it. With AdviceOptions.Measure it also measures both tiers, and says
// which threshold would be faster. It returns nothing while a tier is unavailable, which Diagnose
// reports, or without a cold tier. The Manager has to be started, and the options valid.
func Advise(ctx context.Context, manager *datasource.Manager, options AdviceOptions) []Finding {
	a := &advice{diagnosis: diagnosis{core: core.Of(manager)}, options: options}
	if a.options.limits == (adviceLimits{}) {
		a.options.limits = defaultLimits
	}
	a.core.Resolver.Settle(ctx)
	var err error
	if a.resolved, err = a.core.Resolver.WaitDefault(ctx); err != nil || !a.tiersAnswer() {
		return nil
	}
	a.began = time.Now()
	if err = a.choose(ctx); err == nil {
		err = a.plan(ctx)
	}
	if err == nil {
		err = a.unused(ctx)
	}
	if err != nil {
		a.add("routing", SeverityNote, "typical queries were not looked at: "+describeError(ctx, err), "to look at a query of yours, set --query")
		return a.findings
	}
	if options.Measure {
		a.measure(ctx)
	}
	a.comparison()
	a.splitting()
	a.caching()
	return a.findings
}

// describeError describes an error of Advise.
func describeError(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "the time for all checks (--timeout) was over"
	}
	return err.Error()
}

// advice collects what Advise finds.
type advice struct {
	diagnosis

	options  AdviceOptions
	resolved *resolve.Resolved
	began    time.Time
	typical  typicalQuery
	selector string        // of the series that the typical query reads; empty if the operator names the query
	queries  []*rangeQuery // by range, the shortest first
	measured measurements
}

// typicalQuery is the PromQL of typical queries.
type typicalQuery struct {
	// template is PromQL with $__interval and $__rate_interval.
	template string
	// series is the number of series that it reads, or zero if that is unknown.
	series int
}

// text returns the PromQL for a step, as Perses makes it for a datasource with its default
// scrapeInterval.
func (q typicalQuery) text(step time.Duration) string {
	return strings.NewReplacer("$__interval", model.Duration(step).String(),
		"$__rate_interval", model.Duration(max(step+minStep, 4*minStep)).String()).Replace(q.template)
}

// rangeQuery is a typical query over a range that ends now.
type rangeQuery struct {
	length, step time.Duration
	text         string
	plan         *engine.Plan
}

const (
	// minStep is the scrapeInterval of a datasource that names none, and so the smallest step.
	minStep = time.Minute
	// panelSteps is how many steps a panel of middle width has at least.
	panelSteps = 500
)

// stepOf returns the step of a panel.
func stepOf(length time.Duration) time.Duration {
	step := minStep
	for _, round := range []time.Duration{2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour} {
		if length/panelSteps >= round {
			step = round
		}
	}
	return step
}

// tiersAnswer reports whether there is a cold tier that answers and, if there is a hot tier, it too.
func (a *advice) tiersAnswer() bool {
	servers := a.resolved.Datasource.Hot
	return a.resolved.Cold != nil && a.resolved.Cold.Status().Available &&
		(len(servers) == 0 || slices.ContainsFunc(servers, func(server engine.Replica) bool { return server.Hot.Status().Available }))
}

// hasHot reports whether there is a hot tier.
func (a *advice) hasHot() bool { return len(a.resolved.Datasource.Hot) > 0 }

// labelsOfHot returns the external labels of a source of hot that answers queries, or nil.
func (a *advice) labelsOfHot() map[string]string {
	for _, server := range a.resolved.Datasource.Hot {
		if server.Catalog == nil || !server.Hot.Status().Available {
			continue
		}
		known := server.Catalog.Snapshot().Evidence
		if known == nil {
			continue
		}
		for _, source := range known.SourcesOfHot() {
			if len(source) > 0 && !promql.ContainsLabels(known.Unlike, source) {
				return source
			}
		}
	}
	return nil
}

// candidates are metrics of which each target has one series, in the order in which they are tried,
// with a function that panels apply to such a metric.
var candidates = []struct{ metric, function string }{
	{"process_cpu_seconds_total", "rate"},
	{"up", "avg_over_time"},
}

// maxSeries is the maximum number of series that the chosen query reads.
const maxSeries = 500

// choose chooses the typical query: one that reads at most maxSeries series, all of one source of hot. It makes
// one instant query per candidate.
func (a *advice) choose(ctx context.Context) error {
	if a.options.Query != "" {
		a.typical = typicalQuery{template: a.options.Query}
		return nil
	}
	from := tier.Cold
	if a.hasHot() {
		from = tier.Hot
	}
	pinned, failed := a.labelsOfHot(), errors.New("no tier has process_cpu_seconds_total or up")
	for _, candidate := range candidates {
		selector := selectorOf(candidate.metric, pinned)
		jobs, err := a.countByJob(ctx, selector, from)
		if err != nil {
			failed = err
			continue
		}
		job, series := pickJob(jobs)
		if series == 0 {
			continue
		}
		if job != "" {
			matchers := map[string]string{"job": job}
			maps.Copy(matchers, pinned)
			selector = selectorOf(candidate.metric, matchers)
		}
		a.selector = selector
		a.typical = typicalQuery{template: fmt.Sprintf("sum by (job) (%s(%s[$__rate_interval]))", candidate.function, selector), series: series}
		return nil
	}
	return failed
}

func selectorOf(metric string, matchers map[string]string) string {
	if len(matchers) == 0 {
		return metric
	}
	return metric + promql.FormatLabels(matchers)
}

// pickJob returns an empty name if all jobs together have at most maxSeries series, and otherwise the largest
// job that has. It returns zero series if there is none.
func pickJob(jobs map[string]int) (job string, series int) {
	total := 0
	for name, count := range jobs {
		total += count
		if name != "" && count <= maxSeries && (count > series || (count == series && name < job)) {
			job, series = name, count
		}
	}
	if total <= maxSeries {
		return "", total
	}
	return job, series
}

// planAgain is how long Advise waits before it plans again.
const planAgain = 250 * time.Millisecond

// plan plans the typical query for each range.
func (a *advice) plan(ctx context.Context) error {
	lengths := slices.Clone(a.options.Ranges)
	slices.Sort(lengths)
	for _, length := range slices.Compact(lengths) {
		query := &rangeQuery{length: length, step: stepOf(length)}
		query.text = a.typical.text(query.step)
		if err := a.planUntilDecided(ctx, query); err != nil {
			return err
		}
		a.queries = append(a.queries, query)
	}
	return nil
}

// planUntilDecided plans a query. While tierproxy does not know yet what the tiers have, it plans again.
func (a *advice) planUntilDecided(ctx context.Context, query *rangeQuery) error {
	for {
		var err error
		if query.plan, err = a.planOnce(ctx, query); err != nil || !a.isUndecided(query.plan) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(planAgain):
		}
	}
}

func (a *advice) planOnce(ctx context.Context, query *rangeQuery) (*engine.Plan, error) {
	now := time.Now()
	admitted, err := a.admit(ctx, query.text, now.Add(-query.length), now, query.step)
	if err != nil {
		return nil, err
	}
	defer admitted.OnPlanned()
	return a.core.Engine.Plan(ctx, admitted)
}

// isUndecided reports whether the decision may change as soon as tierproxy knows more.
func (a *advice) isUndecided(plan *engine.Plan) bool {
	waited := time.Since(a.began)
	return (waited < a.options.limits.known && (plan.Input.Unmeasured != "" || plan.Input.Completeness == tier.Incomplete)) ||
		(waited < a.options.limits.kept && a.resolved.Datasource.Cached && plan.Tier != tier.Hot && plan.NotCached() != "")
}

// admit returns the query for a request of Advise. The caller calls OnPlanned of it. It returns an error
// if the query would read nothing.
func (a *advice) admit(ctx context.Context, text string, start, end time.Time, step time.Duration) (engine.Query, error) {
	request, err := core.NewRequest(text, start, end, step, time.Now())
	if err != nil {
		return engine.Query{}, err
	}
	caller := admission.Caller{Datasource: core.CallerKey(resolve.DefaultName), ID: core.CallerKey("check")}
	query, err := a.core.Admit(ctx, engine.Query{Request: request, Caller: caller}, a.resolved, "")
	if err == nil && query.AnsweredHere() {
		query.OnPlanned()
		err = errors.New("no series that it selects is in the namespaces of the datasource")
	}
	return query, err
}

// isCompared reports whether the threshold decides which tier answers: both hold everything that the
// query reads.
func (q *rangeQuery) isCompared() bool {
	return q.plan.Input.Hot.Available && (q.plan.Rule == 6 || q.plan.Rule == 7)
}

// reach returns how far back hot covers its samples.
func (q *rangeQuery) reach() time.Duration {
	if q.plan.Input.Hot.Oldest == tier.NothingCovered {
		return 0
	}
	return time.Duration(q.plan.Input.Now-q.plan.Input.Hot.Oldest) * time.Millisecond
}

// isKept reports whether what cold answers to the query is kept, for at least so long a part of its range.
func (q *rangeQuery) isKept(part time.Duration) bool {
	until, found := q.plan.KeptUntil()
	return found && until.UnixMilli()-q.plan.Input.Now+q.length.Milliseconds() > part.Milliseconds()
}

// listRanges lists the ranges of queries for people.
func listRanges(queries []*rangeQuery) string {
	names := make([]string, 0, len(queries))
	for _, query := range queries {
		names = append(names, formatRange(query.length))
	}
	return joinNames(names)
}

// joinNames returns "a", "a and b" or "a, b and c".
func joinNames(names []string) string {
	if len(names) < 2 {
		return cmp.Or(append(names, "")...)
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
