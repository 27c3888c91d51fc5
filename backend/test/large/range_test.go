//go:build e2e

package large

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nested is a section of the configuration.
type nested = map[string]any

// longRange asks for so many steps of the last 60 hours. Hot has the last 24.
func longRange(steps int, more ...string) url.Values {
	const span = 60 * time.Hour
	end := time.Now()
	parameters := url.Values{
		"query": {"big"}, "start": {fmt.Sprint(end.Add(-span).Unix())}, "end": {fmt.Sprint(end.Unix())},
		"step": {fmt.Sprint(int(span.Seconds()) / (steps - 1))},
	}
	for i := 0; i < len(more); i += 2 {
		parameters.Set(more[i], more[i+1])
	}
	return parameters
}

// TestRange_LargeAnswersStayWithinTheLimits asks for 20,000 series. E2E_STEPS is the number
// of their steps, each of about 30 bytes.
func TestRange_LargeAnswersStayWithinTheLimits(t *testing.T) {
	const series = 20_000
	steps := sized(t, "E2E_STEPS", 60)
	hot, cold := startHot(t, matrix(series)), startCold(t, matrix(series))
	text := int64(series*steps*30) >> 20 // in MiB
	route, off := nested{"strategy": "route"}, nested{"enabled": false}
	for _, test := range []struct {
		name     string
		settings nested
		encoding string
		// tier and notCut are what the headers say, and most is the limit of memory, in MiB.
		tier, notCut string
		most         int64
	}{
		{"passed on", nested{"routing": route, "cache": off}, "identity", "cold", "", 64},
		{"passed on in gzip", nested{"routing": route, "cache": off}, "gzip", "cold", "", 64},
		{"passed on in zstd", nested{"routing": route, "cache": off}, "zstd, gzip", "cold", "", 64},
		{"with a warning", nested{"routing": route, "cache": off, "cold": nested{"lag": "2h"}}, "gzip", "cold", "", 64},
		{"cut and cached", nested{}, "identity", "cold", "too-large", 192},
		{"cut and cached in gzip", nested{}, "gzip", "cold", "too-large", 192},
		{"cut and cached, with little memory", nested{"query": nested{"splice_bytes": 1 << 20}}, "identity", "cold", "too-large", 64},
		{"cut, with enough memory", nested{"cache": off, "query": nested{"splice_bytes": 4 << 30}}, "identity", "hot,cold", "", 64 + 6*text},
		{"cached", nested{"routing": route}, "identity", "cold", "too-large", 192},
		{"cached, with enough memory", nested{"routing": route, "cache": nested{"max_bytes": 4 << 30}, "query": nested{"splice_bytes": 4 << 30}}, "identity", "cold", "", 64 + 12*text},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := longRange(steps)
			expected := expect(t, matrix(series), parameters)
			g := startGateway(t, hot, cold, test.settings)
			for range 2 {
				got := g.ask(t, "/api/v1/query_range", parameters, "Accept-Encoding", test.encoding)
				require.Equal(t, []any{http.StatusOK, test.tier, test.notCut}, []any{got.status, got.header.Get("X-Tier"), got.header.Get("X-Tier-Not-Cut")}, got.tail)
				if test.name == "with a warning" {
					require.Contains(t, got.tail, `]}]},"warnings":["`)
				} else {
					require.Equal(t, expected, answered{hash: got.hash, length: got.length, tail: got.tail})
				}
				if test.notCut != "" {
					require.Contains(t, got.header.Get("X-Tier-Cache"), "never; steps=0/")
				}
				g.report(t, got, test.most)
			}
		})
	}
}

// TestRange_LimitIsAppliedOnTheWay has a limit that cold ignores.
func TestRange_LimitIsAppliedOnTheWay(t *testing.T) {
	steps := sized(t, "E2E_STEPS", 60)
	cold := startCold(t, matrix(20_000))
	g := startGateway(t, nil, cold, nested{"cold": nested{"url": cold.URL}})
	parameters := longRange(steps, "limit", "15000")
	got := g.ask(t, "/api/v1/query_range", parameters)
	whole := expect(t, matrix(15_000), parameters)
	const warnings = `,"warnings":["results truncated due to limit"]`
	require.Equal(t, []any{http.StatusOK, whole.length + int64(len(warnings))}, []any{got.status, got.length}, got.tail)
	require.Contains(t, got.tail, `]]}]}`+warnings+`}`)
	g.report(t, got, 192)
}

// TestRange_CutAndCachedAnswersFit asks for what fits into the limits until the cache has it.
func TestRange_CutAndCachedAnswersFit(t *testing.T) {
	const series, steps = 2000, 300
	hot, cold := startHot(t, matrix(series)), startCold(t, matrix(series))
	g := startGateway(t, hot, cold, nested{"probe": nested{"interval": "1s"}})
	parameters := longRange(steps)
	expected := expect(t, matrix(series), parameters)
	var got answered
	require.Eventually(t, func() bool {
		got = g.ask(t, "/api/v1/query_range", parameters)
		require.Equal(t, []any{http.StatusOK, "hot,cold", ""}, []any{got.status, got.header.Get("X-Tier"), got.header.Get("X-Tier-Not-Cut")})
		require.Equal(t, expected, answered{hash: got.hash, length: got.length, tail: got.tail})
		return strings.HasPrefix(got.header.Get("X-Tier-Cache"), "hit;")
	}, time.Minute, 200*time.Millisecond)
	g.report(t, got, 256)
}
