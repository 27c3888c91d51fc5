package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	freshness = 10 * time.Minute
)

// world holds the samples of some series, of which some arrive late. It answers range queries.
type world struct {
	series int
	// lateness is the longest time from a step until its samples have arrived.
	lateness time.Duration
	// quietFrom is the time after which samples arrive at once.
	quietFrom time.Time
	// down and lacking are when evaluations fail, and when they have a warning and lack a series.
	down, lacking []interval
	memory        *admission.ByteBudget
	evaluations   atomic.Int64
	// dependsOnStart is set if the value of each step depends on the start of the query.
	dependsOnStart bool
	// apartFrom is when another server takes over that has other values, and whose answers must not
	// stand beside others. The zero time stands for never.
	apartFrom time.Time
}

func (w *world) isApart(now time.Time) bool { return !w.apartFrom.IsZero() && !now.Before(w.apartFrom) }

type interval struct{ from, to time.Time }

func within(list []interval, at time.Time) bool {
	for _, i := range list {
		if !at.Before(i.from) && at.Before(i.to) {
			return true
		}
	}
	return false
}

func hashOf(series, step int64) int64 {
	mixed := uint64(series+1)*0x9e3779b97f4a7c15 ^ uint64(step)*0xbf58476d1ce4e5b9
	mixed ^= mixed >> 31
	return int64(mixed * 0x94d049bb133111eb >> 2)
}

// value returns the value of a series at a step, as of a time; empty for none.
func (w *world) value(series int, step int64, now time.Time, start int64) string {
	seed := hashOf(int64(series), step)
	if w.isApart(now) {
		seed = hashOf(seed, 1)
	}
	if w.dependsOnStart {
		seed = hashOf(seed, start)
	}
	switch late := seed % 7; {
	case seed%11 == 0:
		return "" // The series has a hole.
	case w.lateness == 0 || time.UnixMilli(step).After(w.quietFrom) || late > 2:
		return fmt.Sprint(seed % 1000)
	case now.UnixMilli()-step >= w.lateness.Milliseconds()*(late+1)/3:
		return fmt.Sprint(seed % 1000)
	case late == 2:
		return "" // It has not arrived.
	}
	return fmt.Sprint(seed%1000, "0") // What was there before.
}

func (w *world) evaluate(_ context.Context, start, end time.Time, step time.Duration, lacks bool) string {
	var result []string
	now := time.Now()
	for series := range w.series {
		if lacks && series == 0 {
			continue
		}
		var values []string
		for at := start; !at.After(end); at = at.Add(step) {
			if value := w.value(series, at.UnixMilli(), now, start.UnixMilli()); value != "" {
				values = append(values, fmt.Sprintf(`[%s,"%s"]`, strings.TrimSuffix(fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000), ".000"), strings.ReplaceAll(value, " ", "")))
			}
		}
		if len(values) > 0 {
			result = append(result, fmt.Sprintf(`{"metric":{"series":"%d"},"values":[%s]}`, series, strings.Join(values, ",")))
		}
	}
	warnings := ""
	if lacks {
		warnings = `,"warnings":["a tier is down"]`
	}
	return `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(result, ",") + `]}` + warnings + `}`
}

// query returns a live query of the world.
func (w *world) query(step, length time.Duration) live.Query {
	return live.Query{
		Key: "world " + step.String(), Datasource: "world", Step: step, Range: length,
		Evaluate: func(ctx context.Context, start, end time.Time, _ bool) (*live.Answer, error) {
			w.evaluations.Add(1)
			now := time.Now()
			if within(w.down, now) {
				return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the world is down")
			}
			text := []byte(w.evaluate(ctx, start, end, step, within(w.lacking, now)))
			matrix, err := splice.Parse(text, nil)
			if err != nil {
				return nil, err
			}
			if !w.memory.Of("world").Acquire(int64(len(text))) {
				return nil, live.ErrNoMemory
			}
			return &live.Answer{Matrix: matrix, Bytes: int64(len(text)), IsApart: w.isApart(now), Tier: "hot", Reason: "below-threshold"}, nil
		},
	}
}

// client is a subscriber that keeps what it gets, as the contract of the endpoint says.
type client struct {
	length  time.Duration
	samples map[string]map[int64]string
	last    int64 // the newest step
	id      int64
	// snapshots and appends count updates, failures errors, and repeated samples that were sent again
	// without a change.
	snapshots, appends, failures, repeated int
}

func newClient(length time.Duration) *client {
	return &client{length: length, samples: map[string]map[int64]string{}}
}

// apply applies an update.
func (c *client) apply(t *testing.T, update *live.Update) {
	t.Helper()
	defer update.Release()
	if update.Kind == live.Failed {
		c.failures++
		return
	}
	var body struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
		Live struct{ Start, End, Step float64 }
	}
	require.NoError(t, json.Unmarshal(update.Body, &body))
	first, last := int64(body.Live.Start*1000), int64(body.Live.End*1000)
	require.LessOrEqual(t, update.ID, last)
	if c.appends++; update.Kind == live.Snapshot {
		c.appends--
		c.snapshots++
		first = last - c.length.Milliseconds()
		c.samples = map[string]map[int64]string{}
	} else if c.last != 0 {
		require.LessOrEqual(t, first, c.last+int64(body.Live.Step*1000), "an append leaves a hole")
	}
	before := map[string]string{} // the samples of the first step that is replaced
	for name, samples := range c.samples {
		before[name] = samples[first]
		for at := range samples {
			if at >= first && at <= last {
				delete(samples, at)
			}
		}
	}
	isSame := update.Kind == live.Append && first <= c.last
	for _, series := range body.Data.Result {
		name := series.Metric["series"]
		if c.samples[name] == nil {
			c.samples[name] = map[int64]string{}
		}
		for _, sample := range series.Values {
			c.samples[name][int64(sample[0].(float64)*1000)] = sample[1].(string)
		}
		isSame = isSame && before[name] == c.samples[name][first]
		delete(before, name)
	}
	for _, value := range before {
		isSame = isSame && value == ""
	}
	if isSame {
		c.repeated++
	}
	c.last, c.id = last, update.ID
	c.forget(last - c.length.Milliseconds())
}

// forget drops the steps before a time.
func (c *client) forget(before int64) {
	for name, samples := range c.samples {
		for at := range samples {
			if at < before {
				delete(samples, at)
			}
		}
		if len(samples) == 0 {
			delete(c.samples, name)
		}
	}
}

// keepSettled drops the steps that may still change, as before a reconnection.
func (c *client) keepSettled() {
	for _, samples := range c.samples {
		for at := range samples {
			if at > c.id {
				delete(samples, at)
			}
		}
	}
	c.last = c.id
}

// requireEqual checks that the client has what the world has in the window that ends at the client's
// newest step.
func (c *client) requireEqual(t *testing.T, w *world, step time.Duration) {
	t.Helper()
	now := time.Now()
	require.NotZero(t, c.last)
	for series := range w.series {
		got := c.samples[fmt.Sprint(series)]
		expected := map[int64]string{}
		first := c.last - c.length.Milliseconds()/step.Milliseconds()*step.Milliseconds()
		for at := first; at <= c.last; at += step.Milliseconds() {
			if value := strings.ReplaceAll(w.value(series, at, now, first), " ", ""); value != "" {
				expected[at] = value
			}
		}
		if len(expected) == 0 {
			require.Empty(t, got)
			continue
		}
		require.Equal(t, expected, got, "series %d", series)
	}
}
