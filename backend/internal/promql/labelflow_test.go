package promql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFlowOf_FollowsALabelToTheResult follows the label l, which matchers for it match.
func TestFlowOf_FollowsALabelToTheResult(t *testing.T) {
	for expected, queries := range map[flow][]string{
		unchanged: {
			`1`, `"l"`, `vector(1)`, `scalar(x)`, `absent(x)`, `absent_over_time(x[5m])`, `sum(x)`, `sum without (l) (x)`, `count_values("m", x)`, `sum(x) + sum(y)`, `sum(x) + 1`,
			`x + ignoring (l) y`, `x + on (m) y`, `x + on (m) sum(y)`, `sum(x) unless on (m) y`, `sum(x) * on (m) group_left () y`, `x * on (m) group_left (l) sum(y)`,
			`sum(x) * on (m) group_right (l) y`, `sum(x{l="a"})`, `scalar(x{l="a"})`, `absent(sum(x{l="a"}))`, `absent(-x{l="a"})`, `x{l="a"} + on (m) y`, `x + on (m) y{l="a"}`,
		},
		carried: {
			`x`, `-x`, `(x)`, `rate(x[5m])`, `max_over_time(x[5m:1m])`, `label_replace(x, "m", "", "", "")`, `sum by (l) (x)`, `sum without (m) (x)`, `topk(3, x)`, `topk(scalar(x), x)`,
			`x + 1`, `1 + x`, `x + scalar(y)`, `x + y`, `x + on (l) y`, `x or y`, `x and on (m) sum(y)`, `x * on (m) group_left () sum(y)`, `sum(x) * on (m) group_right () y`,
			`sum(x) * on (m) group_left (l) y`, `x * on (m) group_right (l) sum(y)`, `x{l="a"}`, `abs(x{l=~"a|b"})`, `x{l="a"} + 1`, `x{l="a"} + y`, `topk(scalar(x{l="a"}), x)`,
		},
		entangled: {
			`absent(x{l="a"})`, `absent_over_time(x{l!="a"}[5m])`, `sum(absent(x{l="a"}))`, `info(x)`, `info(vector(1))`, `label_replace(x, "l", "", "", "")`, `label_replace(x, "m", "$1", "l", "")`, `sort_by_label(x, "m")`, `count_values("l", x)`,
			`count_values(("l"), x)`, `label_replace(x, "m", "$1", ("l"), "")`, `label_join(x, (("l")), "", "m")`,
			`limitk(1, x)`, `limit_ratio(0.5, x)`, `x + fill (0) y`, `x + fill_left (0) y`, `x + fill_right (0) y`,
			`x + sum(y)`, `sum(x) + y`, `x + on (l) sum(y)`, `x or sum(y)`, `x or on (m) sum(y)`, `x and sum(y)`,
		},
	} {
		for _, query := range queries {
			require.Equal(t, expected, flowOf(anew(t, query).tree(), "l"), query)
		}
	}
}
