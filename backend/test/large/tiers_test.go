//go:build e2e

package large

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// writes writes the body of an answer.
type writes func(w io.Writer, parameters url.Values)

// startHot starts a fake of hot. It holds the last day of its own cluster.
func startHot(t *testing.T, answer writes) *faketier.Tier {
	t.Helper()
	return startTier(t, answer, map[string]string{
		"/label/__name__": `["big"]`, "/label/cluster": `[]`, "/status/config": `{"yaml":"global: {evaluation_interval: 30s, external_labels: {cluster: lab}}"}`,
	})
}

// startCold starts a fake of cold. It holds everything up to now.
func startCold(t *testing.T, answer writes) *faketier.Tier {
	t.Helper()
	newest := fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(time.Hour).Unix())
	return startTier(t, answer, map[string]string{
		"/label/__name__": `["big"]`, "/status/config": `{"yaml":"global: {}"}`, "/label/cluster": `["lab"]`, "max(timestamp(": newest,
	})
}

// startTier starts a fake that compresses as the caller accepts it.
func startTier(t *testing.T, answer writes, probes map[string]string) *faketier.Tier {
	t.Helper()
	tier := faketier.Start(t)
	tier.HandleProbes(faketier.Telling(probes))
	tier.Handle(func(w http.ResponseWriter, request *http.Request) {
		parameters := request.URL.Query()
		if form, err := io.ReadAll(request.Body); err == nil && len(form) > 0 {
			parameters, _ = url.ParseQuery(string(form)) // The gateway has encoded it.
		}
		compressed := compress(w, request.Header.Get("Accept-Encoding"))
		buffered := bufio.NewWriterSize(compressed, 64<<10)
		answer(buffered, parameters)
		_ = buffered.Flush() // It fails if the gateway has enough.
		if closer, is := compressed.(io.Closer); is {
			_ = closer.Close()
		}
	})
	return tier
}

// compress returns a writer in the best encoding that the caller accepts.
func compress(w http.ResponseWriter, accepted string) io.Writer {
	switch {
	case strings.Contains(accepted, "zstd"):
		w.Header().Set("Content-Encoding", "zstd")
		writer, _ := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // The options are valid.
		return writer
	case strings.Contains(accepted, "gzip"):
		w.Header().Set("Content-Encoding", "gzip")
		writer, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // The level is valid.
		return writer
	}
	return w
}

// matrix returns what answers a range query with so many series, which have a value at
// each step.
func matrix(series int) writes {
	return func(w io.Writer, parameters url.Values) {
		start, end, step := seconds(parameters, "start"), seconds(parameters, "end"), seconds(parameters, "step")
		var values strings.Builder
		for at := start; at <= end; at += step {
			if at > start {
				values.WriteByte(',')
			}
			fmt.Fprintf(&values, `[%d,"%d.123456789"]`, at, at%9973)
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[`)
		for number := range series {
			separator := ","
			if number == 0 {
				separator = ""
			}
			if _, err := fmt.Fprintf(w, `%s{"metric":{"__name__":"big","instance":"10.0.0.%d:9100","pod":"pod-%06d"},"values":[%s]}`, separator, 7, number, values.String()); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `]}}`)
	}
}

func seconds(parameters url.Values, name string) int64 {
	number, _ := strconv.ParseFloat(parameters.Get(name), 64) // The gateway has parsed it.
	return int64(number)
}

// gateway is a running tierproxy.
type gateway struct{ *stack.Server }

// startGateway starts a tierproxy in front of tiers, and waits until it knows what they hold.
// hot may be nil.
func startGateway(t *testing.T, hot, cold *faketier.Tier, more nested) *gateway {
	t.Helper()
	settings := nested{
		"discovery": nested{"enabled": false}, "cold": nested{"url": cold.URL}, "query": nested{"timeout": "2m"},
	}
	if hot != nil {
		settings["hot"] = nested{"url": hot.URL, "complete": true}
	}
	for key, value := range more {
		section, is := settings[key].(nested)
		if !is {
			settings[key] = value
			continue
		}
		maps.Copy(section, value.(nested))
	}
	server, err := stack.Tierproxy{Name: strings.ReplaceAll(t.Name(), "/", "-"), Dir: shared.dir, Config: settings, LogLevel: "warning"}.Start(t.Context(), shared.tierproxy)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	if hot != nil && settings["perses"] == nil {
		require.Eventually(t, func() bool {
			_, text, err := stack.Get(t.Context(), server.URL+"/api/v1/datasources/explain?query=big", nil)
			return err == nil && strings.Contains(string(text), `"tier":"hot"`)
		}, 30*time.Second, 20*time.Millisecond)
	}
	return &gateway{server}
}

// answered is an answer that was read and not kept.
type answered struct {
	header http.Header
	status int
	hash   string
	length int64
	tail   string
	took   time.Duration
}

// ask sends a request, and returns what came, decompressed.
func (g *gateway) ask(t *testing.T, path string, parameters url.Values, headers ...string) answered {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+path+"?"+parameters.Encode(), http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var body io.Reader = response.Body
	switch response.Header.Get("Content-Encoding") {
	case "gzip":
		body, err = gzip.NewReader(body)
	case "zstd":
		var decoder *zstd.Decoder
		decoder, err = zstd.NewReader(body)
		defer decoder.Close()
		body = decoder
	}
	require.NoError(t, err)
	found := summed(t, body)
	found.header, found.status, found.took = response.Header, response.StatusCode, time.Since(began)
	return found
}

// summed reads a body to its end.
func summed(t *testing.T, body io.Reader) answered {
	t.Helper()
	hash, tail := sha256.New(), &tail{}
	length, err := io.CopyBuffer(io.MultiWriter(hash, tail), struct{ io.Reader }{body}, make([]byte, 256<<10))
	require.NoError(t, err)
	return answered{hash: hex.EncodeToString(hash.Sum(nil)), length: length, tail: string(tail.last)}
}

// tail keeps the end of what is written.
type tail struct{ last []byte }

func (k *tail) Write(p []byte) (int, error) {
	const most = 600
	k.last = append(k.last, p[max(0, len(p)-most):]...)
	k.last = k.last[max(0, len(k.last)-most):]
	return len(p), nil
}

// expect returns what an answer is as a whole.
func expect(t *testing.T, answer writes, parameters url.Values) answered {
	t.Helper()
	reader, writer := io.Pipe()
	go func() {
		buffered := bufio.NewWriterSize(writer, 256<<10)
		answer(buffered, parameters)
		_ = buffered.Flush()
		_ = writer.Close()
	}()
	return summed(t, reader)
}

// report logs what an answer took, and checks the most memory that the process has held, in
// MiB.
func (g *gateway) report(t *testing.T, got answered, most int64) {
	t.Helper()
	memory, err := g.Memory()
	require.NoError(t, err)
	t.Logf("%d MiB in %s, memory at most %d MiB", got.length>>20, got.took.Round(time.Millisecond), memory.Peak>>20)
	require.LessOrEqual(t, memory.Peak>>20, most)
}
