package targets

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

// scrapeInterval is the time between two scrapes of all servers, and epoch the time of the first one.
const scrapeInterval = 15 * time.Second

var epoch = time.Unix(1_800_000_000, 0)

// upAt returns whether a scrape of a target is there, and whether it succeeded.
type upAt func(target int, at time.Duration) (isThere, isUp bool)

// server evaluates queries as Prometheus does, on samples of series named up.
type server struct {
	storage *teststorage.TestStorage
	engine  *promql.Engine
	mutex   sync.Mutex
	asked   []string
	fails   error // what the next queries return
}

// newServer returns a server that has scraped targets for a time.
func newServer(t *testing.T, count int, length time.Duration, up upAt) *server {
	t.Helper()
	s := &server{storage: teststorage.New(t), engine: promql.NewEngine(promql.EngineOpts{MaxSamples: math.MaxInt32, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true})}
	t.Cleanup(func() { _ = s.engine.Close() })
	appender := s.storage.Appender(t.Context())
	references := make([]storage.SeriesRef, count)
	for at := time.Duration(0); at <= length; at += scrapeInterval {
		for i := range count {
			isThere, isUp := up(i, at)
			if !isThere {
				continue
			}
			value := 0.0
			if isUp {
				value = 1
			}
			// Targets are not scraped at the same time.
			reference, err := appender.Append(references[i], labels.FromMap(targetOf(i).Series()), epoch.Add(at).UnixMilli()+int64(i%10_000), value)
			require.NoError(t, err)
			references[i] = reference
		}
	}
	require.NoError(t, appender.Commit())
	return s
}

func targetOf(i int) Target {
	return Target{"job": "node", "instance": "10.0.0." + strconv.Itoa(i) + ":9100"}
}

// ask is an Instant.
func (s *server) ask(ctx context.Context, text string, at time.Time) (list []Series, err error) {
	s.mutex.Lock()
	s.asked = append(s.asked, text)
	fails := s.fails
	s.mutex.Unlock()
	if fails != nil {
		return nil, fails
	}
	query, err := s.engine.NewInstantQuery(ctx, s.storage, nil, text, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	switch value := result.Value.(type) {
	case promql.Vector:
		for _, sample := range value {
			list = append(list, Series{Labels: sample.Metric.Map(), Value: sample.F})
		}
	case promql.Matrix:
		for _, series := range value {
			made := Series{Labels: series.Metric.Map()}
			for _, point := range series.Floats {
				made.Samples = append(made.Samples, Sample{At: point.T, Up: point.F != 0})
			}
			list = append(list, made)
		}
	}
	return list, result.Err
}

// requests returns how many queries contained a text since the last call.
func (s *server) requests(text string) (count int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, each := range s.asked {
		if strings.Contains(each, text) {
			count++
		}
	}
	s.asked = nil
	return count
}

// isBetween reports whether a time is after one and not after another.
func isBetween(at, from, to time.Duration) bool { return at > from && at <= to }
