//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// chromium is the Accept-Encoding of Chromium.
const chromium = "gzip, deflate, br, zstd"

// mostBytes is how many bytes a browser may receive for an answer that tierproxy put together, as
// a multiple of those of Thanos.
const mostBytes = 1.1

// TestCompression_ThroughPersesAnswersAreAsShortAsThoseOfThanos asks for a week of a dashboard.
func TestCompression_ThroughPersesAnswersAreAsShortAsThoseOfThanos(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	s.apply(s.global("metrics", nil))
	base := s.perses.URL + "/proxy/globaldatasources/metrics"
	end := lastEnd()
	// What is kept goes out in gzip, if the client does not prefer another encoding.
	for accepted, expected := range map[string][]string{chromium: {"zstd", "gzip"}, "gzip, deflate, br": {"gzip"}} {
		received, thanos, plain := 0, 0, 0
		for _, query := range []string{
			`rate(http_requests_total[30m])`, `sum by (job) (rate(http_requests_total[30m]))`, `node_memory_MemAvailable_bytes`, `http_requests_total`,
		} {
			c := call{base: base, endpoint: "query_range", values: panel.RangeQuery(query, end, 7*day, 10*minute), header: http.Header{"Accept-Encoding": {accepted}}}
			for range 2 { // From the tiers, then from the cache.
				got := mustDo(t, c)
				require.NotEmpty(t, got.header.Get("X-Tier-Cache"), query)
				encoding := got.header.Get("Content-Encoding")
				require.Contains(t, expected, encoding, query)
				require.Equal(t, "Accept-Encoding", got.header.Get("Vary"), query)
				received += len(got.body)
				got.body = decompressed(t, encoding, got.body)
				plain += len(got.body)
				requireOracle(t, c, got)
			}
			c.base, c.header = shared.cold.Query.URL, http.Header{"Accept-Encoding": {"gzip"}}
			got := mustDo(t, c)
			require.Equal(t, "gzip", got.header.Get("Content-Encoding"), query)
			thanos += 2 * len(got.body)
		}
		t.Logf("%v: %d bytes for %d, and %d from Thanos in gzip: %.2f times", expected, received, plain, thanos, float64(received)/float64(thanos))
		require.Less(t, float64(received), mostBytes*float64(thanos), accepted)
	}
}

func decompressed(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var reader io.Reader
	var err error
	if encoding == "zstd" {
		reader, err = zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1))
	} else {
		reader, err = gzip.NewReader(bytes.NewReader(body))
	}
	require.NoError(t, err)
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return text
}
