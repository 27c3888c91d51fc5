package catalog

import (
	"context"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// probesPerLook is how much longer than the time between two probes that between two looks at
	// the targets is: a minute by default.
	probesPerLook = 12
	// lookRest is how much longer than a look the time until the next one is: looks take less than
	// a hundredth of a core.
	lookRest = 100
	// idleLook is the time between two looks while no query uses the server. It is shorter than
	// what one look reads.
	idleLook = targets.LookBack / 2
	// usedFor is how long a server counts as used after a query.
	usedFor = 10 * time.Minute
	// never is the time until the first look before the first query.
	never = 24 * time.Hour
)

// targetWatch follows the targets of a server of hot while queries use it.
type targetWatch struct {
	targets.Follower
	jobs *targets.Jobs
	wake chan struct{} // requests a look

	mutex sync.Mutex
	used  time.Time     // by a query; zero before the first one
	pause time.Duration // after the last look
	ended time.Time     // the end of the last look, whatever its result
	done  chan struct{} // closed at the end of the next look
}

func newTargetWatch() *targetWatch {
	return &targetWatch{jobs: targets.NewJobs(), wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// followTargets looks at the targets of hot until ctx ends, from the first query on.
func (t *Tier) followTargets(ctx context.Context) {
	watch := t.targets
	for {
		timer := time.NewTimer(watch.left(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-watch.wake:
			timer.Stop()
		case <-timer.C:
		}
		t.lookAtTargets(ctx)
	}
}

// lookAtTargets looks at the targets once, if the server answers and its coverage is known.
func (t *Tier) lookAtTargets(ctx context.Context) {
	began, pause := time.Now(), t.options.ProbeInterval
	if t.lookWith(ctx, t.askTargets, began) {
		pause *= probesPerLook
	}
	t.targets.finish(began, time.Now(), ownrequest.Jittered(pause))
}

// finish notes the end of a look, and the least time until the next one.
func (w *targetWatch) finish(began, ended time.Time, pause time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.pause, w.ended = max(pause, lookRest*ended.Sub(began)), ended
	close(w.done)
	w.done = make(chan struct{})
}

// lookWith reports whether a look was made, or the server does not answer such requests at all. Otherwise the
// next one reads the same again.
func (t *Tier) lookWith(ctx context.Context, ask targets.Instant, now time.Time) bool {
	status, state := t.Status(), t.base.coveredState(now)
	if !status.Available || len(state.Notes) > 0 || state.Oldest == tier.NothingCovered {
		return false
	}
	err := t.targets.Look(ctx, ask, targets.Window{Now: now, Covered: state.Oldest, Interval: status.shortestInterval})
	return err == nil || upstream.CannotTell(err)
}

// left returns the time until the next look.
func (w *targetWatch) left(now time.Time) time.Duration {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	pause := w.pause
	if w.used.IsZero() {
		return never
	}
	if now.Sub(w.used) > usedFor {
		pause = max(pause, idleLook)
	}
	return w.ended.Add(pause).Sub(now)
}

// use notes that a query uses the server. It requests a look if the last one is too old, and
// returns a channel that is closed at its end, or nil.
func (w *targetWatch) use(now time.Time) <-chan struct{} {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.used = now
	if now.Sub(w.ended) <= w.pause+w.pause/2 {
		return nil
	}
	select {
	case w.wake <- struct{}{}:
	default: // It is requested already.
	}
	return w.done
}

// askTargets evaluates an instant query about targets, for raw data. With an answer that has warnings,
// and may lack something, it returns ownrequest.ErrPartial.
func (t *sharedTier) askTargets(ctx context.Context, query string, at time.Time) ([]targets.Series, error) {
	return askTargets(ctx, t.api, query, at)
}

func askTargets(ctx context.Context, client ownrequest.Client, query string, at time.Time) (list []targets.Series, err error) {
	err = client.Paced(ctx, func(ctx context.Context) error {
		answer, warnings, err := ownrequest.AskWithWarnings[struct {
			Result []struct {
				Metric map[string]string  `json:"metric"`
				Value  model.SamplePair   `json:"value"`
				Values []model.SamplePair `json:"values"`
			} `json:"result"`
		}](ctx, client.As(ownrequest.KindTargets), "/api/v1/query", url.Values{
			"query": {query}, "time": {promapi.FormatTime(at)}, "max_source_resolution": {"0s"},
		})
		if err == nil && len(warnings) > 0 {
			return ownrequest.ErrPartial
		}
		for _, each := range answer.Result {
			series := targets.Series{Labels: each.Metric, Value: float64(each.Value.Value)}
			for _, sample := range each.Values {
				if math.IsNaN(float64(sample.Value)) {
					continue // VictoriaMetrics returns the markers of stale series, too.
				}
				series.Samples = append(series.Samples, targets.Sample{At: int64(sample.Timestamp), Up: sample.Value != 0})
			}
			list = append(list, series)
		}
		return err
	})
	return list, err
}

// answerAboutTargets answers whether the server scraped targets that another one could not, until ctx
// ends.
func (t *sharedTier) answerAboutTargets(ctx context.Context) {
	t.scraped.Run(ctx, t.askTargets, func(err error) bool { return upstream.CannotTell(err) || errors.Is(err, upstream.ErrTooLarge) })
}

// jobsOf returns at most a number of the jobs that expose a metric.
func (t *Tier) jobsOf(ctx context.Context, metric string, limit int) (jobs []string, err error) {
	since := t.base.coveredState(time.Now()).Oldest
	err = t.api.Paced(ctx, func(ctx context.Context) error {
		jobs, _, err = ownrequest.AskWithWarnings[[]string](ctx, t.api.As(ownrequest.KindTargets), "/api/v1/label/job/values", url.Values{
			"match[]": {promql.FormatLabels(map[string]string{model.MetricNameLabel: metric})}, "start": {ownrequest.StartOf(time.UnixMilli(since))}, "limit": {strconv.Itoa(limit)},
		})
		return err
	})
	return jobs, err
}

// TargetHoles returns the stretches in which a server of hot could not scrape targets, the latest
// first, as far as samples of the target are read in them. readBy returns what reads a hole. Before
// the first look, TargetHoles waits for that until ctx ends.
func (t *Tier) TargetHoles(ctx context.Context, honored targets.HonoredLabels, readBy func(targets.Hole) []promql.Selector) (list []targets.Hole) {
	if waiting := t.targets.use(time.Now()); waiting != nil {
		ownrequest.WaitAll(ctx, []<-chan struct{}{waiting})
	}
	var waits []<-chan struct{}
	mayExpose := func(hole targets.Hole, metric string) bool {
		may, waiting := t.targets.jobs.MayExpose(hole.Target[model.JobLabel], metric, time.Now())
		if waiting != nil {
			waits = append(waits, waiting)
		}
		return may
	}
	isRead := func(hole targets.Hole) bool {
		return slices.ContainsFunc(readBy(hole), func(selector promql.Selector) bool {
			return hole.IsReadBy(selector, honored, mayExpose)
		})
	}
	for _, each := range t.targets.Holes() {
		if isRead(each) {
			list = append(list, each)
		}
	}
	if len(waits) > 0 && ownrequest.WaitAll(ctx, waits) {
		list = slices.DeleteFunc(list, func(hole targets.Hole) bool { return !isRead(hole) })
	}
	return list
}

// Scraped reports for each hole of another replica whether the server has scraped the target in
// it. It waits for answers until ctx ends.
func (t *Tier) Scraped(ctx context.Context, by *Tier, holes []targets.Hole) []tier.Presence {
	return scraped(ctx, t.sharedTier, by.sharedTier, time.Now().UnixMilli(), holes, func(target targets.Target) (string, bool) {
		return targets.UpOf(target), true
	})
}

// ColdScraped reports for each hole of hot whether cold has samples of a successful scrape in it.
// It waits for answers until ctx ends.
func (c *Catalog) ColdScraped(ctx context.Context, holes []targets.Hole) []tier.Presence {
	state := c.tiersAt(time.Now())
	mapping := state.Mapping
	if mapping == nil {
		return make([]tier.Presence, len(holes))
	}
	return scraped(ctx, c.cold.sharedTier, c.hot.sharedTier, state.Cold.Newest, holes, func(target targets.Target) (string, bool) {
		if target == nil {
			return mapping.InCold("up"), !mapping.IsAmbiguous
		}
		return mapping.SeriesInCold(target.Series())
	})
}

// scraped asks a server, whose data reach until newest, about the holes of another one.
func scraped(ctx context.Context, server, owner *sharedTier, newest int64, holes []targets.Hole, selectorOf func(targets.Target) (string, bool)) []tier.Presence {
	presence := make([]tier.Presence, len(holes))
	for range 2 { // The second time, what was waited for is known.
		var waits []<-chan struct{}
		count := func(of *sharedTier, selector string, hole targets.Hole) (int, bool) {
			count, isKnown, waiting := of.scraped.Count(targets.Question{Selector: selector, From: hole.From, To: hole.To, EachStep: hole.Target == nil}, newest, time.Now())
			if waiting != nil {
				waits = append(waits, waiting)
			}
			return count, isKnown
		}
		for i, hole := range holes {
			selector, ok := selectorOf(hole.Target)
			if !ok {
				presence[i] = tier.Absent // Nothing can be compared.
				continue
			}
			others, isKnown := count(server, selector, hole)
			own := 0
			if hole.Target == nil {
				var isOwnKnown bool
				own, isOwnKnown = count(owner, "up", hole)
				isKnown = isKnown && isOwnKnown
			}
			switch {
			case isKnown && others <= own:
				presence[i] = tier.Absent
			case isKnown, hole.Target != nil && others > 0:
				presence[i] = tier.Present
			default:
				presence[i] = tier.Unknown
			}
		}
		if len(waits) == 0 || server.api.Pacer.IsPaused(time.Now()) || !ownrequest.WaitAll(ctx, waits) {
			break
		}
	}
	return presence
}

// KnownTargetHoles returns all stretches in which a server of hot could not scrape targets, the latest
// first, as far as they are known, and the time of the last look. It is the zero time before the first
// look, which is made when a query uses the server.
func (t *Tier) KnownTargetHoles() ([]targets.Hole, time.Time) {
	return t.targets.Holes(), t.targets.LookedAt()
}

// MissingOf returns a hole of a target as what the rules read. Without detailed, it does not name the
// target.
func MissingOf(hole targets.Hole, detailed bool) tier.Missing {
	missing := tier.Missing{Target: "a target", From: hole.From, To: hole.To}
	if detailed {
		missing.Target = hole.Target.String()
	}
	return missing
}
