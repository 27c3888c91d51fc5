package catalog

import (
	"cmp"
	"context"
	"errors"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// minProbeTimeout is the minimum timeout of a probe.
const minProbeTimeout = 2 * time.Second

// wholeProbeInterval is the time after which a probe is a whole one although nothing has changed.
// For a tier that nobody uses, it is wholeProbeIntervalUnused.
const wholeProbeInterval, wholeProbeIntervalUnused = 50 * time.Second, 5 * time.Minute

// look looks at the tier, and returns its new status. A whole look asks everything. In between,
// the newest sample of hot and the stores of cold say enough, as long as nothing changes. After a
// new connection, the next look for a query is a whole one.
func (t *Tier) look(ctx context.Context, now time.Time) Status {
	if t.mayBeOther.Swap(false) || !t.status.Load().Available {
		t.wholeAt = time.Time{}
	}
	look := t.lookAtCold
	if t.options.Name == tier.Hot {
		look = t.lookAtHot
	}
	interval, isUsed := wholeProbeIntervalUnused, t.probes.IsUsed(now)
	if isUsed {
		interval = wholeProbeInterval
	}
	if isUsed && t.mayDiffer {
		t.wholeAt = time.Time{}
	}
	isWhole := now.Sub(t.wholeAt) >= interval
	// Over a new connection, another server may answer.
	var isReconnected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(connection httptrace.GotConnInfo) {
		if !connection.Reused {
			isReconnected.Store(true)
		}
	}})
	status, isFine := look(traced, now, isWhole)
	t.mayDiffer = !isWhole && (t.mayDiffer || isReconnected.Load())
	if !isWhole && (!isFine || (t.mayDiffer && isUsed)) {
		t.wholeAt, t.mayDiffer, isWhole = time.Time{}, false, true
		status, isFine = look(ctx, now, isWhole)
	}
	switch {
	case !isFine:
		t.wholeAt = time.Time{}
	case isWhole:
		t.wholeAt = now
	}
	t.recognize(ctx, &status, now)
	status.CheckedAt = time.Now()
	return status
}

// lookAtHot looks whether hot gets samples, and measures its coverage. isFine is set if nothing
// has changed, so that the next look need not be a whole one.
func (t *Tier) lookAtHot(ctx context.Context, now time.Time, isWhole bool) (status Status, isFine bool) {
	if isWhole {
		before := t.whole
		t.whole = Status{Available: true, Oldest: tier.NothingCovered, Latency: before.Latency, evaluated: before.evaluated, isMetricsQL: before.isMetricsQL}
	}
	if t.wholeAt.IsZero() {
		t.hotStores.watch.forget404()
		measureLatency(ctx, t.api, &t.whole)
	}
	if isWhole && t.whole.Available {
		measureCoverage(ctx, t.api, &t.whole)
	}
	status = t.whole
	return status, t.checkFreshness(ctx, &status, now)
}

// lookAtCold is lookAtHot for cold, which lists its stores if it is a Thanos.
func (t *Tier) lookAtCold(ctx context.Context, now time.Time, isWhole bool) (status Status, isFine bool) {
	if t.wholeAt.IsZero() {
		t.stores.forget404()
	}
	isThanos := t.stores.seen != nil
	if isWhole {
		t.whole = Status{Available: true, Oldest: tier.NothingCovered}
	}
	if isWhole || !isThanos {
		measureLatency(ctx, t.api, &t.whole)
	}
	if isWhole && t.whole.Available {
		readRuntime(ctx, t.api, &t.whole)
		t.whole.Retention = 0 // Only that of hot counts.
	}
	if status = t.whole; !status.Available {
		return status, false
	}
	status.Stores, status.Notes = t.stores.look(ctx, t.api, now)
	status.hidesStores = !isThanos && !t.stores.missing.IsZero()
	if status.Stores != nil && len(status.Stores) == 0 {
		// Its answers would all be empty.
		status.Available, status.Error = false, noStoresYet
	}
	t.lookForTenant(ctx, &status, now)
	return status, status.Available && len(status.Notes) == 0 && (status.Stores != nil || !isThanos)
}

// measureLatency checks whether the tier evaluates a query, and how long that takes.
func measureLatency(ctx context.Context, c ownrequest.Client, status *Status) {
	began := time.Now()
	answer, err := evaluate(ctx, c)
	status.Latency, status.evaluated, status.isMetricsQL = time.Since(began), nil, false
	if err != nil {
		status.fail(err)
		return
	}
	status.evaluated, status.isMetricsQL = answer.Header, upstream.SaysMetricsQL(answer.Header, answer.Text)
}

// fail records that a tier does not answer.
func (s *Status) fail(err error) {
	s.Available, s.failure, s.Error = false, err, upstream.Describe(err)
}

// measureCoverage reads since when a Prometheus has samples, from the list of its blocks. A
// metric such as prometheus_tsdb_lowest_timestamp_seconds proves nothing: it may be that of
// another server. Without the list, checkFreshness measures the coverage.
func measureCoverage(ctx context.Context, c ownrequest.Client, status *Status) {
	var oldest int64
	var err error
	var running sync.WaitGroup
	running.Go(func() { oldest, err = oldestBlock(ctx, c) })
	running.Go(func() { readRuntime(ctx, c, status) })
	running.Wait()
	switch {
	case err == nil:
		status.Oldest, status.reported = oldest, oldest != tier.NothingCovered
	case upstream.IsGone(err):
		status.fail(err)
	}
}

// warm opens connections in advance, because the panels of a dashboard send their queries at
// the same time.
func warm(ctx context.Context, c ownrequest.Client, connections int) {
	var running sync.WaitGroup
	for range connections {
		running.Go(func() { _, _ = evaluate(ctx, c) }) // The next probe finds errors.
	}
	running.Wait()
}

// evaluate evaluates a query that reads no series. It returns upstream.ErrNotPrometheus for any
// other answer with a success status.
func evaluate(ctx context.Context, c ownrequest.Client) (upstream.Evaluation, error) {
	resultType, answer, err := c.EvaluateConstant(ctx)
	if errors.Is(err, upstream.ErrNotAnAnswer) || (err == nil && resultType != "vector") {
		return answer, upstream.ErrNotPrometheus
	}
	return answer, err
}

// earliestTimestamp is the earliest timestamp that counts as known, the year 1980. Servers that
// do not know their oldest sample report zero, the year 1, or less.
const earliestTimestamp int64 = 315_532_800_000

// blocksApart is the longest time between two blocks that belong together. A longer one is a
// gap, and what is before it does not count.
const blocksApart = 2 * time.Hour

// oldestBlock returns the timestamp of the oldest sample of all blocks that follow each other
// up to now, in milliseconds since the Unix epoch. It returns tier.NothingCovered without any
// block, or if their timestamps make no sense.
//
// It does not ask for the head, /api/v1/status/tsdb: that counts all series of the server.
func oldestBlock(ctx context.Context, c ownrequest.Client) (int64, error) {
	stored, err := ownrequest.Ask[struct {
		Blocks []blockRange `json:"blocks"`
	}](ctx, c, "/api/v1/status/tsdb/blocks", nil)
	if err != nil {
		return 0, err
	}
	return oldestOf(stored.Blocks), nil
}

// blockRange is the time range of a block in milliseconds since the Unix epoch.
type blockRange struct {
	MinTime int64 `json:"minTime"`
	MaxTime int64 `json:"maxTime"`
}

// oldestOf returns the start of the newest blocks that follow each other.
func oldestOf(blocks []blockRange) int64 {
	slices.SortFunc(blocks, func(a, b blockRange) int { return cmp.Compare(b.MaxTime, a.MaxTime) })
	oldest := tier.NothingCovered
	for _, block := range blocks {
		if block.MinTime < earliestTimestamp {
			continue
		}
		if oldest != tier.NothingCovered && block.MaxTime < oldest-blocksApart.Milliseconds() {
			break
		}
		oldest = min(oldest, block.MinTime)
	}
	return oldest
}

// readRuntime reads the identity of the process, its start, its cores, and its retention by time.
// What it cannot read stays zero.
func readRuntime(ctx context.Context, c ownrequest.Client, status *Status) {
	info, err := ownrequest.Ask[struct {
		StartTime        time.Time `json:"startTime"`
		Hostname         string    `json:"hostname"`
		LastConfigTime   time.Time `json:"lastConfigTime"`
		StorageRetention string    `json:"storageRetention"`
		Cores            int       `json:"GOMAXPROCS"` //nolint:tagliatelle // The name that Prometheus and Thanos give it.
	}](ctx, c, "/api/v1/status/runtimeinfo", nil)
	if err != nil {
		return
	}
	status.started, status.cores, status.reportsRetention = info.StartTime, info.Cores, info.StorageRetention != ""
	status.server = info.Hostname + " " + info.StartTime.Format(time.RFC3339Nano)
	status.configured = status.server + " " + info.LastConfigTime.Format(time.RFC3339Nano)
	// "15d", "15d or 10GiB", "10GiB": only the time is a reliable bound.
	for part := range strings.SplitSeq(info.StorageRetention, " or ") {
		if retention, err := model.ParseDuration(strings.TrimSpace(part)); err == nil {
			status.Retention = time.Duration(retention)
			return
		}
	}
}
