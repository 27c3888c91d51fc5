package catalog

import (
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

// oldestByMetric returns the timestamp of the oldest sample according to the metrics of a
// Prometheus that scrapes itself, in milliseconds. Of several, the latest counts.
func (c apiClient) oldestByMetric(ctx context.Context) (int64, error) {
	seconds, found, err := c.vectorValue(ctx, "max(prometheus_tsdb_lowest_timestamp_seconds)", time.Time{})
	switch {
	case err != nil:
		return 0, err
	case !found:
		return 0, errors.New("there is no such metric")
	case math.IsNaN(seconds) || seconds <= 0 || seconds >= math.MaxInt64/1000:
		// Before its first sample, a Prometheus reports a time that does not fit into
		// milliseconds.
		return tier.NothingCovered, nil
	}
	return int64(math.Ceil(seconds)) * 1000, nil
}

// rangeOfBlocks returns the timestamps of the oldest sample of all blocks and the head, and of
// the newest sample of the head, in milliseconds. The latter is zero if it is unknown.
func (c apiClient) rangeOfBlocks(ctx context.Context) (oldest, newest int64, err error) {
	stored, err := ask[struct {
		Blocks []struct {
			MinTime int64 `json:"minTime"`
		} `json:"blocks"`
	}](ctx, c, "/api/v1/status/tsdb/blocks", nil)
	if err != nil {
		return 0, 0, err
	}
	status, err := ask[struct {
		Head struct {
			MinTime   int64 `json:"minTime"`
			MaxTime   int64 `json:"maxTime"`
			NumSeries int64 `json:"numSeries"`
		} `json:"headStats"`
	}](ctx, c, "/api/v1/status/tsdb", url.Values{"limit": {"1"}})
	if err != nil {
		return 0, 0, err
	}
	oldest = tier.NothingCovered
	if status.Head.NumSeries > 0 {
		oldest, newest = status.Head.MinTime, status.Head.MaxTime
	}
	for _, block := range stored.Blocks {
		oldest = min(oldest, block.MinTime)
	}
	return oldest, newest, nil
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
		MaxTime   int64               `json:"maxTime"`
	}](ctx, c.as(RequestStores), "/api/v1/stores", nil)
	if err != nil {
		return nil, err
	}
	stores := []Store{}
	for kind, list := range kinds {
		for _, store := range list {
			failed := store.LastError != nil && store.LastError != ""
			stores = append(stores, Store{Kind: kind, LabelSets: store.LabelSets, MaxTime: store.MaxTime, Failed: failed})
		}
	}
	return stores, nil
}
