package engine

import (
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Steps from the cache can be had in gzip, also when the range moves on, and equal the plain answer.
func TestStepCache_StepsGoOutAsTheyAreKept(t *testing.T) {
	p := newCachedTiers(t)
	p.warm(t, p.at(t, 0, 8*time.Hour, nil))
	for _, later := range []time.Duration{0, time.Minute, 7 * time.Minute, 20 * time.Minute, -time.Hour} {
		query := p.at(t, later, 8*time.Hour-max(0, -later), nil)
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, CacheHit, response.Cache.Result)
		require.NotNil(t, response.Gzip)
		compressed, err := io.ReadAll(response.Gzip)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Zero(t, p.engine.held())
		text := unzipped(t, string(compressed))
		require.Equal(t, whole(query, "a", "gaps"), text)
		require.EqualValues(t, response.ContentLength, len(text))
		p.do(t, query) // It compares the plain one.
	}
}

// An entry that is extended by new steps of cold is packed again.
func TestStepCache_ExtendsWhatIsPacked(t *testing.T) {
	p := newCachedTiers(t)
	ask := func(later time.Duration) asking {
		query := p.at(t, later, 8*time.Hour, url.Values{"query": {"up"}})
		query.Strategy = tier.StrategyRoute
		return query
	}
	p.warmSteps(t, ask(-3*time.Hour))
	require.Eventually(t, func() bool { return p.do(t, ask(0)).Cache.Cached > 8*60-90 }, 20*time.Second, 5*time.Millisecond)
	response, err := do(t.Context(), ask(0))
	require.NoError(t, err)
	require.NotNil(t, response.Gzip)
	require.NoError(t, response.Body.Close())
}

// warmSteps asks until some steps are kept.
func (p *cachedTiers) warmSteps(t *testing.T, query asking) {
	t.Helper()
	require.Eventually(t, func() bool { return p.do(t, query).Cache.Cached > 0 }, 20*time.Second, 5*time.Millisecond)
}

// Steps that do not fit into the memory for pieces are asked for again.
func TestStepCache_PackedStepsCountAgainstTheMemory(t *testing.T) {
	p := newCachedTiers(t)
	query := p.at(t, 0, 8*time.Hour, nil)
	p.warm(t, query)
	results := map[string]int{}
	for most := int64(500); most < 64<<10; most += most / 8 {
		query.engine = New(Options{PieceBytes: most})
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, whole(query, "a", "gaps"), body(t, response))
		require.Zero(t, query.engine.held())
		results[response.Cache.Result]++
	}
	require.Positive(t, results[CacheNever], "nothing fits")
	require.Positive(t, results[CacheHit])
}

// An answer whose body is replaced does not go out as it was.
func TestResponse_ReplacedBodyHasNoOtherForm(t *testing.T) {
	response := &Response{Header: jsonHeader(), Body: io.NopCloser(strings.NewReader("a")), Gzip: strings.NewReader("b")}
	response.setBody([]byte("c"))
	require.Nil(t, response.Gzip)
	require.Equal(t, "c", body(t, response))
}
