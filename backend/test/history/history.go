// Package history makes up the past of a small web shop: deterministic series
// whose samples depend on nothing but labels and time, so that any number of
// servers hold exactly the same ones.
package history

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Generator makes the samples.
type Generator struct {
	// Interval is the time between two samples of a series. Timestamps are
	// multiples of it since the Unix epoch.
	Interval time.Duration
	// Only are the series to make. If it is nil, it is all of them.
	Only []Series
	// Offset is how much later than at a multiple of Interval a sample is scraped. Two replicas of a
	// Prometheus have different offsets.
	Offset time.Duration
	// Misses reports whether a scrape was missed; nil for none. The time is in milliseconds since the
	// Unix epoch, without Offset.
	Misses func(milliseconds int64) bool
}

// Series is one series and its value at any time.
type Series struct {
	// Labels are the labels of the series, its name included.
	Labels labels.Labels
	// Value returns the value at a time in milliseconds since the Unix epoch.
	// It is nil for a series of native histograms.
	Value func(milliseconds int64) float64
	// Histogram returns the native histogram at such a time. It is nil for a
	// series of numbers.
	Histogram func(milliseconds int64) *histogram.Histogram
}

// blockRange is the time range of the blocks that are written: large enough
// for weeks of history to be few files, small enough to be read in parts.
const blockRange = 24 * time.Hour

// committed is after how many series samples are written, so that not all are in memory.
const committed = 500

// epoch is when all counters started: far enough back for every test.
const epoch = int64(1_700_000_000_000)

// All returns every series.
func (g Generator) All() []Series {
	if g.Only != nil {
		return g.Only
	}
	var all []Series
	for _, job := range []string{"cart", "checkout", "search"} {
		for instance := range 3 {
			all = append(all, service(job, fmt.Sprintf("%s-%d:8080", job, instance))...)
		}
	}
	for node := range 3 {
		all = append(all, machine(fmt.Sprintf("node-%d:9100", node))...)
	}
	return all
}

// Stock returns series of the stock at sites, one each, whatever their names.
func Stock(sites ...string) []Series {
	var all []Series
	for _, site := range sites {
		seed := phase(site)
		all = append(all, Series{
			Labels: labels.FromStrings("__name__", "stock", "site", site),
			Value:  func(at int64) float64 { return math.Round(100 + 50*math.Sin(days(at)*2*math.Pi+seed)) },
		})
	}
	return all
}

// Orders returns the series of a job that counts the orders at each of some sites.
func Orders(sites ...string) []Series {
	var all []Series
	for _, site := range sites {
		one := seriesOf("orders", site+":8080")
		all = append(all, one("up", func(int64) float64 { return 1 }), one("orders_total", counter(5, phase(site)), "site", site))
	}
	return all
}

// Labeled returns the same series with more labels, such as the external labels of the
// Prometheus that a long-term store has them from.
func Labeled(all []Series, more map[string]string) []Series {
	labeled := slices.Clone(all)
	for i := range labeled {
		labeled[i].Labels = WithLabels(labeled[i].Labels, more)
	}
	return labeled
}

// WithLabels returns the labels of a series with more labels, which take precedence.
func WithLabels(series labels.Labels, more map[string]string) labels.Labels {
	builder := labels.NewBuilder(series)
	for name, value := range more {
		builder.Set(name, value)
	}
	return builder.Labels()
}

// seriesOf returns what makes one series of a target, more labels in pairs.
func seriesOf(job, instance string) func(name string, value func(int64) float64, more ...string) Series {
	return func(name string, value func(int64) float64, more ...string) Series {
		pairs := append([]string{"__name__", name, "job", job, "instance", instance}, more...)
		return Series{Labels: labels.FromStrings(pairs...), Value: value}
	}
}

// service makes the series of one instance of a web service.
func service(job, instance string) []Series {
	one := seriesOf(job, instance)
	seed := phase(job + instance)
	series := []Series{
		one("up", func(int64) float64 { return 1 }),
		one("process_resident_memory_bytes", func(at int64) float64 {
			return math.Round(2e8 + 5e7*math.Sin(days(at)*2*math.Pi*3+seed) + 1e6*noise(seed, at))
		}),
	}
	for code, share := range map[string]float64{"200": 0.95, "404": 0.04, "500": 0.01} {
		series = append(series, one("http_requests_total", counter(40*share, seed), "code", code))
	}
	for _, bucket := range []struct {
		le    string
		share float64
	}{{"0.05", 0.4}, {"0.1", 0.7}, {"0.5", 0.95}, {"1", 0.99}, {"+Inf", 1}} {
		series = append(series, one("http_request_duration_seconds_bucket", counter(40*bucket.share, seed), "le", bucket.le))
	}
	return append(series,
		one("http_request_duration_seconds_count", counter(40, seed)),
		one("http_request_duration_seconds_sum", counter(6, seed)),
		Series{
			Labels:    labels.FromStrings("__name__", "http_response_size_bytes", "job", job, "instance", instance),
			Histogram: sizes(seed),
		})
}

// sizes returns a native histogram of sizes between 256 and 4096 bytes, whose
// buckets grow like counters.
func sizes(seed float64) func(int64) *histogram.Histogram {
	// Schema 0: the bucket of index i ends at 2^i.
	const lowest = 9
	perSecond := [...]float64{4, 16, 14, 6}
	var buckets [len(perSecond)]func(int64) float64
	for i := range perSecond {
		buckets[i] = counter(perSecond[i], seed+float64(i))
	}
	return func(at int64) *histogram.Histogram {
		h := &histogram.Histogram{PositiveSpans: []histogram.Span{{Offset: lowest, Length: uint32(len(buckets))}}}
		var before float64
		for i, bucket := range buckets {
			count := math.Trunc(bucket(at))
			h.PositiveBuckets = append(h.PositiveBuckets, int64(count-before)) // Each as its difference to the one before.
			before = count
			h.Count += uint64(count)
			h.Sum += count * math.Exp2(lowest+float64(i)) * 0.75 // In the middle of the bucket.
		}
		return h
	}
}

// machine makes the series of one node.
func machine(instance string) []Series {
	one := seriesOf("node", instance)
	seed := phase(instance)
	series := []Series{
		one("up", func(int64) float64 { return 1 }),
		one("node_memory_MemAvailable_bytes", func(at int64) float64 {
			return math.Round(8e9 + 2e9*math.Cos(days(at)*2*math.Pi+seed) + 1e7*noise(seed, at))
		}),
		one("node_load1", func(at int64) float64 {
			return math.Round(100*(2+math.Sin(days(at)*2*math.Pi+seed)+0.3*noise(seed, at))) / 100
		}),
	}
	for mode, share := range map[string]float64{"user": 0.3, "system": 0.1, "idle": 0.6} {
		series = append(series, one("node_cpu_seconds_total", counter(4*share, seed), "mode", mode))
	}
	return series
}

// counter returns a counter that grows by perSecond on average, more at noon
// and less at night, and up and down within some minutes.
func counter(perSecond, seed float64) func(int64) float64 {
	return func(at int64) float64 {
		elapsed := float64(at-epoch) / 1000
		// The growth 1 + sin(ωt + seed)/2 + sin(…)/4 is never negative.
		grown := elapsed + wave(elapsed, 24*time.Hour, seed)/2 + wave(elapsed, 11*time.Minute, 5*seed)/4
		return math.Round(perSecond*grown*1000) / 1000
	}
}

// wave returns the integral of sin(ωt + phase) from 0 to a time in seconds.
func wave(seconds float64, period time.Duration, phase float64) float64 {
	omega := 2 * math.Pi / period.Seconds()
	return (math.Cos(phase) - math.Cos(omega*seconds+phase)) / omega
}

func days(at int64) float64 { return float64(at) / 86_400_000 }

// phase turns a text into an angle.
func phase(text string) float64 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(text)) // A hash never fails to be written to.
	return float64(hash.Sum32()) / math.MaxUint32 * 2 * math.Pi
}

// noise is between -1 and 1, different at every time, and always the same.
func noise(seed float64, at int64) float64 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(strconv.FormatInt(at, 10) + strconv.FormatFloat(seed, 'g', -1, 64)))
	return float64(hash.Sum32())/math.MaxUint32*2 - 1
}

// first returns the first timestamp at or after a time, in milliseconds.
func (g Generator) first(at time.Time) int64 {
	interval := g.Interval.Milliseconds()
	return (at.UnixMilli() + interval - 1) / interval * interval
}

// Append appends the samples from a time, inclusive, to another, exclusive,
// and does not commit.
func (g Generator) Append(appender storage.Appender, from, to time.Time) error {
	for _, series := range g.All() {
		var reference storage.SeriesRef
		for at := g.first(from); at < to.UnixMilli(); at += g.Interval.Milliseconds() {
			if g.Misses != nil && g.Misses(at) {
				continue
			}
			added, err := series.append(appender, reference, at+g.Offset.Milliseconds())
			if err != nil {
				return fmt.Errorf("append to %s: %w", series.Labels, err)
			}
			reference = added
		}
	}
	return nil
}

func (s Series) append(appender storage.Appender, reference storage.SeriesRef, at int64) (storage.SeriesRef, error) {
	if s.Histogram != nil {
		return appender.AppendHistogram(reference, s.Labels, at, s.Histogram(at), nil)
	}
	return appender.Append(reference, s.Labels, at, s.Value(at))
}

// WriteBlocks writes the samples from a time, inclusive, to another,
// exclusive, as TSDB blocks of at most a day into a directory, which is made.
func (g Generator) WriteBlocks(ctx context.Context, directory string, from, to time.Time) error {
	for start := from; start.Before(to); {
		end := start.Truncate(blockRange).Add(blockRange)
		if end.After(to) {
			end = to
		}
		if err := g.writeBlock(ctx, directory, start, end); err != nil {
			return fmt.Errorf("write the block of %s: %w", start.Format(time.RFC3339), err)
		}
		start = end
	}
	return nil
}

// of returns the generator of some of the series.
func (g Generator) of(some []Series) Generator {
	g.Only = some
	return g
}

func (g Generator) writeBlock(ctx context.Context, directory string, from, to time.Time) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, 2*blockRange.Milliseconds())
	if err != nil {
		return err
	}
	defer func() {
		if closeError := writer.Close(); err == nil {
			err = closeError
		}
	}()
	for some := range slices.Chunk(g.All(), committed) {
		appender := writer.Appender(ctx)
		if err := g.of(some).Append(appender, from, to); err != nil {
			return err
		}
		if err := appender.Commit(); err != nil {
			return err
		}
	}
	_, err = writer.Flush(ctx)
	return err
}
