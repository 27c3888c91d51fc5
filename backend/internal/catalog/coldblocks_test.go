package catalog

import (
	"context"
	"fmt"
	"net/url"
	"sync"
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

// lookAt measures the end of a source with blocks at a time, and returns up to when it is complete, as an age.
func (c *ColdOnly) lookAt(t *testing.T, kind sourceKind, live int64, now, at time.Time) (age time.Duration) {
	t.Helper()
	source := storedSource{kind: kind, live: live, scope: `job="a"`, labels: map[string]string{"job": "a"}}
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
	const uploaded = 2 * time.Hour
	for name, test := range map[string]struct {
		blocks   []catalogtest.Wrote
		expected time.Duration // up to when they are complete, before now, if that is not up to the end of the blocks
	}{
		"all of them":            {blocks: []catalogtest.Wrote{wrote(34*time.Hour, uploaded)}},
		"the last but one lacks": {[]catalogtest.Wrote{wrote(34*time.Hour, 6*time.Hour), wrote(4*time.Hour, uploaded)}, 6 * time.Hour},
		"the newest one alone":   {[]catalogtest.Wrote{wrote(4*time.Hour, uploaded)}, 26 * time.Hour},
	} {
		for kind, end := range map[sourceKind]time.Duration{blockSource: uploaded, sidecarSource: 0} {
			t.Run(fmt.Sprint(name, ", kind ", kind), func(t *testing.T) {
				live, parts := int64(0), test.blocks
				if kind == sidecarSource {
					live, parts = now.Add(-uploaded).UnixMilli(), append([]catalogtest.Wrote{wrote(uploaded, -time.Hour)}, test.blocks...)
				}
				first := max(test.expected, end)
				isBroken := test.expected != 0
				c := blocksOf(t, now, parts...)
				for _, look := range []struct {
					at       time.Duration
					expected time.Duration
					isBroken bool
				}{
					{0, first, isBroken},
					{20 * time.Second, first, isBroken}, // The block that lacks is still being loaded.
					{55 * time.Second, end, false},      // The hole is one of the server.
					{90 * time.Second, end, false},
				} {
					at := now.Add(look.at)
					require.InDelta(t, look.expected.Minutes()+2, c.lookAt(t, kind, live, now, at).Minutes(), 5, look.at)
					require.Equal(t, look.isBroken, c.hasBroken(at), "whether another look is needed after %s", look.at)
				}
			})
		}
	}
}

// Blocks that were late come in, the newest one first.
func TestColdOnly_LateBlocksReachTheServer(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	wrote := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}}
	}
	live := now.Add(-2 * time.Hour).UnixMilli()
	for name, since := range map[string]time.Duration{"of a server": 34 * time.Hour, "of one that began today": 12 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			old, newest, server := wrote(since, 8*time.Hour), wrote(4*time.Hour, 2*time.Hour), wrote(2*time.Hour, -time.Hour)
			c := blocksOf(t, now, old, server)
			require.InDelta(t, 480, c.lookAt(t, sidecarSource, live, now, now).Minutes(), 3)
			require.False(t, c.hasBroken(now), "a sidecar may be late for hours")
			c.options.Cold.api = blocksOf(t, now, old, newest, server).options.Cold.api
			c.sources[`job="a"`].end, c.sources[`job="a"`].before = nil, nil
			for _, at := range []time.Duration{35 * time.Second, 70 * time.Second} {
				expected := map[bool]float64{true: 480, false: 0}[at < time.Minute]
				require.InDelta(t, expected, c.lookAt(t, sidecarSource, live, now, now.Add(at)).Minutes(), 5, "after %s", at)
				require.Equal(t, at < time.Minute, c.hasBroken(now.Add(at)))
			}
		})
	}
}

// The second look does not wait for a query: the next one may come half a minute later.
func TestColdOnly_ASecondLookFollowsAHole(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	told := map[string]string{"/stores": `{"store":[{"name":"b","lastError":null,"labelSets":[{"job":"a"}],"minTime":1,"maxTime":2}]}`, "/flags": "{}", "/config": ""}
	for name, parts := range map[string][]catalogtest.Wrote{
		"a hole": {{From: 30 * time.Hour, To: 6 * time.Hour, Jobs: []string{"a"}}, {From: 4 * time.Hour, To: 2 * time.Hour, Jobs: []string{"a"}}},
		"none":   {{From: 30 * time.Hour, To: 2 * time.Hour, Jobs: []string{"a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := url.Parse(newThanosOf(t, told, now, parts...).URL)
			require.NoError(t, err)
			client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
			require.NoError(t, err)
			cold := NewTier(TierOptions{Name: tier.Cold, Client: client, ProbeInterval: 5 * time.Second})
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { cold.Run(ctx) })
			t.Cleanup(func() { cancel(); running.Wait(); cold.Close() })
			cold.Wait(t.Context())
			c := NewColdOnly(ColdOnlyOptions{Cold: cold, LearnInterval: time.Hour})
			c.Refresh(t.Context())
			require.True(t, c.look(t.Context(), now), "it has learned the settings, and no query reads a source")
			_, err = c.CompleteUntil(selecting(t, "up"), now)
			require.ErrorContains(t, err, "not known yet")
			require.Equal(t, name == "none", c.look(t.Context(), now))
			require.True(t, c.look(t.Context(), now.Add(35*time.Second)))
		})
	}
}
