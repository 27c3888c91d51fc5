package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// apiClient calls the endpoints of the Prometheus API that probes need. Its methods return the
// errors of upstream.Client.Get, and upstream.ErrNotAnAnswer for an answer of another form.
type apiClient struct {
	*upstream.Client
	observe func(kind RequestKind, took time.Duration, err error) // nil for none
	kind    RequestKind
}

// as returns the client for requests of another kind.
func (c apiClient) as(kind RequestKind) apiClient {
	c.kind = kind
	return c
}

// ask calls an endpoint, and decodes the data of the answer.
func ask[T any](ctx context.Context, c apiClient, path string, parameters url.Values) (decoded T, err error) {
	decoded, _, err = askWithWarnings[T](ctx, c, path, parameters)
	return decoded, err
}

// askWithWarnings is ask that returns the warnings of the answer, too.
func askWithWarnings[T any](ctx context.Context, c apiClient, path string, parameters url.Values) (decoded T, warnings []string, err error) {
	began := time.Now()
	data, warnings, err := c.Get(ctx, path, parameters)
	if err == nil {
		if invalid := json.Unmarshal(data, &decoded); invalid != nil {
			err = errors.Join(upstream.ErrNotAnAnswer, invalid)
		}
	}
	if c.observe != nil {
		c.observe(c.kind, time.Since(began), err)
	}
	return decoded, warnings, err
}

// warm opens connections in advance, because the panels of a dashboard send their queries at
// the same time.
func (c apiClient) warm(ctx context.Context, connections int) {
	var running sync.WaitGroup
	for range connections {
		running.Go(func() { _ = c.evaluate(ctx) }) // The next probe finds errors.
	}
	running.Wait()
}

// evaluate evaluates a query that reads no series. It returns upstream.ErrNotPrometheus for any
// other answer with a success status.
func (c apiClient) evaluate(ctx context.Context) error {
	answer, err := ask[struct {
		ResultType string `json:"resultType"`
	}](ctx, c, "/api/v1/query", url.Values{"query": {"vector(1)"}})
	if errors.Is(err, upstream.ErrNotAnAnswer) || (err == nil && answer.ResultType != "vector") {
		return upstream.ErrNotPrometheus
	}
	return err
}

// configuration returns the configuration of a Prometheus.
func (c apiClient) configuration(ctx context.Context) (*prometheusConfig, error) {
	config, err := ask[struct {
		YAML string `json:"yaml"`
	}](ctx, c, "/api/v1/status/config", nil)
	if err != nil {
		return nil, err
	}
	return parseConfig(config.YAML)
}

// vectorValue evaluates an instant query that returns at most one sample. found is false if it
// returns none. The zero time means now.
func (c apiClient) vectorValue(ctx context.Context, query string, at time.Time) (value float64, found bool, err error) {
	parameters := url.Values{"query": {query}}
	if !at.IsZero() {
		parameters.Set("time", promapi.FormatTime(at))
	}
	answer, err := ask[struct {
		Result model.Vector `json:"result"`
	}](ctx, c, "/api/v1/query", parameters)
	if err != nil || len(answer.Result) == 0 {
		return 0, false, err
	}
	return float64(answer.Result[0].Value), true, nil
}

// samples returns the samples of the first series in the result of a query.
func (c apiClient) samples(ctx context.Context, path string, parameters url.Values) ([]model.SamplePair, error) {
	answer, err := ask[struct {
		Result model.Matrix `json:"result"`
	}](ctx, c, path, parameters)
	if err != nil || len(answer.Result) == 0 {
		return nil, err
	}
	return answer.Result[0].Values, nil
}

// labelValues returns at most limit values of a label since a time. The zero time means from the
// beginning.
func (c apiClient) labelValues(ctx context.Context, name string, since time.Time, limit int) ([]string, error) {
	return ask[[]string](ctx, c, "/api/v1/label/"+url.PathEscape(name)+"/values", url.Values{"start": {startOf(since)}, "limit": {strconv.Itoa(limit)}})
}

// series returns at most limit matching series since a time.
func (c apiClient) series(ctx context.Context, selector string, since time.Time, limit int) ([]map[string]string, error) {
	return ask[[]map[string]string](ctx, c, "/api/v1/series", url.Values{"match[]": {selector}, "start": {startOf(since)}, "limit": {strconv.Itoa(limit)}})
}

// sampleInterval returns the longest time between two samples of the given series, or zero if
// they have too few samples.
func (c apiClient) sampleInterval(ctx context.Context, series []string, now time.Time) (time.Duration, error) {
	var longest time.Duration
	for _, selector := range series {
		samples, err := c.samples(ctx, "/api/v1/query", url.Values{"query": {selector + "[15m]"}, "time": {promapi.FormatTime(now)}})
		if err != nil {
			return 0, err
		}
		var distances []time.Duration
		for i := 1; i < len(samples); i++ {
			distances = append(distances, samples[i].Timestamp.Sub(samples[i-1].Timestamp))
		}
		if len(distances) > 0 {
			slices.Sort(distances)
			longest = max(longest, distances[len(distances)/2])
		}
	}
	return longest, nil
}

// upSeries returns selectors of at most limit series named up in a time range. It returns none
// if the tier does not serve the endpoint.
func (c apiClient) upSeries(ctx context.Context, selector string, start, end time.Time, limit int) (map[string]struct{}, error) {
	list, err := ask[[]map[string]string](ctx, c, "/api/v1/series", url.Values{
		"match[]": {selector}, "start": {promapi.FormatTime(start)}, "end": {promapi.FormatTime(end)}, "limit": {strconv.Itoa(limit)},
	})
	if err != nil && !upstream.CannotTell(err) {
		return nil, err
	}
	selectors := map[string]struct{}{}
	for _, labels := range list {
		delete(labels, model.MetricNameLabel)
		selectors["up"+promql.FormatLabels(labels)] = struct{}{}
	}
	return selectors, nil
}

// quoteName quotes a label name if PromQL requires it.
func quoteName(name string) string {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name
	}
	return strconv.Quote(name)
}

// searchNewest returns the timestamp of the newest sample that a selector of up series matches,
// in milliseconds. If there is none within the lookback, it looks further and further back,
// until earliest. Then it returns earliest, and found is false.
func (c apiClient) searchNewest(ctx context.Context, selector string, now time.Time, earliest int64) (newest int64, found bool, err error) {
	for back := time.Duration(0); ; back = max(2*back, 5*time.Minute) {
		at := now.Add(-back)
		if back > 0 && at.UnixMilli() < earliest {
			return earliest, false, nil
		}
		seconds, found, err := c.vectorValue(ctx, "max(timestamp("+selector+"))", at)
		if err != nil || (found && !math.IsNaN(seconds)) {
			return int64(math.Round(seconds * 1000)), err == nil, err
		}
	}
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
func (c apiClient) oldestBlock(ctx context.Context) (int64, error) {
	stored, err := ask[struct {
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

// readRuntime reads the identity of the process, its start, and its retention by time. What it
// cannot read stays zero.
func (c apiClient) readRuntime(ctx context.Context, status *Status) {
	info, err := ask[struct {
		StartTime        time.Time `json:"startTime"`
		Hostname         string    `json:"hostname"`
		LastConfigTime   time.Time `json:"lastConfigTime"`
		StorageRetention string    `json:"storageRetention"`
	}](ctx, c, "/api/v1/status/runtimeinfo", nil)
	if err != nil {
		return
	}
	status.started = info.StartTime
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

// stores returns the stores of a Thanos.
func (c apiClient) stores(ctx context.Context) ([]Store, error) {
	kinds, err := ask[map[string][]struct {
		LastError any                 `json:"lastError"`
		LabelSets []map[string]string `json:"labelSets"`
		MinTime   int64               `json:"minTime"`
		MaxTime   int64               `json:"maxTime"`
	}](ctx, c.as(RequestStores), "/api/v1/stores", nil)
	if err != nil {
		return nil, err
	}
	stores := []Store{}
	for kind, list := range kinds {
		for _, store := range list {
			failed := store.LastError != nil && store.LastError != ""
			stores = append(stores, Store{Kind: kind, LabelSets: store.LabelSets, MinTime: store.MinTime, MaxTime: store.MaxTime, Failed: failed})
		}
	}
	return stores, nil
}
