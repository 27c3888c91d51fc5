package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// minProbeTimeout is what a probe may take however short its interval.
	minProbeTimeout = 2 * time.Second
)

// errNoCoverage is why hot covers nothing although it answers.
var errNoCoverage = errors.New("its oldest sample could not be measured: it neither scrapes itself nor tells its blocks")

// measure probes the tier: whether it evaluates a query and, for hot, from
// when on it holds data.
func (c apiClient) measure(ctx context.Context, name tier.Name) Status {
	status := Status{Oldest: tier.NothingCovered}
	started := time.Now()
	err := c.evaluate(ctx)
	status.Latency = time.Since(started)
	switch {
	case err != nil:
		status.failure, status.Error = err, upstream.Describe(err)
	case name == tier.Hot:
		status.Available = true
		err = c.measureCoverage(ctx, &status)
		switch {
		case err != nil && upstream.IsGone(err):
			status.Available, status.failure, status.Error = false, err, upstream.Describe(err)
		case err != nil:
			status.Error = err.Error()
		}
	default:
		status.Available = true
	}
	status.CheckedAt = time.Now()
	return status
}

// measureCoverage finds the oldest sample of hot. Every source that answers
// counts, and the newest of what they say: too late costs speed, too early
// would be a wrong answer. A retention alone is no source, because a
// Prometheus that was started yesterday has it too.
func (c apiClient) measureCoverage(ctx context.Context, status *Status) error {
	var fromMetric, fromBlocks, newest int64
	var metricError, blocksError error
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { fromMetric, metricError = c.oldestByMetric(groupContext); return nil })
	group.Go(func() error { fromBlocks, newest, blocksError = c.rangeOfBlocks(groupContext); return nil })
	group.Go(func() error { c.readRuntime(groupContext, status); return nil })
	_ = group.Wait() // The functions keep their errors: one of the sources is enough.
	status.newestInHead = newest
	if metricError != nil && blocksError != nil {
		if upstream.IsGone(metricError) {
			return metricError
		}
		return errNoCoverage
	}
	// A source that failed says 1970, and so nothing.
	status.Oldest = max(fromMetric, fromBlocks)
	return nil
}

// oldestByMetric reads what a Prometheus that scrapes itself says of its
// oldest sample. Where several say it, the newest counts.
func (c apiClient) oldestByMetric(ctx context.Context) (int64, error) {
	data, err := c.Get(ctx, "/api/v1/query", url.Values{"query": {"max(prometheus_tsdb_lowest_timestamp_seconds)"}})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Result model.Vector `json:"result"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return 0, fmt.Errorf("decode the oldest timestamp: %w", err)
	}
	if len(answer.Result) == 0 {
		return 0, errors.New("there is no such metric")
	}
	seconds := float64(answer.Result[0].Value)
	// Before its first sample a Prometheus names the end of all time, which no
	// longer fits into milliseconds.
	if math.IsNaN(seconds) || seconds <= 0 || seconds >= math.MaxInt64/1000 {
		return tier.NothingCovered, nil
	}
	return int64(math.Ceil(seconds)) * 1000, nil
}

// rangeOfBlocks reads the time ranges of the blocks and of the head: the oldest
// sample of all and the newest one of the head, zero where it does not tell.
func (c apiClient) rangeOfBlocks(ctx context.Context) (oldest, newest int64, err error) {
	blocksData, err := c.Get(ctx, "/api/v1/status/tsdb/blocks", nil)
	if err != nil {
		return 0, 0, err
	}
	headData, err := c.Get(ctx, "/api/v1/status/tsdb", url.Values{"limit": {"1"}})
	if err != nil {
		return 0, 0, err
	}
	var blocks struct {
		Blocks []struct {
			MinTime int64 `json:"minTime"`
		} `json:"blocks"`
	}
	var head struct {
		HeadStats struct {
			MinTime    int64 `json:"minTime"`
			MaxTime    int64 `json:"maxTime"`
			NumSeries  int64 `json:"numSeries"`
			ChunkCount int64 `json:"chunkCount"`
		} `json:"headStats"`
	}
	if err := errors.Join(json.Unmarshal(blocksData, &blocks), json.Unmarshal(headData, &head)); err != nil {
		return 0, 0, fmt.Errorf("decode the blocks: %w", err)
	}
	oldest = tier.NothingCovered
	if head.HeadStats.NumSeries > 0 {
		oldest, newest = head.HeadStats.MinTime, head.HeadStats.MaxTime
	}
	for _, block := range blocks.Blocks {
		oldest = min(oldest, block.MinTime)
	}
	return oldest, newest, nil
}

// readRuntime reads which process answers, since when it runs, and the
// retention by time that it states. What it does not tell stays zero.
func (c apiClient) readRuntime(ctx context.Context, status *Status) {
	data, err := c.Get(ctx, "/api/v1/status/runtimeinfo", nil)
	if err != nil {
		return
	}
	var info struct {
		StartTime        time.Time `json:"startTime"`
		Hostname         string    `json:"hostname"`
		LastConfigTime   time.Time `json:"lastConfigTime"`
		StorageRetention string    `json:"storageRetention"`
	}
	if json.Unmarshal(data, &info) != nil {
		return
	}
	status.started = info.StartTime
	status.server = info.Hostname + " " + info.StartTime.Format(time.RFC3339Nano)
	status.configured = status.server + " " + info.LastConfigTime.Format(time.RFC3339Nano)
	// "15d", "15d or 10GiB", "10GiB": only the time is a bound that holds.
	for part := range strings.SplitSeq(info.StorageRetention, " or ") {
		if retention, err := model.ParseDuration(strings.TrimSpace(part)); err == nil {
			status.Retention = time.Duration(retention)
			return
		}
	}
}
