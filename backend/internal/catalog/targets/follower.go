package targets

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// LookBack is how far back a look reads at most. What is older was seen by an earlier look, or
	// is not seen.
	LookBack = time.Hour
	// overlap is how far two looks overlap: samples may appear late.
	overlap = time.Minute
	// shortestStep and longestStep bound the step of a look, and mostSteps their number.
	shortestStep, longestStep = time.Second, 30 * time.Second
	mostSteps                 = 720
	// examinedAtOnce is the maximum number of targets whose samples one request reads, and
	// mostWithoutInstance that of targets without a label that such a request can name.
	examinedAtOnce, mostWithoutInstance = 50, 50
)

// Series is a series in the result of a query: its labels, and its samples or its value.
type Series struct {
	Labels  map[string]string
	Samples []Sample
	Value   float64
}

// Instant evaluates an instant query. It returns an error for an answer that may lack something.
type Instant func(ctx context.Context, query string, at time.Time) ([]Series, error)

// Window is what a look is about.
type Window struct {
	// Now is the time of the look, and Covered the start of the server's coverage in milliseconds
	// since the Unix epoch: what is missing before that is no hole of a target.
	Now     time.Time
	Covered int64
	// Interval is the shortest scrape interval of the server.
	Interval time.Duration
}

// Follower follows the targets of one server. It is safe for concurrent use, but one Look at a time.
type Follower struct {
	mutex    sync.Mutex
	store    store
	list     []Hole // of the store
	lookedAt time.Time
}

// Holes returns the holes that are known, the latest first. Do not change them.
func (f *Follower) Holes() []Hole {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.list
}

// LookedAt returns the time of the last look that succeeded, or the zero time.
func (f *Follower) LookedAt() time.Time {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.lookedAt
}

// look is one look of a Follower.
type look struct {
	follower *Follower
	ask      Instant
	at       time.Time
	step     time.Duration
	steps    int64
	since    int64 // exclusive, in milliseconds since the Unix epoch
	covered  int64
}

// Look asks which targets were down, or missing, at some time since the last look, and reads the
// samples of those. Its cost grows with the number of targets, and with the number of those that
// changed. It returns the errors of ask; then the next look reads the same again.
func (f *Follower) Look(ctx context.Context, ask Instant, window Window) error {
	since := window.Now.Add(-LookBack)
	if last := f.LookedAt(); last.Add(-overlap).After(since) {
		since = last.Add(-overlap)
	}
	if covered := time.UnixMilli(window.Covered); covered.After(since) {
		since = covered
	}
	step := min(max(window.Interval, shortestStep, window.Now.Sub(since)/mostSteps), longestStep).Truncate(time.Second)
	// The steps of a subquery are multiples of it since the Unix epoch.
	at := time.UnixMilli(window.Now.UnixMilli() / step.Milliseconds() * step.Milliseconds())
	made := &look{follower: f, ask: ask, at: at, step: step, steps: int64(at.Sub(since) / step), covered: window.Covered}
	made.since = at.Add(-time.Duration(made.steps) * step).UnixMilli()
	if made.steps < 2 {
		return nil // The server has just started.
	}
	return made.run(ctx)
}

func (l *look) run(ctx context.Context) error {
	failing := fmt.Sprintf("sum_over_time(up[%dms:%dms]) < %d", l.steps*l.step.Milliseconds()-1, l.step.Milliseconds(), l.steps)
	found, err := l.ask(ctx, fmt.Sprintf("topk(%d, %s)", mostHoles+1, failing), l.at)
	if err != nil {
		return err
	}
	if len(found) > mostHoles {
		// Most of them may be new, or gone.
		there := fmt.Sprintf("(%s) and (up offset %dms) and up", failing, (l.steps-1)*l.step.Milliseconds())
		if found, err = l.ask(ctx, fmt.Sprintf("topk(%d, %s)", mostHoles+1, there), l.at); err != nil {
			return err
		}
	}
	if len(found) > mostHoles {
		l.finish(nil, true)
		return nil
	}
	examined, isTooMany := l.toExamine(found)
	samples, err := l.samplesOf(ctx, examined)
	if err != nil {
		return err
	}
	l.finish(samples, isTooMany)
	return nil
}

// toExamine returns the targets whose samples tell something new: all that were not as they should
// be, except those that have been down since before. isTooMany is set if there are more than can
// be examined.
func (l *look) toExamine(found []Series) (examined map[string]Target, isTooMany bool) {
	f := l.follower
	f.mutex.Lock()
	defer f.mutex.Unlock()
	examined = f.store.down() // Those that are up again, or gone.
	for _, series := range found {
		delete(series.Labels, model.MetricNameLabel)
		target := Target(series.Labels)
		key := keyOf(target)
		if series.Value == 0 && f.store.isDown(key) {
			delete(examined, key)
		} else {
			examined[key] = target
		}
	}
	without := 0
	maps.DeleteFunc(examined, func(_ string, target Target) bool {
		if target[model.InstanceLabel] == "" {
			without++
		}
		return target[model.InstanceLabel] == "" && without > mostWithoutInstance
	})
	return examined, without > mostWithoutInstance
}

// examined are the samples of a target since a time.
type examined struct {
	target  Target
	since   int64
	samples []Sample
}

// samplesOf reads the samples of targets: of those that are known already since the last look, and of
// others as far back as a look goes, because they may have been there before.
func (l *look) samplesOf(ctx context.Context, list map[string]Target) (all []examined, err error) {
	oldest := max(l.at.Add(-LookBack).UnixMilli(), l.covered)
	groups := map[int64][]string{} // the keys of the targets, by the time since which they are read
	l.follower.mutex.Lock()
	for _, key := range slices.Sorted(maps.Keys(list)) {
		since := min(l.since, oldest)
		if l.follower.store.byTarget[key] != nil {
			since = l.since
		}
		groups[since] = append(groups[since], key)
	}
	l.follower.mutex.Unlock()
	for since, keys := range groups {
		for _, batch := range batches(list, keys) {
			found, err := l.ask(ctx, fmt.Sprintf("%s[%dms]", selectorOf(list, batch), l.at.UnixMilli()-since), l.at)
			if err != nil {
				return nil, err
			}
			byKey := map[string][]Sample{}
			for _, series := range found {
				delete(series.Labels, model.MetricNameLabel)
				byKey[keyOf(series.Labels)] = series.Samples
			}
			for _, key := range batch {
				all = append(all, examined{list[key], since, byKey[key]})
			}
		}
	}
	return all, nil
}

// batches returns the keys of targets in groups that one selector can name.
func batches(list map[string]Target, keys []string) (groups [][]string) {
	var named []string
	for _, key := range keys {
		if list[key][model.InstanceLabel] == "" {
			groups = append(groups, []string{key})
		} else {
			named = append(named, key)
		}
	}
	return slices.AppendSeq(groups, slices.Chunk(named, examinedAtOnce))
}

// selectorOf returns a selector that matches the series named up of targets, and maybe others.
func selectorOf(list map[string]Target, keys []string) string {
	first := list[keys[0]]
	if first[model.InstanceLabel] == "" {
		return UpOf(first)
	}
	var instances, jobs []string
	for _, key := range keys {
		instances, jobs = append(instances, regexp.QuoteMeta(list[key][model.InstanceLabel])), append(jobs, regexp.QuoteMeta(list[key][model.JobLabel]))
	}
	oneOf := func(values []string) string {
		slices.Sort(values)
		return strconv.Quote(strings.Join(slices.Compact(values), "|"))
	}
	return fmt.Sprintf("up{instance=~%s,job=~%s}", oneOf(instances), oneOf(jobs))
}

// UpOf returns the selector of the series named up of a target, or of all for nil.
func UpOf(target Target) string {
	if target == nil {
		return "up"
	}
	return promql.FormatLabels(target.Series())
}

// finish stores what a look found.
func (l *look) finish(found []examined, isTooMany bool) {
	f := l.follower
	f.mutex.Lock()
	defer f.mutex.Unlock()
	until := l.at.UnixMilli()
	f.store.endServer(f.lookedAt.UnixMilli()) // This look tells what was after that.
	if isTooMany {
		f.store.addServer(max(l.since, f.lookedAt.UnixMilli()), until)
	}
	for _, each := range found {
		resumed := each.since + 1
		if len(each.samples) > 0 && each.samples[0].Up {
			resumed = each.samples[0].At
		}
		f.store.replace(each.target, each.since, resumed, holesIn(each.samples, each.since, until))
	}
	f.store.forget(l.covered)
	f.list, f.lookedAt = f.store.holes(), l.at
}
