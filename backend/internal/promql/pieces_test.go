package promql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSeparable_RefusesWhatDependsOnTheRange(t *testing.T) {
	for _, query := range []string{
		`up`, `rate(up[5m])`, `up @ start()`, `sum_over_time(up[1h:] @ end())`, `topk(3, up)`, `up[1m]`, `rate(up[step()*2])`, `time()`,
	} {
		t.Run(query, func(t *testing.T) {
			require.NoError(t, anew(t, query).Separable(), query)
		})
	}
	for query, why := range map[string]string{
		`up offset range()`: "range()", `rate(up[max_of(range(), 1m)])`: "range()", `max_over_time(up[1h:(range()/100)])`: "range()",
		`limitk(1, up)`: "samples", `limit_ratio(0.5, up)`: "samples", `info(up)`: "info()", `up * start()`: "start()", `up > range()`: "range()", `step() * up`: "step()",
	} {
		t.Run(query, func(t *testing.T) {
			require.ErrorContains(t, anew(t, query).Separable(), why, query)
		})
	}
}

func TestFrozen_WritesStartAndEndIntoTheQuery(t *testing.T) {
	start, end := time.UnixMilli(1_700_000_000_000), time.UnixMilli(1_700_000_060_500)
	for query, expected := range map[string]string{
		`sum ( up )`:                     `sum ( up )`, // It names no time.
		`up @ start()`:                   `up @ 1700000000.000`,
		`rate(up[5m] @ end() offset 1m)`: `rate(up[5m] @ 1700000060.500 offset 1m)`,
		`max_over_time((up @ start())[1h:] @ end())`:          `max_over_time((up @ 1700000000.000)[1h:] @ 1700000060.500)`,
		`max_over_time(up[1h:] @ end())`:                      `max_over_time(up[1h:] @ 1700000060.500)`,
		`größe @ start()`:                                     `größe @ 1700000000.000`,
		`up @ 5`:                                              `up @ 5`,
		`absent( up{ z="1", a="2" } @ end ( ) ) # @ start()`:  `absent(up{z="1",a="2"} @ 1700000060.500)`,
		`label_replace(up @ start(), "x", "@ end()", "", "")`: `label_replace(up @ 1700000000.000, "x", "@ end()", "", "")`,
	} {
		t.Run(query, func(t *testing.T) {
			frozen, err := anew(t, query).Frozen(start, end)
			require.NoError(t, err)
			require.Equal(t, expected, frozen.String())
		})
	}
	frozen, err := anew(t, `up @ start()`).Frozen(time.UnixMilli(-1500), end)
	require.NoError(t, err)
	require.Equal(t, `up @ -1.500`, frozen.String())
	_, err = anew(t, `label_replace(größe @ start(), "a", "\xff", "", "")`).Frozen(start, end)
	require.ErrorContains(t, err, "cannot be written down")
}

func TestWithSteps_WritesTheStepIntoSubqueries(t *testing.T) {
	query, err := anew(t, `max_over_time(x[1h:] offset 5m) + min_over_time(y[2h:1m])`).WithSteps(30 * time.Second)
	require.NoError(t, err)
	require.Equal(t, `max_over_time(x[1h:30s] offset 5m) + min_over_time(y[2h:1m])`, query.String())
	for text, expected := range map[string]string{
		"avg_over_time( (x) [ 1h : ] @ end())":                       "avg_over_time((x)[1h:1m] @ end())",
		`max_over_time(min_over_time(x{a="]"}[5m:])[1h:] offset 1h)`: `max_over_time(min_over_time(x{a="]"}[5m:1m])[1h:1m] offset 1h)`,
		"sum_over_time(absent(x{b!='',b='2'})[10m: # ]\n])":          `sum_over_time(absent(x{b!="",b="2"})[10m:1m])`,
		"max_over_time(x offset 5m [step() * 10:])":                  "max_over_time(x offset 5m[step() * 10:1m])",
		"max_over_time(x[1h:step() * 2])":                            "max_over_time(x[1h:step() * 2])",
		"x":                                                          "x",
	} {
		t.Run(text, func(t *testing.T) {
			query, err := anew(t, text).WithSteps(minute)
			require.NoError(t, err, text)
			require.Equal(t, expected, query.String(), text)
		})
	}
}
