//go:build e2e

package coldalone

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// The times of the sources of the world whose samples come late, before now.
const (
	uploaded   = 3 * hour    // the end of the blocks of uploads
	behind     = 5 * hour    // the end of the samples of the second receiver
	lateWriter = 50 * minute // the end of the samples of one of the senders of the first receiver
	liveOnly   = 2 * hour    // the start of what the sidecar of seam has
)

// thanosWorld is a Thanos Query over an HA pair with sidecars (ha), a cluster whose blocks are uploaded later (uploads), a
// cluster whose sidecar has the newest two hours only (seam), and two receivers: one with a sender that is late (writer, and
// punctual), and one that is hours behind (behind).
type thanosWorld struct {
	now           time.Time
	thanos        string
	bucket        stack.Thanos
	servers       *stack.ThanosServers
	first, second string // URLs for remote write
	query         string
}

func newThanosWorld(t *testing.T) *thanosWorld {
	t.Helper()
	w := &thanosWorld{now: time.Now().Truncate(minute), thanos: program(t, "thanos")}
	now, oldest := w.now, w.now.Add(-span-2*hour)
	var endpoints []string
	for i, every := range []time.Duration{interval, 20 * time.Second} { // Their chunks begin at other times.
		gap := now.Add(-time.Duration(1+i) * 2 * hour) // Each replica has one, where deduplication takes the other one.
		data := blocks(t, every, seriesOf("ha", float64(i)), [2]time.Time{oldest, gap}, [2]time.Time{gap.Add(10 * minute), now.Add(ahead)})
		endpoints = append(endpoints, w.sidecar(t, data, map[string]string{"cluster": "ha", "replica": strconv.Itoa(i)}))
	}
	seam := blocks(t, interval, seriesOf("seam", 0), [2]time.Time{now.Add(-6 * hour), now.Add(ahead)})
	endpoints = append(endpoints, w.sidecar(t, seam, map[string]string{"cluster": "seam"}, "--min-time=-"+liveOnly.String()))
	for i, target := range []*string{&w.first, &w.second} {
		receive, write, err := stack.Thanos{Dir: t.TempDir()}.StartReceive(t.Context(), w.thanos, "--label", fmt.Sprintf(`receive="%d"`, i), "--receive.default-tenant-id", "all")
		require.NoError(t, err)
		t.Cleanup(receive.Kill)
		*target = write
		endpoints = append(endpoints, receive.GRPC)
	}
	writer, punctual := seriesOf("writer", 0, "cluster", "writer"), seriesOf("punctual", 0, "cluster", "punctual")
	send(t, w.first, append(writer, punctual...), oldest, now.Add(-lateWriter))
	send(t, w.first, punctual, now.Add(-lateWriter), now)
	send(t, w.second, seriesOf("behind", 0, "cluster", "behind"), oldest, now.Add(-behind))
	w.bucket = stack.Thanos{Dir: t.TempDir(), Bucket: t.TempDir(), StoreArguments: []string{"--sync-block-duration=1s"}, QueryArguments: []string{"--query.replica-label=replica"}}
	for _, endpoint := range endpoints {
		w.bucket.QueryArguments = append(w.bucket.QueryArguments, "--endpoint", endpoint)
	}
	w.upload(t, "uploads", oldest, now.Add(-uploaded))
	w.upload(t, "seam", oldest, now.Add(-uploaded-hour))
	var err error
	w.servers, err = w.bucket.Start(t.Context(), w.thanos)
	require.NoError(t, err)
	t.Cleanup(w.servers.Stop)
	w.query = w.servers.Query.URL
	w.await(t, "count(count by (cluster) (up))", now.Add(-span), `"6"`)
	return w
}

// sidecar starts a Prometheus with blocks, and its sidecar. It returns the address of the latter.
func (w *thanosWorld) sidecar(t *testing.T, data string, labels map[string]string, more ...string) string {
	t.Helper()
	directory := t.TempDir()
	server, err := stack.Prometheus{Name: "prometheus", Dir: directory, Data: data, Retention: "90d", Global: map[string]any{"external_labels": labels}}.Start(t.Context(), program(t, "prometheus"))
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	sidecar, err := stack.Thanos{Dir: directory}.StartPart(t.Context(), w.thanos, "sidecar", append([]string{"--prometheus.url", server.URL, "--tsdb.path", filepath.Join(directory, "none")}, more...)...)
	require.NoError(t, err)
	t.Cleanup(sidecar.Kill)
	return sidecar.GRPC
}

// upload uploads the blocks of a cluster.
func (w *thanosWorld) upload(t *testing.T, cluster string, from, to time.Time) {
	t.Helper()
	data := t.TempDir()
	require.NoError(t, history.Generator{Interval: interval, Only: seriesOf(cluster, 0)}.WriteBlocks(t.Context(), data, from, to))
	require.NoError(t, w.bucket.Upload(t.Context(), w.thanos, data, os.Stderr, fmt.Sprintf("cluster=%q", cluster)))
}

// await waits until Thanos answers an instant query with a text.
func (w *thanosWorld) await(t *testing.T, query string, at time.Time, text string) {
	t.Helper()
	var last answer
	require.Eventually(t, func() bool {
		last = ask(t, w.query, question{query: query, end: at})
		return len(last.warnings) == 0 && strings.Contains(last.whole, text)
	}, time.Minute, 100*time.Millisecond, "%s at %s", query, at)
}

// sources are matchers of the clusters. Series of a receiver may have any cluster.
var sources = []string{
	`cluster="ha",receive=""`, `cluster="uploads",receive=""`, `cluster="seam",receive=""`, `cluster="writer",receive="0"`, `cluster="punctual",receive="0"`, `cluster="behind"`,
}

// questions are the queries about each of the clusters, and about all.
func (w *thanosWorld) questions() (list []question) {
	add := func(query string) {
		list = append(list, question{query: query, start: w.now.Add(-span), end: w.now, step: minute})
	}
	for _, source := range sources {
		add("temp{" + source + "}")
		add("sum by (cluster) (rate(requests_total{" + source + "}[5m]))")
	}
	add("count by (cluster, replica, receive) (up)")
	return list
}

// catchUp lets everything come in that is late.
func (w *thanosWorld) catchUp(t *testing.T) {
	t.Helper()
	send(t, w.first, seriesOf("writer", 0, "cluster", "writer"), w.now.Add(-lateWriter), w.now)
	send(t, w.second, seriesOf("behind", 0, "cluster", "behind"), w.now.Add(-behind), w.now)
	w.upload(t, "uploads", w.now.Add(-uploaded), w.now.Add(-hour))
	w.upload(t, "seam", w.now.Add(-uploaded-hour), w.now.Add(-liveOnly+10*minute))
	w.await(t, `count(up{cluster="uploads"})`, w.now.Add(-uploaded+hour), `"2"`)
	w.await(t, `count(up{cluster="seam"})`, w.now.Add(-uploaded), `"2"`)
	w.await(t, `count(up{cluster=~"writer|behind"})`, w.now.Add(-minute), `"4"`)
}

// count is how many questions at random are asked: a tenth of E2E_QUERIES, because each is asked several times. Without
// it, the test is skipped: a Thanos with eleven servers takes too long for CI.
func count(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_QUERIES")
	if text == "" {
		t.Skip("E2E_QUERIES is not set: only make e2e-full starts a Thanos with eleven servers")
	}
	number, err := strconv.Atoi(text)
	require.NoError(t, err, "E2E_QUERIES must be a number")
	return max(number/10, 20)
}

// random returns questions over parts of the time, with other steps.
func (w *thanosWorld) random(random *rand.Rand, count int) (list []question) {
	queries := []string{
		"temp{%s}", "sum(up{%s})", "rate(requests_total{%s}[10m])", "max_over_time(temp{%s}[30m:1m])",
		"avg by (instance) (temp{%s} offset 20m)", "absent(up{%s})", "topk(1, temp{%s})", "changes(up{%s}[1h])",
	}
	for range count {
		q := question{query: fmt.Sprintf(queries[random.Intn(len(queries))], sources[random.Intn(len(sources))])}
		q.step = []time.Duration{30 * time.Second, minute, 2 * minute, 5 * minute}[random.Intn(4)]
		q.end = w.now.Add(-time.Duration(random.Intn(60)) * minute)
		q.start = q.end.Add(-time.Duration(60+random.Intn(int((span-hour)/minute))) * minute)
		list = append(list, q)
	}
	return list
}

func TestThanos_LateSamplesChangeNoKeptAnswer(t *testing.T) {
	more := count(t)
	w := newThanosWorld(t)
	f := newFront(t, w.query, nil)
	address := gatewayOf(t, f.URL, nil)
	list := w.questions()
	for _, q := range list {
		warm(t, address, q)
	}
	random := w.random(rand.New(rand.NewSource(1)), more)
	for range 2 {
		for _, q := range random {
			ask(t, address, q)
		}
		time.Sleep(time.Second) // What was answered is kept after the next probe.
	}
	health := healthOf(t, address)
	text, err := json.Marshal(health)
	require.NoError(t, err)
	require.Equal(t, "measured", health.CacheFreshness, "%s", text)
	require.NotNil(t, health.CachedUntil, "%s", text)
	require.Contains(t, health.NotCached, "gets its samples late")
	w.catchUp(t)
	for _, q := range list {
		requireEqual(t, address, w.query, q)
	}
	// Before the questions at random: they keep other stretches of the same query.
	f.take()
	requireOnlyNew(t, f, address, question{query: `temp{cluster="uploads",receive=""}`, start: w.now.Add(-span), end: w.now, step: minute}, w.now.Add(-uploaded-5*minute))
	kept := 0
	for _, q := range random {
		expected, got := ask(t, w.query, q), ask(t, address, q)
		found := changes(expected, got, q.start, q.end)
		require.Empty(t, found[:min(len(found), 10)], "%s from %s to %s (%s)", q.query, q.start, q.end, got.cache)
		if got.cached > 0 {
			kept++
		}
	}
	t.Logf("%d of %d questions are answered from the cache at least in part", kept, len(random))
	require.GreaterOrEqual(t, 2*kept, len(random))
	t.Run("a store is lost", func(t *testing.T) { w.losesAStore(t, address) })
	t.Run("replicas are merged", func(t *testing.T) { w.mergesReplicas(t, f, address) })
}

// losesAStore stops the store gateway: what is answered without it is not kept.
func (w *thanosWorld) losesAStore(t *testing.T, address string) {
	asked := func(shift time.Duration) (list []question) {
		for i := range 10 {
			q := question{query: `sum by (cluster) (temp{cluster=~"uploads|ha"})`, start: w.now.Add(-span), end: w.now, step: time.Duration(60+i) * time.Second}
			q.start, q.end = q.start.Add(shift), q.end.Add(shift)
			list = append(list, q)
		}
		return list
	}
	require.NoError(t, w.servers.Store.Stop())
	for range 3 {
		for _, q := range append(asked(0), asked(time.Second)...) {
			ask(t, address, q)
		}
		time.Sleep(500 * time.Millisecond)
	}
	require.Eventually(t, func() bool { return strings.Contains(healthOf(t, address).NotCached, "lacks one of its stores") }, time.Minute, 100*time.Millisecond)
	require.NoError(t, w.servers.RestartStore(t.Context(), w.thanos))
	w.await(t, `count(up{cluster="uploads"})`, w.now.Add(-uploaded+hour), `"2"`)
	for range 2 {
		for _, q := range append(asked(0), asked(time.Second)...) {
			expected, got := ask(t, w.query, q), ask(t, address, q)
			require.Empty(t, changes(expected, got, q.start, q.end), "%s (%s)", q.query, got.cache)
		}
		time.Sleep(time.Second)
	}
}

// mergesReplicas asks about an HA pair, as a dashboard that refreshes: no kept step changes.
func (w *thanosWorld) mergesReplicas(t *testing.T, f *front, address string) {
	const shift, fresh = 5 * minute, 15 * minute // The latter includes the freshness.
	q := question{query: `temp{cluster="ha",receive=""}`, start: w.now.Add(-span), end: w.now.Add(-hour), step: minute, merges: true}
	warm(t, address, q)
	f.take()
	before, thanosBefore := ask(t, address, q), ask(t, w.query, q)
	changed, byThanos, points := 0, 0, 0
	for q.end.Before(w.now) {
		old := q.end
		q.start, q.end = q.start.Add(shift), q.end.Add(shift)
		after, thanosAfter := ask(t, address, q), ask(t, w.query, q)
		require.Positive(t, after.cached)
		if old.After(w.now.Add(-fresh)) {
			old = w.now.Add(-fresh)
		}
		changed += len(changes(before, after, q.start, old))
		byThanos += len(changes(thanosBefore, thanosAfter, q.start, old))
		for _, series := range after.points {
			points += len(series)
		}
		before, thanosBefore = after, thanosAfter
	}
	t.Logf("of %d points of kept steps, %d change between two refreshes, and %d at Thanos", points, changed, byThanos)
	require.Zero(t, changed)
	for _, each := range f.take() {
		require.LessOrEqual(t, each.end.Sub(each.start), 90*minute, "cold was asked for steps that are kept: from %s to %s", each.start, each.end)
	}
}
