//go:build e2e

package oracle

import (
	"context"
	"fmt"
	"maps"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
)

const (
	// liveBatch is how many queries are followed at a time, and shortFollow or longFollow for how
	// long samples come meanwhile.
	liveBatch               = 60
	shortFollow, longFollow = 12 * time.Second, 75 * time.Second
	// longOutage is how long hot is away in a long test: its steps are settled before it is back.
	longOutage = liveFreshness + 4*time.Second
	// liveSettles bounds the time until everything is as it stays.
	liveSettles = 90 * time.Second
)

// liveCount is how many queries are followed: E2E_LIVE_QUERIES, or 20.
func liveCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_LIVE_QUERIES")
	if text == "" {
		return 20
	}
	number, err := strconv.Atoi(text)
	require.NoError(t, err, "E2E_LIVE_QUERIES must be a number")
	return number
}

// liveAlways are queries that are followed in each run, %s for the pinned labels of hot's cluster.
var liveAlways = []string{
	`sum by (job) (rate(http_requests_total%s[1m]))`, `histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes%s[2m])))`,
	`count by (cluster) (pod_requests_total%s)`, `pod_requests_total%s`, `node_load1%s offset 30s`, `node_load1%s offset -20s`,
	`max_over_time(sum(node_load1%s)[3m:10s])`, `node_load1%s - node_load1%s @ end()`, `sum(up%s @ start())`, `limitk(2, node_load1%s)`,
	`topk(2, process_resident_memory_bytes%s)`, `sum by (cluster) (up)`,
	// Each answer has a warning of PromQL, or an info, which Thanos lists among the warnings.
	`quantile by (job) (2, node_load1%s)`, `pod_requests_total or (sum(http_response_size_bytes) atan2 sum(up))`,
	`sum(rate(http_requests_total{cluster="other"}[1m]))`,
}

// follower follows one query.
type follower struct {
	asked  question // its window is set when it is compared
	stream *livestream.Stream
	// kind says what happens to the client.
	kind string
}

const (
	liveSteady     = "steady"
	liveReconnects = "reconnects"
	liveSlow       = "slow"
)

// TestLive_EqualsQueryRange follows queries while samples come, some of them late, and while hot and
// cold restart. In the end each client has what one Prometheus with everything answers.
func TestLive_EqualsQueryRange(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newLiveWorld(t)
	followed := shortFollow
	if liveCount(t) > liveBatch {
		followed = longFollow
	}
	for first, total := 0, liveCount(t); first < total; first += liveBatch {
		w.followAll(t, w.followers(t, seed(t)+200+int64(first), min(liveBatch, total-first), first == 0), followed)
		if t.Failed() {
			return
		}
		if first+liveBatch < total {
			w.stop = make(chan struct{})
			w.feed(t)
		}
	}
}

// followAll follows queries for so long, and compares.
func (w *liveWorld) followAll(t *testing.T, followers []*follower, followed time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		_ = group.Wait() // Of a test that has failed.
	}()
	var delays liveDelays
	wake := make(chan struct{})
	time.AfterFunc(shortFollow, func() { close(wake) }) // A client that reads nothing for 30 s is disconnected.
	for _, each := range followers {
		w.equip(each, &delays, wake)
		group.Go(func() error {
			if err := each.stream.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", each.asked, err)
			}
			return nil
		})
	}
	began := time.Now()
	until := func(after time.Duration) {
		select {
		case <-time.After(time.Until(began.Add(after))):
		case <-ctx.Done():
		}
	}
	until(shortFollow / 4)
	w.restartCold(t)
	coldAgain := time.Since(began)
	until(shortFollow / 2)
	outage := time.Duration(0)
	if followed == longFollow {
		outage = longOutage
	}
	w.restartHot(t, outage)
	hotAgain := time.Since(began)
	until(followed) // In a long test, steps of the outage are evaluated again within a minute.
	w.stopFeeding()
	result := w.awaitEqual(ctx, t, followers)
	cancel()
	require.NoError(t, group.Wait())
	t.Logf("followed from %s, hot restarted %s and cold %s later: %d queries, %s; appends came %s after their step", began.Format(time.TimeOnly), hotAgain, coldAgain, len(followers), result, &delays)
	w.judgeFollowers(t, followers)
}

// followers returns queries that the oracle can answer.
func (w *liveWorld) followers(t *testing.T, seed int64, count int, withSpecial bool) (list []*follower) {
	t.Helper()
	g := newGenerator(seed, time.Now(), []time.Time{w.boundary, w.now.Add(-liveStoreEnds), time.Now(), time.Now()}, w.labels())
	g.pinned, g.foreign = pins(labelsInCold), foreign()
	random, empty := rand.New(rand.NewSource(seed)), 0
	add := func(query, kind string, step, span time.Duration) bool {
		made := &follower{kind: kind, asked: question{endpoint: "query_range", origin: kind, values: url.Values{"query": {query}, "step": {step.String()}}}}
		made.stream = &livestream.Stream{Values: url.Values{"query": {query}, "step": {step.String()}, "range": {span.String()}}, Range: span, Client: http.DefaultClient}
		tried := made.asked
		tried.values = url.Values{"query": {query}, "step": {step.String()}, "start": {seconds(time.Now().Add(-span))}, "end": {seconds(time.Now())}}
		got, err := ask(t.Context(), w.whole.URL, tried)
		require.NoError(t, err)
		found := got.status == http.StatusOK && len(seriesOf(got)) <= 100
		if found && len(seriesOf(got)) == 0 {
			empty++
			found = empty <= count/8
		}
		if found {
			list = append(list, made)
		}
		return found
	}
	if withSpecial {
		require.True(t, add(`sum by (job) (rate(http_requests_total[30s]))`, liveReconnects, time.Second, 10*minute))
		require.True(t, add(`http_request_duration_seconds_bucket - http_request_duration_seconds_bucket @ end()`, liveSlow, time.Second, 20*minute))
	}
	for i := 0; len(list) < count; i++ {
		step := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second}[random.Intn(4)]
		span := min([]time.Duration{minute, 10 * minute, 20 * minute, 40 * minute, 40 * minute}[random.Intn(5)], 1200*step)
		var query string
		if withSpecial && i < len(liveAlways) {
			pinned := []string{"", `{cluster="lab"}`, `{cluster="lab",prometheus="k8s"}`}[random.Intn(3)]
			query = strings.ReplaceAll(liveAlways[i], "%s", pinned)
		} else {
			root := g.expression()
			g.disturb(root, time.Now())
			query = root.String()
			if strings.Contains(query, "topk") || strings.Contains(query, "bottomk") {
				continue // Which of equal values it takes differs from evaluation to evaluation.
			}
		}
		add(query, liveSteady, step, span)
	}
	return list
}

// seriesOf returns the series of a reply.
func seriesOf(of reply) []any {
	object, _ := of.data.(map[string]any)
	result, _ := object["result"].([]any)
	return result
}

// liveDelays are how long after their step appends came.
type liveDelays struct {
	mutex sync.Mutex
	all   []time.Duration
}

func (d *liveDelays) add(delay time.Duration, isFirst bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if !isFirst {
		d.all = append(d.all, delay)
	}
}

func (d *liveDelays) quantile(of float64) time.Duration {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	slices.Sort(d.all)
	if len(d.all) == 0 {
		return 0
	}
	return d.all[int(of*float64(len(d.all)-1))].Round(time.Millisecond)
}

// String lists some quantiles.
func (d *liveDelays) String() string {
	return fmt.Sprintf("%s (p50), %s (p95) and at most %s", d.quantile(0.5), d.quantile(0.95), d.quantile(1))
}

// equip makes a follower's client. A slow one reads nothing after the first event until wake is closed.
func (w *liveWorld) equip(f *follower, delays *liveDelays, wake <-chan struct{}) {
	base := w.gateway.URL
	switch f.kind {
	case liveSteady:
		f.stream.OnAppend = delays.add
	case liveReconnects:
		f.stream.BeforeRead = func(context.Context) {
			if seen := f.stream.Seen(); (seen.Appends+1)%5 == 0 && seen.Appends < 20 {
				f.stream.Disconnect()
			}
		}
	case liveSlow:
		base = w.slow.URL
		dialer := &net.Dialer{}
		f.stream.Client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			made, err := dialer.DialContext(ctx, network, address)
			if connection, is := made.(*net.TCPConn); is {
				err = connection.SetReadBuffer(narrow)
			}
			return made, err
		}}}
		f.stream.BeforeRead = func(ctx context.Context) {
			if f.stream.Seen().Snapshots == 1 {
				select {
				case <-wake:
				case <-ctx.Done():
				}
			}
		}
	}
	f.stream.Base = func(int) string { return base }
}

// awaitEqual waits until each client has what the oracle answers. It returns what it found.
func (w *liveWorld) awaitEqual(ctx context.Context, t *testing.T, followers []*follower) string {
	t.Helper()
	pending, found := slices.Clone(followers), map[*follower]string{}
	points, excused := 0, map[string]int{}
	for deadline := time.Now().Add(liveSettles); len(pending) > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(time.Second)
		pending = slices.DeleteFunc(pending, func(each *follower) bool {
			state := each.stream.State()
			count, differs, excuse := w.compareLive(t, each, state)
			found[each] = differs
			if differs == "" {
				points += count
				if excuse != "" {
					excused[excuse]++
				}
			}
			return differs == ""
		})
	}
	for _, each := range pending {
		seen := each.stream.Seen()
		t.Errorf("%s\n      range %s, %+v\n      %s", each.asked, each.stream.Values.Get("range"), seen, found[each])
	}
	return fmt.Sprintf("%d points are equal, excused %v", points, excused)
}

// compareLive compares what a client has with the oracle. An excuse says why a difference is none of
// the gateway.
func (w *liveWorld) compareLive(t *testing.T, f *follower, state livestream.State) (points int, differs, excuse string) {
	t.Helper()
	if state.Last == 0 {
		return 0, "there is no update", ""
	}
	f.asked.values.Set("start", seconds(time.UnixMilli(state.First)))
	f.asked.values.Set("end", seconds(time.UnixMilli(state.Last)))
	got := reply{status: http.StatusOK, tier: "hot,cold", reason: state.About.Reason, data: state.Matrix}
	expected, err := ask(t.Context(), w.whole.URL, f.asked)
	require.NoError(t, err)
	switch differs = difference(expected, got); {
	case differs == "":
		return len(valuesOf(got)), "", ""
	case isTied(f.asked, expected, got):
		return 0, "", tied
	case expected.status != http.StatusOK:
		return 0, "", "the oracle cannot answer any more"
	case w.mayDiffer(f.asked, got):
		return 0, "", "version of cold"
	}
	if ofCold, err := ask(t.Context(), w.cold.Query.URL, f.asked); err == nil && len(ofCold.warnings) == 0 && difference(ofCold, got) == "" {
		return 0, "", "cold itself, which lacks nothing, says so"
	}
	return 0, differs + stepsThatDiffer(expected, got), ""
}

// stepsThatDiffer lists the first steps that differ, counted back from the last one.
func stepsThatDiffer(expected, got reply) string {
	left, right := points(expected), points(got)
	last, steps := int64(0), map[int64]int{}
	for name, series := range left {
		for at, value := range series {
			last = max(last, at)
			if other, exists := right[name][at]; !exists || !sameNumber(fmt.Sprint(value), fmt.Sprint(other)) {
				steps[at]++
			}
		}
	}
	for name, series := range right {
		for at := range series {
			if _, exists := left[name][at]; !exists {
				steps[at]++
			}
		}
	}
	text := fmt.Sprintf("\n      %d steps differ, in seconds before the last one:", len(steps))
	for i, at := range slices.Sorted(maps.Keys(steps)) {
		if i < 20 {
			text += fmt.Sprintf(" %d (%d series)", (last-at)/1000, steps[at])
		}
	}
	return text
}

// judgeFollowers holds what the clients have got to the contract.
func (w *liveWorld) judgeFollowers(t *testing.T, followers []*follower) {
	t.Helper()
	var all livestream.Seen
	for _, each := range followers {
		seen := each.stream.Seen()
		all.Appends, all.Fresh, all.Changed, all.Same, all.Needless = all.Appends+seen.Appends, all.Fresh+seen.Fresh, all.Changed+seen.Changed, all.Same+seen.Same, all.Needless+seen.Needless
		all.Settled, all.Errors = all.Settled+seen.Settled, append(all.Errors, seen.Errors...)
		if all.Warned += seen.Warned; seen.Warned > 0 {
			all.LastWarning = seen.LastWarning
		}
		require.Zero(t, seen.Holes, "%s: %+v", each.asked, seen)
		require.Zero(t, seen.Refused, "%s: %s", each.asked, seen.LastRefusal)
		require.Empty(t, seen.Ends, each.asked)
		switch each.kind {
		case liveReconnects:
			require.Greater(t, seen.Connections, 2, "%+v", seen)
			require.Equal(t, 1, seen.Snapshots, "it resumes: %+v", seen)
		case liveSlow:
			require.GreaterOrEqual(t, seen.Snapshots, 2, "it has missed updates: %+v", seen)
		}
	}
	t.Logf("all together: %+v", all)
	require.NotZero(t, all.Changed, "late samples change steps")
	require.Zero(t, all.Needless)
	require.Zero(t, all.Settled)
}
