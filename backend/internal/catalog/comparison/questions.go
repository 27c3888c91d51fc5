package comparison

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// sampleTimeout is the timeout of one request for samples.
const sampleTimeout = 2 * time.Second

// sampleQuestions asks one tier about its samples, for raw data.
type sampleQuestions struct{ client ownrequest.Client }

// askSamples asks a question. With an answer that has warnings, and may lack something, it returns
// ownrequest.ErrPartial.
func askSamples[T any](ctx context.Context, q sampleQuestions, path string, parameters url.Values) (decoded T, err error) {
	parameters.Set("max_source_resolution", "0s")
	err = q.client.Paced(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
		defer cancel()
		var warnings []string
		decoded, warnings, err = ownrequest.AskWithWarnings[T](ctx, q.client.As(ownrequest.KindSamples), path, parameters)
		if err == nil && len(warnings) > 0 {
			return ownrequest.ErrPartial
		}
		return err
	})
	return decoded, err
}

// series returns the labels of at most limit series that a selector matches in a time range.
func (q sampleQuestions) series(ctx context.Context, selector string, start, end int64, limit int) ([]map[string]string, error) {
	list, err := askSamples[[]map[string]string](ctx, q, "/api/v1/series", url.Values{
		"match[]": {selector}, "start": {formatMilliseconds(start)}, "end": {formatMilliseconds(end)}, "limit": {strconv.Itoa(limit)},
	})
	if errors.Is(err, ownrequest.ErrPartial) && len(list) >= limit {
		err = nil // A Prometheus warns of the limit.
	}
	return list[:min(len(list), limit)], err
}

// names returns at most limit names of metrics with series in a scope, a matcher list without braces,
// and in a time range.
func (q sampleQuestions) names(ctx context.Context, scope string, start, end int64, limit int) ([]string, error) {
	list, err := askSamples[[]string](ctx, q, "/api/v1/label/"+model.MetricNameLabel+"/values", url.Values{
		"match[]": {"{" + strings.TrimPrefix(scope+`,__name__!=""`, ",") + "}"}, "start": {formatMilliseconds(start)}, "end": {formatMilliseconds(end)}, "limit": {strconv.Itoa(limit)},
	})
	if errors.Is(err, ownrequest.ErrPartial) && len(list) >= limit {
		err = nil // A Prometheus warns of the limit.
	}
	return list[:min(len(list), limit)], err
}

// canaryLabel is the label by which the series of an answer to counts are told apart.
const canaryLabel = "tierproxy_canary"

// counts returns how many samples the series of each selector have in each window. If a
// selector matches several series, the largest number counts.
func (q sampleQuestions) counts(ctx context.Context, selectors []string, over countWindows) ([][]int, error) {
	parts := make([]string, len(selectors))
	counts := make([][]int, len(selectors))
	for i, selector := range selectors {
		parts[i] = fmt.Sprintf(`label_replace(max(count_over_time(%s[%dms])),%q,"%d","","")`, selector, 2*over.step, canaryLabel, i)
		counts[i] = make([]int, over.count)
	}
	answer, err := askSamples[struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values []countAt         `json:"values"`
		} `json:"result"`
	}](ctx, q, "/api/v1/query_range", url.Values{
		"query": {strings.Join(parts, " or ")}, "start": {formatMilliseconds(over.first)}, "end": {formatMilliseconds(over.end(over.count - 1))},
		"step": {strconv.FormatFloat(float64(over.step)/1000, 'f', 3, 64)},
	})
	if err != nil {
		return nil, err
	}
	for _, series := range answer.Result {
		i, err := strconv.Atoi(series.Metric[canaryLabel])
		if err != nil || i < 0 || i >= len(counts) {
			return nil, upstream.ErrNotAnAnswer
		}
		for _, value := range series.Values {
			if at := (value.at - over.first) / over.step; value.at >= over.first && at < int64(over.count) {
				counts[i][at] = value.count
			}
		}
	}
	return counts, nil
}

// timestamps returns the timestamps of the samples that a selector matches in a time range,
// whose start is exclusive, in order.
func (q sampleQuestions) timestamps(ctx context.Context, selector string, of gap) ([]int64, error) {
	answer, err := askSamples[struct {
		Result []struct {
			Values     []countAt `json:"values"`
			Histograms []countAt `json:"histograms"`
		} `json:"result"`
	}](ctx, q, "/api/v1/query", url.Values{
		"query": {fmt.Sprintf("%s[%dms]", selector, max(of.to-of.from, 1))}, "time": {formatMilliseconds(of.to)},
	})
	if err != nil {
		return nil, err
	}
	var list []int64
	for _, series := range answer.Result {
		for _, sample := range append(series.Values, series.Histograms...) {
			if sample.isNaN && q.client.SpeaksMetricsQL() {
				continue // The marker of a stale series. It stores no other NaN.
			}
			list = append(list, sample.at)
		}
	}
	return sortedUnique(list), nil
}

// lastBefore returns the timestamp of about the last sample that a selector matches before a
// time, at most so much earlier, in milliseconds. found is false without such a sample.
func (q sampleQuestions) lastBefore(ctx context.Context, selector string, at int64, reach, resolution time.Duration) (last int64, found bool, err error) {
	answer, err := askSamples[struct {
		Result []struct {
			Value countAt `json:"value"`
		} `json:"result"`
	}](ctx, q, "/api/v1/query", url.Values{
		"query": {fmt.Sprintf("max(max_over_time(timestamp(%s)[%dms:%dms]))*1000", selector, reach.Milliseconds(), resolution.Milliseconds())},
		"time":  {formatMilliseconds(at)},
	})
	if err != nil || len(answer.Result) == 0 {
		return 0, false, err
	}
	return int64(answer.Result[0].Value.count), true, nil
}

// newestSample returns the largest value of an expression for timestamps of samples, in milliseconds,
// if there is none now. It looks further and further back, until earliest, and then for later ones.
// found is false if there is none.
func (q sampleQuestions) newestSample(ctx context.Context, timestamps string, now time.Time, earliest int64) (newest int64, found bool, err error) {
	const resolution = 5 * time.Minute // the lookback delta of Prometheus
	without := now                     // the earliest time at which there is none
	for back := resolution; !found; back *= 2 {
		at := now.Add(-back)
		if at.UnixMilli() < earliest {
			return 0, false, nil
		}
		if newest, found, err = q.newestAt(ctx, timestamps, at); err != nil {
			return 0, false, err
		}
		if !found {
			without = at
		}
	}
	for without.Sub(time.UnixMilli(newest)) > 2*resolution {
		middle := time.UnixMilli(newest).Add(without.Sub(time.UnixMilli(newest)) / 2)
		later, isLater, err := q.newestAt(ctx, timestamps, middle)
		switch {
		case err != nil:
			return 0, false, err
		case isLater && later > newest:
			newest = later
		default:
			without = middle
		}
	}
	return newest, true, nil
}

// newestAt returns the largest value of an expression for timestamps at a time, in milliseconds.
func (q sampleQuestions) newestAt(ctx context.Context, timestamps string, at time.Time) (newest int64, found bool, err error) {
	seconds, found, err := q.client.VectorValue(ctx, "max("+timestamps+")", at)
	if err != nil || !found || math.IsNaN(seconds) {
		return 0, false, err
	}
	return int64(math.Round(seconds * 1000)), true, nil
}

// countAt is a number at a time in milliseconds.
type countAt struct {
	at    int64
	count int
	isNaN bool
}

// UnmarshalJSON reads a pair of a time in seconds and a number. What is not a number, such as a
// histogram, is ignored.
func (c *countAt) UnmarshalJSON(text []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(string(pair[0]), 64)
	if err != nil {
		return err
	}
	c.at = int64(seconds*1000 + 0.5)
	if number, err := strconv.ParseFloat(strings.Trim(string(pair[1]), `"`), 64); err == nil {
		if c.isNaN = math.IsNaN(number); !c.isNaN {
			c.count = int(number)
		}
	}
	return nil
}

func formatMilliseconds(at int64) string { return promapi.FormatTime(time.UnixMilli(at)) }
