package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
)

// findings are what a load has found.
type findings struct {
	options

	streams, points        int
	different, holes       int
	needless, settled      int
	same, changed, fresh   int
	reconnected, snapshots int
	errors, refused        int
	resumes, dropped       float64
	all, undisturbed       []time.Duration // delays, sorted
	// queries are those of each gateway for a step, and calm those long after a restart.
	queries, calm [2]float64
	cpu           [2]float64 // cores
	few, resident [2]int64
	perStream     float64
	restarts      int
	examples      []string
}

// Goals.
const (
	mostDelay   = time.Second
	mostMemory  = 150 << 20
	mostSurplus = 1 // queries of a gateway for a step, beyond one for each query
)

// expectation is what the oracle answers for a window of a query.
type expectation struct {
	answer any
	err    error
}

// compare waits until each stream has what the oracle answers, and counts those that never have.
func (l *load) compare(ctx context.Context) (*findings, error) {
	found := &findings{options: l.options, streams: len(l.streams)}
	pending := slices.Clone(l.streams)
	var problems map[*livestream.Stream]string
	for deadline := time.Now().Add(mostSettling); len(pending) > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		sleep(ctx, 2*time.Second)
		answers := map[string]expectation{}
		problems = map[*livestream.Stream]string{}
		pending = slices.DeleteFunc(pending, func(stream *livestream.Stream) bool {
			state := stream.State()
			expected := l.expect(ctx, answers, stream.Values, state)
			if expected.err != nil {
				problems[stream] = expected.err.Error()
				return false
			}
			points, problem := livestream.Difference(expected.answer, state.Matrix)
			if problems[stream] = problem; problem == "" {
				found.points += points
			}
			return problem == ""
		})
	}
	found.different = len(pending)
	for _, stream := range pending[:min(len(pending), 5)] {
		found.examples = append(found.examples, fmt.Sprintf("%s: %s, %+v", stream.Values, problems[stream], stream.Seen()))
	}
	l.count(found)
	return found, ctx.Err()
}

// expect returns what the oracle answers for the window of a stream.
func (l *load) expect(ctx context.Context, answers map[string]expectation, values url.Values, state livestream.State) expectation {
	asked := url.Values{
		"query": values["query"], "step": values["step"], "start": {seconds(state.First)}, "end": {seconds(state.Last)},
	}.Encode()
	if known, exists := answers[asked]; exists {
		return known
	}
	var decoded struct {
		Data any `json:"data"`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.oracle.URL+"/api/v1/query_range?"+asked, http.NoBody)
	if err == nil {
		var response *http.Response
		if response, err = http.DefaultClient.Do(request); err == nil {
			err = json.NewDecoder(response.Body).Decode(&decoded)
			_ = response.Body.Close()
		}
	}
	answers[asked] = expectation{decoded.Data, err}
	return answers[asked]
}

func seconds(at int64) string { return strconv.FormatFloat(float64(at)/1000, 'f', -1, 64) }

// count adds what streams and gateways have counted.
func (l *load) count(found *findings) {
	for _, stream := range l.streams {
		seen := stream.Seen()
		found.holes, found.needless, found.settled = found.holes+seen.Holes, found.needless+seen.Needless, found.settled+seen.Settled
		found.same, found.changed, found.fresh = found.same+seen.Same, found.changed+seen.Changed, found.fresh+seen.Fresh
		found.reconnected, found.snapshots = found.reconnected+seen.Connections-1, found.snapshots+seen.Snapshots
		found.errors, found.refused = found.errors+len(seen.Errors), found.refused+seen.Refused
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, each := range l.delays {
		found.all = append(found.all, each.after)
		if !l.isExplained(each) {
			found.undisturbed = append(found.undisturbed, each.after)
		}
	}
	slices.Sort(found.all)
	slices.Sort(found.undisturbed)
	found.restarts = len(l.restarts)
	w := &l.watched
	w.mutex.Lock()
	defer w.mutex.Unlock()
	few, all, steady, last := w.marks[markFew], w.marks[markAll], w.marks[markSteady], w.marks[markEnd]
	begin, end := all.used, last.used
	for i := range l.gateways {
		found.queries[i] = (end[i].queries - begin[i].queries) / (l.duration.Seconds() / l.step.Seconds())
		found.calm[i] = w.calm[i] / max(w.calmTime[i].Seconds()/l.step.Seconds(), 1)
		found.cpu[i] = (end[i].cpu - begin[i].cpu).Seconds() / l.duration.Seconds()
		found.few[i], found.resident[i] = few.median[i], max(all.peak[i], steady.peak[i], last.peak[i])
		found.resumes, found.dropped = found.resumes+end[i].resumes, found.dropped+end[i].dropped
		found.perStream += float64(steady.median[i]-few.median[i]) / float64(max(len(l.streams)-l.queries, 1))
	}
}

func quantile(sorted []time.Duration, of float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(of*float64(len(sorted)-1))].Round(time.Millisecond)
}

// met reports whether all goals are.
func (f *findings) met() bool {
	for _, each := range f.rows() {
		if each.goal != "" && !each.met {
			return false
		}
	}
	return true
}

type row struct {
	what, measured, goal string
	met                  bool
}

func (f *findings) rows() []row {
	mostQueries := float64(f.queriesGoal())
	delays := func(of []time.Duration) string {
		return fmt.Sprintf("%s, %s, %s", quantile(of, 0.5), quantile(of, 0.95), quantile(of, 1))
	}
	megabytes := func(of [2]int64) string { return fmt.Sprintf("%d and %d MiB", of[0]>>20, of[1]>>20) }
	return []row{
		{what: fmt.Sprintf("streams that differ from query_range, of %d with %d samples", f.streams, f.points), measured: fmt.Sprint(f.different), goal: "0", met: f.different == 0},
		{what: "appends that leave out steps", measured: fmt.Sprint(f.holes), goal: "0", met: f.holes == 0},
		{what: fmt.Sprintf("appends that begin with a step that has not changed, of %d new steps and %d that have changed", f.fresh, f.changed), measured: fmt.Sprint(f.needless), goal: "0", met: f.needless == 0},
		{what: "appends that change a step until the id", measured: fmt.Sprint(f.settled), goal: "0", met: f.settled == 0},
		{what: "steps between changed ones, sent again as they were", measured: fmt.Sprint(f.same)},
		{what: "queries to the tiers for a step, each gateway", measured: fmt.Sprintf("%.1f and %.1f", f.queries[0], f.queries[1]), goal: fmt.Sprintf("≤ %.0f", mostQueries), met: max(f.queries[0], f.queries[1]) <= mostQueries},
		{what: "the same, more than 15 s after a restart", measured: fmt.Sprintf("%.1f and %.1f", f.calm[0], f.calm[1])},
		{what: "from a step until its append was read: p50, p95, most", measured: delays(f.all), goal: "p95 ≤ 1s", met: quantile(f.all, 0.95) <= mostDelay},
		{what: "the same, more than 15 s after a restart", measured: delays(f.undisturbed), goal: "p95 ≤ 1s", met: quantile(f.undisturbed, 0.95) <= mostDelay},
		{what: "resident memory of each gateway, peak", measured: megabytes(f.resident), goal: "≤ 150 MiB", met: max(f.resident[0], f.resident[1]) <= mostMemory},
		{what: fmt.Sprintf("resident memory with %d streams, median", min(f.options.queries, f.subscribers)), measured: megabytes(f.few)},
		{what: "memory that a stream adds; 20,000 streams of one gateway", measured: fmt.Sprintf("%.0f KiB; %.0f MiB", f.perStream/1024, float64(max(f.few[0], f.few[1]))/(1<<20)+f.perStream*20_000/(1<<20))},
		{what: "CPU time of each gateway", measured: fmt.Sprintf("%.3f and %.3f cores", f.cpu[0], f.cpu[1])},
		{what: fmt.Sprintf("streams that connected again in %d restarts; resumed; snapshots; dropped", f.restarts), measured: fmt.Sprintf("%d; %.0f; %d; %.0f", f.reconnected, f.resumes, f.snapshots, f.dropped)},
		{what: "events error; connections refused with a status", measured: fmt.Sprintf("%d; %d", f.errors, f.refused)},
	}
}

// queriesGoal is how many queries the tiers may get for a step.
func (f *findings) queriesGoal() int { return f.options.queries + mostSurplus }

// write writes the table.
func (f *findings) write(out io.Writer) error {
	text := fmt.Sprintf("%d subscribers of %d queries, step %s, for %s\n\n| | measured | goal | |\n| --- | --- | --- | --- |\n", f.subscribers, f.options.queries, f.step, f.duration)
	for _, each := range f.rows() {
		judged := ""
		if each.goal != "" {
			judged = map[bool]string{true: "met", false: "missed"}[each.met]
		}
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", each.what, each.measured, each.goal, judged)
	}
	for _, example := range f.examples {
		text += "\ndiffers: " + example + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
