package catalog

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// blocksOf returns what is known of a Thanos whose store gateway has loaded some blocks. Nothing looks at it by itself.
func blocksOf(t *testing.T, now time.Time, loaded ...catalogtest.Wrote) *ColdOnly {
	t.Helper()
	base, err := url.Parse(catalogtest.MemoryOf(t, now, loaded...))
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	return NewColdOnly(ColdOnlyOptions{Cold: NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: 5 * time.Second})})
}

// look measures the end of the blocks at a time, and returns up to when they are complete, as an age.
func (c *ColdOnly) look(t *testing.T, now, at time.Time) (age time.Duration) {
	t.Helper()
	source := storedSource{kind: blockSource, scope: `job="a"`, labels: map[string]string{"job": "a"}}
	c.use(source, at)
	followed := c.sources[source.scope]
	end, isMeasured := c.measureOne(t.Context(), followed, at)
	require.True(t, isMeasured)
	followed.known = end
	until, err := source.until(&end, at)
	require.NoError(t, err)
	return now.Sub(time.UnixMilli(until))
}

// A store gateway loads several new blocks in any order.
func TestColdOnly_BlocksBeforeAHoleCountAtOnce(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	wrote := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}}
	}
	for name, test := range map[string]struct {
		loaded   []catalogtest.Wrote
		expected time.Duration
	}{
		"all of them":            {[]catalogtest.Wrote{wrote(30*time.Hour, 2*time.Hour)}, 2 * time.Hour},
		"the last but one lacks": {[]catalogtest.Wrote{wrote(30*time.Hour, 6*time.Hour), wrote(4*time.Hour, 2*time.Hour)}, 6 * time.Hour},
		"the newest one alone":   {[]catalogtest.Wrote{wrote(4*time.Hour, 2*time.Hour)}, 26 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := blocksOf(t, now, test.loaded...)
			age := func(at time.Duration) float64 { return c.look(t, now, now.Add(at)).Minutes() }
			require.InDelta(t, test.expected.Minutes()+3, age(0), 5)
			isBroken := test.expected != 2*time.Hour
			require.Equal(t, isBroken, c.hasBroken(now))
			require.InDelta(t, test.expected.Minutes()+3, age(20*time.Second), 5, "the block that lacks is still being loaded")
			require.Equal(t, isBroken, c.hasBroken(now.Add(20*time.Second)))
			require.InDelta(t, 123, age(55*time.Second), 5, "half a minute later, the hole is one of its server")
			require.False(t, c.hasBroken(now.Add(55*time.Second)), fmt.Sprint("no further look is needed for ", name))
		})
	}
}
