//go:build e2e

package oracle

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// evalBlock is a part of Prometheus' own test data: what is loaded between two
// clear commands, and what is asked of it. Times are relative to its start.
type evalBlock struct {
	file   string
	loads  string
	evals  []eval
	length time.Duration
	series []loadedSeries
}

// eval is a query of the test data. Without a step it is an instant query at
// its end.
type eval struct {
	query            string
	start, end, step time.Duration
}

// loadedSeries is a series with its samples.
type loadedSeries struct {
	labels  labels.Labels
	samples []loadedSample
}

type loadedSample struct {
	at         int64
	value      float64
	histogram  *histogram.FloatHistogram
	histogramI *histogram.Histogram
}

var (
	evalInstant = regexp.MustCompile(`^eval(?:_(?:fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)$`)
	evalRange   = regexp.MustCompile(`^eval(?:_(?:fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$`)
)

// readEvals reads the test data of the Prometheus module.
func readEvals(t *testing.T) []*evalBlock {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(output)), "promql", "promqltest", "testdata", "*.test"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var blocks []*evalBlock
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		blocks = append(blocks, parseEvals(t, filepath.Base(file), string(text))...)
	}
	blocks = slices.DeleteFunc(blocks, func(block *evalBlock) bool { return len(block.evals) == 0 })
	for _, block := range blocks {
		block.load(t)
	}
	return blocks
}

func parseEvals(t *testing.T, file, text string) []*evalBlock {
	t.Helper()
	blocks := []*evalBlock{{file: file}}
	loading := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		current := blocks[len(blocks)-1]
		isIndented := line != strings.TrimLeft(line, " \t")
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#"):
			loading = loading && trimmed != ""
		case trimmed == "clear":
			blocks, loading = append(blocks, &evalBlock{file: file}), false
		case strings.HasPrefix(trimmed, "load"):
			current.loads += "\n"
			current.loads += line + "\n"
			loading = true
		case strings.HasPrefix(trimmed, "eval"):
			loading = false
			if parsed, ok := parseEval(trimmed); ok {
				current.evals = append(current.evals, parsed)
			}
		case loading && isIndented:
			current.loads += line + "\n"
		}
	}
	return blocks
}

func parseEval(line string) (eval, bool) {
	if parts := evalRange.FindStringSubmatch(line); parts != nil {
		parsed := eval{query: parts[4]}
		var errs [3]error
		parsed.start, errs[0] = parseOffset(parts[1])
		parsed.end, errs[1] = parseOffset(parts[2])
		parsed.step, errs[2] = parseOffset(parts[3])
		return parsed, errs == [3]error{}
	}
	if parts := evalInstant.FindStringSubmatch(line); parts != nil && !strings.HasPrefix(parts[2], "range from") {
		parsed := eval{query: parts[2]}
		var err error
		if parts[1] != "" {
			parsed.end, err = parseOffset(parts[1])
		}
		parsed.start = parsed.end
		return parsed, err == nil
	}
	return eval{}, false
}

func parseOffset(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	sign := time.Duration(1)
	if rest, found := strings.CutPrefix(text, "-"); found {
		sign, text = -1, rest
	}
	parsed, err := model.ParseDuration(text)
	return sign * time.Duration(parsed), err
}

// load lets Prometheus' own code expand what is loaded.
func (b *evalBlock) load(t *testing.T) {
	t.Helper()
	for _, each := range b.evals {
		b.length = max(b.length, each.end)
	}
	if b.loads == "" {
		return
	}
	defer func() {
		if t.Failed() {
			t.Log(b.file, b.loads)
		}
	}()
	storage := promqltest.LoadedStorage(t, b.loads)
	defer func() { require.NoError(t, storage.Close()) }()
	querier, err := storage.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer func() { _ = querier.Close() }()
	found := querier.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".*"))
	for found.Next() {
		series := loadedSeries{labels: found.At().Labels()}
		samples := found.At().Iterator(nil)
		for kind := samples.Next(); kind != chunkenc.ValNone; kind = samples.Next() {
			var sample loadedSample
			switch kind {
			case chunkenc.ValFloat:
				sample.at, sample.value = samples.At()
			case chunkenc.ValHistogram:
				sample.at, sample.histogramI = samples.AtHistogram(nil)
			case chunkenc.ValFloatHistogram:
				sample.at, sample.histogram = samples.AtFloatHistogram(nil)
			default:
				require.FailNow(t, fmt.Sprintf("%s: a sample of kind %s", b.file, kind))
			}
			series.samples = append(series.samples, sample)
			b.length = max(b.length, time.Duration(sample.at)*time.Millisecond)
		}
		require.NoError(t, samples.Err())
		b.series = append(b.series, series)
	}
	require.NoError(t, found.Err())
}
