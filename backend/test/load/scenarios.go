package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// panelsPerUser and refresh are those of the dashboards that users look at.
	panelsPerUser = 20
	refresh       = 10 * time.Second
	// atUsers is how many of them there are.
	atUsers = 50
	// half of the machine is left idle by the direct run.
	half = 0.5
)

// asked is how many requests a second that many users make.
func asked(users int) float64 { return float64(users*panelsPerUser) / refresh.Seconds() }

// options say how long it takes.
type options struct {
	// rounds is how often each pair of ways is measured, duration how long each
	// of them is in a round.
	rounds   int
	duration time.Duration
	// crowds are the numbers of users whose cost is compared.
	crowds []int
	// clients ask one request after the other where the most is measured that a
	// way carries.
	clients int
	// only names the scenarios to measure.
	only []string
	// reach is how much history the refreshed dashboards have.
	reach time.Duration
	// dashboards is how many of allDashboards are loaded before they are measured.
	dashboards int
	// filling is how many answers fill the cache at most.
	filling int
}

// The scenarios: an answer that is passed on, a panel through Perses, dashboards of users over Thanos
// and Prometheus, the number of users, a dashboard that is refreshed, and one over two replicas of a
// Prometheus. The last two have servers of their own.
const (
	passingThrough = "passing-through"
	throughPerses  = "perses"
	byDashboards   = "dashboards"
	byUsers        = "users"
	byRefreshes    = "refreshes"
	byReplicas     = "replicas"
)

var allScenarios = []string{passingThrough, throughPerses, byDashboards, byUsers, byRefreshes, byReplicas}

// unknownScenario returns an error for a name that is none of them.
func unknownScenario(names []string) error {
	for _, name := range names {
		if !slices.Contains(allScenarios, name) {
			return fmt.Errorf("there is no scenario %q: name some of %s, separated by commas", name, strings.Join(allScenarios, ", "))
		}
	}
	return nil
}

// bench runs the scenarios and gathers the rows of the table.
type bench struct {
	*world
	options
	report *report
}

// pair is a direct way and one through tierproxy, measured in turns.
type pair struct {
	name            string
	direct, through target
	next            request
	full            float64 // requests a second that are wanted
}

// rounds holds what was measured, one entry for each round.
type rounds struct {
	rate            float64
	direct, through []measured
}

// measure measures a pair in turns at the same fixed rate: the wanted one, or
// less where the direct way alone would take more than half of the machine.
func (b *bench) measure(ctx context.Context, p pair) (rounds, error) {
	rate, err := b.affordable(ctx, p.direct, p.next, p.full)
	if err != nil {
		return rounds{}, fmt.Errorf("%s: %w", p.name, err)
	}
	found := rounds{rate: rate}
	for round := range b.rounds {
		order := []target{p.direct, p.through}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, to := range order {
			run, err := attack(ctx, to, p.next, rate, b.duration)
			if err = errors.Join(err, run.err()); err != nil {
				return found, fmt.Errorf("%s, %s: %w", p.name, to.name, err)
			}
			if to.name == p.direct.name {
				found.direct = append(found.direct, run)
			} else {
				found.through = append(found.through, run)
			}
		}
		b.report.progress("%s, round %d of %d at %.1f requests/s: p95 %s direct, %s through tierproxy", p.name, round+1, b.rounds, rate,
			short(found.direct[round].quantile(0.95)), short(found.through[round].quantile(0.95)))
	}
	return found, nil
}

// affordable is the rate at which requests over the direct way leave half of the
// machine idle, at most the wanted one.
func (b *bench) affordable(ctx context.Context, to target, next request, wanted float64) (float64, error) {
	const trial = 5
	run, err := attack(ctx, to, next, min(trial, wanted), max(b.duration/4, 300*time.Millisecond))
	if err = errors.Join(err, run.err()); err != nil {
		return 0, err
	}
	each := run.cpuOf() + run.cpu[client]/time.Duration(max(run.requests, 1))
	return min(wanted, max(1, half*float64(runtime.NumCPU())/each.Seconds())), nil
}

// ratio is the median of the rounds' ratios of through to direct.
func (r rounds) ratio(of func(measured) float64) float64 {
	ratios := make([]float64, 0, len(r.direct))
	for i := range r.direct {
		ratios = append(ratios, of(r.through[i])/of(r.direct[i]))
	}
	return median(ratios)
}

func (r rounds) median(through bool, of func(measured) float64) float64 {
	runs := r.direct
	if through {
		runs = r.through
	}
	values := make([]float64, 0, len(runs))
	for _, run := range runs {
		values = append(values, of(run))
	}
	return median(values)
}

func median(values []float64) float64 {
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}

func p(share float64) func(measured) float64 {
	return func(m measured) float64 { return m.quantile(share).Seconds() }
}

func cpuOf(names ...string) func(measured) float64 {
	return func(m measured) float64 { return m.cpuOf(names...).Seconds() }
}

// passThrough compares tierproxy with a bare reverse proxy, in front of a server
// that makes answers up: nothing but the way costs anything.
func (b *bench) passThrough(ctx context.Context) error {
	for _, size := range []struct {
		name  string
		bytes int
		rate  float64
	}{{"1 KB", 1 << 10, 1000}, {"100 KB", 100 << 10, 500}, {"20 MB", 20 << 20, 20}} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			found, err := b.measure(ctx, pair{
				name:    fmt.Sprintf("pass through, %s, %s", size.name, method),
				direct:  target{"reverse proxy", b.reverseProxy.URL, map[string]*stack.Server{"proxy": b.reverseProxy, "tier": b.answers}},
				through: target{"tierproxy", b.passing.URL, map[string]*stack.Server{"proxy": b.passing, "tier": b.answers}},
				next:    answerOf(size.bytes, method), full: size.rate,
			})
			if err != nil {
				return err
			}
			what := fmt.Sprintf("added by passing through, %s, %s", size.name, method)
			b.report.atMost(what+": p50", "httputil.ReverseProxy", found, 1.15, p(0.5), duration)
			b.report.atMost(what+": CPU of the proxy", "httputil.ReverseProxy", found, 1.15, cpuOf("proxy"), duration)
		}
	}
	return nil
}

func (b *bench) thanos() map[string]*stack.Server {
	return map[string]*stack.Server{"query": b.coldQuery, "store": b.coldStore}
}

func (b *bench) withTierproxy(servers map[string]*stack.Server) map[string]*stack.Server {
	servers["tierproxy"] = b.users
	return servers
}

// dashboardsOf compares 50 users of tierproxy with as many who ask a tier.
func (b *bench) dashboardsOf(ctx context.Context) error {
	hot := pair{
		name: "50 users, hot", next: dashboards(always(lastMinutes)), full: asked(atUsers),
		direct:  target{"Prometheus", b.hot.URL, map[string]*stack.Server{"tier": b.hot}},
		through: target{"tierproxy", b.users.URL, b.withTierproxy(map[string]*stack.Server{"tier": b.hot})},
	}
	found, err := b.measure(ctx, hot)
	if err != nil {
		return err
	}
	b.report.bound(scaled("50 users × 20 panels, last 5 minutes: p95", found.rate), "Prometheus", found.median(false, p(0.95)), found.median(true, p(0.95)), 0.2, duration)
	b.report.atMost("the same: p95", "Prometheus", found, 1.2, p(0.95), duration)

	// Dashboards that users look at have been loaded before.
	if err := b.loadAll(ctx); err != nil {
		return err
	}
	cold := pair{
		name: "50 users, cold", next: dashboards(evenly(lastHour, lastDay, lastWeek)), full: asked(atUsers),
		direct:  target{"Thanos", b.coldQuery.URL, b.thanos()},
		through: target{"tierproxy", b.users.URL, b.withTierproxy(b.thanos())},
	}
	if found, err = b.measure(ctx, cold); err != nil {
		return err
	}
	b.report.bound(scaled("50 users × 20 panels, last hour to last week: p95", found.rate), "Thanos", found.median(false, p(0.95)), found.median(true, p(0.95)), 3, duration)
	b.report.atMost("the same: p95", "Thanos", found, 1.1, p(0.95), duration)

	servers := b.thanos()
	servers["hot"], servers["tierproxy"] = b.hot, b.users
	mixture := pair{
		name: "50 users, mixed ranges", next: dashboards(mixed), full: asked(atUsers),
		direct: target{"Thanos", b.coldQuery.URL, b.thanos()}, through: target{"tierproxy", b.users.URL, servers},
	}
	if found, err = b.measure(ctx, mixture); err != nil {
		return err
	}
	b.report.atMost(scaled("50 users, 70 % last 5 minutes, 20 % last hour, 10 % last week", found.rate)+": p95", "all of it on Thanos", found, 0.4, p(0.95), duration)
	b.report.atMost("the same: CPU of Thanos", "all of it on Thanos", found, 0.25, cpuOf("query", "store"), duration)
	return b.withFullCache(ctx, mixture)
}

// scaled says at which rate something was measured.
func scaled(what string, rate float64) string {
	wanted := asked(atUsers)
	if rate >= wanted {
		return what
	}
	return fmt.Sprintf("%s, scaled to %.0f %% (%.1f requests/s)", what, 100*rate/wanted, rate)
}

// growth compares what a query costs as users grow.
func (b *bench) growth(ctx context.Context) error {
	direct := target{"Prometheus", b.hot.URL, map[string]*stack.Server{"tier": b.hot}}
	through := target{"tierproxy", b.users.URL, b.withTierproxy(map[string]*stack.Server{"tier": b.hot})}
	panel := dashboards(always(lastMinutes))
	most := b.crowds[len(b.crowds)-1]
	rate, err := b.affordable(ctx, direct, panel, asked(most))
	if err != nil {
		return err
	}
	scale := rate / asked(most)
	cost := make([]float64, 0, len(b.crowds))
	for _, users := range b.crowds {
		found, err := b.measure(ctx, pair{name: fmt.Sprintf("%d users", users), direct: direct, through: through, next: panel, full: max(1, asked(users)*scale)})
		if err != nil {
			return err
		}
		each := found.median(true, cpuOf("tierproxy"))
		cost = append(cost, each)
		b.report.note(fmt.Sprintf("%d users (%.1f requests/s)", users, found.rate), "Prometheus",
			fmt.Sprintf("p95 %s, CPU of tierproxy for a query %s", duration(found.median(true, p(0.95))), duration(each)),
			fmt.Sprintf("p95 %s", duration(found.median(false, p(0.95)))))
	}
	// The first is so few requests that what goes on in the background counts.
	base := cost[min(1, len(cost)-1)]
	b.report.bound(fmt.Sprintf("CPU of tierproxy for a query, %d users against %d", most, b.crowds[min(1, len(cost)-1)]), "linear",
		base, cost[len(cost)-1], 1.2*base, duration)
	return nil
}

// run runs all scenarios, also when one of them fails.
func (b *bench) run(ctx context.Context) error {
	scenarios := map[string]func(context.Context) error{
		passingThrough: b.passThrough, throughPerses: b.throughPerses, byDashboards: b.dashboardsOf, byUsers: b.growth,
	}
	var mistakes []error
	for _, name := range b.only {
		if run := scenarios[name]; run != nil {
			mistakes = append(mistakes, run(ctx))
		}
	}
	return errors.Join(mistakes...)
}
