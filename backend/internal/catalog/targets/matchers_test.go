package targets

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func TestIsReadBy_MatchersThatExcludeTheTarget(t *testing.T) {
	hole := Hole{Target: Target{"job": "node", "instance": "a:9100", "zone": "x"}}
	none, other := HonoredLabels{Known: true}, HonoredLabels{Known: true, Jobs: []string{"push"}}
	own := HonoredLabels{Known: true, Jobs: []string{"push", "node"}}
	for selector, of := range map[string]struct{ none, other, own, unknown bool }{
		`m`:                              {true, true, true, true},
		`{__name__=~"m.*"}`:              {true, true, true, true},
		`m{job="node"}`:                  {true, true, true, true},
		`m{job="db"}`:                    {false, false, true, false},
		`m{job!="node"}`:                 {false, false, true, false},
		`m{job=~"db|web"}`:               {false, false, true, false},
		`m{instance=~"a:.*"}`:            {true, true, true, true},
		`m{instance!~"a:.*"}`:            {false, false, true, false},
		`m{zone="y"}`:                    {false, true, true, true},
		`m{pod="p"}`:                     {true, true, true, true},
		`m{pod=""}`:                      {true, true, true, true},
		`not_of_the_job{}`:               {false, false, true, false},
		`{__name__=~"not_of_the_job"}`:   {false, false, true, false},
		`{__name__=~"not_of_the_job|m"}`: {true, true, true, true},
	} {
		parsed, err := promql.ParseSelector(selector)
		require.NoError(t, err)
		mayExpose := func(of Hole, metric string) bool { return of.Target["job"] == "node" && metric != "not_of_the_job" }
		for honored, expected := range map[*HonoredLabels]bool{&none: of.none, &other: of.other, &own: of.own, {}: of.unknown} {
			require.Equal(t, expected, hole.IsReadBy(parsed, *honored, mayExpose), "%s, %v", selector, *honored)
		}
		require.True(t, Hole{}.IsReadBy(parsed, none, mayExpose), "a hole of the whole server")
	}
}

func TestTarget_String(t *testing.T) {
	require.Equal(t, `the target {instance="10.0.0.1:9100", job="node"}`, targetOf(1).String())
	require.Equal(t, "some targets", Target(nil).String())
}
