package randompromql

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

func series() []labels.Labels {
	var list []labels.Labels
	for _, name := range []string{"up", "requests_total", "load"} {
		for i := range 12 {
			set := labels.FromStrings("__name__", name, "job", fmt.Sprint("job-", i%3), "instance", fmt.Sprint(i), "le", "+Inf",
				"cluster", "lab", "code", "200", "mode", "idle", "method", "get", "path", "/", "version", "1", "zone", "a")
			list = append(list, set)
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func some(seed int64, count int) []string {
	g := New(rand.New(rand.NewSource(seed)), series(), parser.Options{}, Functions(), promqlsmith.WithEnableOffset(true), promqlsmith.WithEnableAtModifier(true))
	var list []string
	for i := range count {
		list = append(list, g.Expression(i%2 == 0).String())
	}
	return list
}

// TestGenerator_SeedRepeatsQueries has more labels than a small map holds, so that
// their order would show.
func TestGenerator_SeedRepeatsQueries(t *testing.T) {
	first := some(7, 1000)
	require.Equal(t, first, some(7, 1000))
	require.NotEqual(t, first, some(8, 1000))
}

func TestGenerator_EveryConstructOccurs(t *testing.T) {
	all := strings.Join(some(1, 2000), "\n")
	for _, part := range []string{
		" by (", " without (", " on (", " ignoring (", "group_left (", "group_right (", " and ", " unless ", "!=", "=~", "!~", "offset", "@", "[1h:1m]", "label_replace(", "label_join(", "rate(", "absent(",
	} {
		require.Contains(t, all, part)
	}
}
