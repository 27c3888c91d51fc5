package promql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSelectors_IncludeWhatInfoReads(t *testing.T) {
	for text, expected := range map[string][]string{
		`vector(1)`:                           nil,
		`sum(x{a="b"}) / rate(y[5m])`:         {`{__name__="x",a="b"}`, `{__name__="y"}`},
		`max_over_time(x[1h:])`:               {`{__name__="x"}`},
		`info(x)`:                             {`{__name__="target_info"}`, `{__name__="x"}`},
		`info(x, {__name__=~"a.*",data="b"})`: {`{__name__=~"a.*"}`, `{__name__="x"}`},
		`info(x, {data="b"})`:                 {`{__name__="target_info"}`, `{__name__="x"}`},
	} {
		t.Run(text, func(t *testing.T) {
			query := anew(t, text)
			var got []string
			for _, selector := range query.Selectors() {
				got = append(got, selector.String())
			}
			require.ElementsMatch(t, expected, got, text)
		})
	}
	_, err := ParseSelector(`up[`)
	require.Error(t, err)
}

func TestHasDefaultSteps_ReportsSubqueriesWithoutAStep(t *testing.T) {
	require.True(t, anew(t, `max_over_time(x[1h:])`).HasDefaultSteps())
	for _, text := range []string{`max_over_time(x[1h:1m])`, `max_over_time(x[1h:step()])`, `rate(x[1h])`} {
		t.Run(text, func(t *testing.T) {
			require.False(t, anew(t, text).HasDefaultSteps(), text)
		})
	}
}

func TestDependsOnResets_LooksAtTheNearestFunction(t *testing.T) {
	for text, resets := range map[string]bool{
		`resets(x[5m])`: true, `resets(x[5m]) + y`: true, `sum(resets((x[5m])))`: true, `rate(x[5m:1m])`: true, `irate((-x)[5m:])`: true, `increase(x[5m:] offset 1h)`: true, `max_over_time(rate(x[5m:1m])[1h:])`: true,
		`rate(x[5m])`: false, `rate(sum(x)[5m:])`: false, `rate(abs(x)[5m:])`: false, `rate((x + 0)[5m:])`: false, `delta(x[5m:])`: false, `max_over_time(rate(x[5m])[1h:])`: false, `x`: false,
	} {
		t.Run(text, func(t *testing.T) {
			require.Equal(t, resets, anew(t, text).DependsOnResets(), text)
		})
	}
}

func TestParseLabels_AcceptsEqualityOnly(t *testing.T) {
	set, err := ParseLabels(`cluster="lab", "a.b"="c"`)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"cluster": "lab", "a.b": "c"}, set)
	for _, text := range []string{`cluster!="lab"`, `cluster=~"lab"`, `cluster`, `a.b="c"`, `x{a="b"}`} {
		t.Run(text, func(t *testing.T) {
			_, err := ParseLabels(text)
			require.Error(t, err, text)
		})
	}
}

func TestFormatLabels_SortsAndQuotes(t *testing.T) {
	require.Equal(t, `{a="", b="c\"", "d.e"="f"}`, FormatLabels(map[string]string{"d.e": "f", "b": `c"`, "a": ""}))
	require.Equal(t, `{}`, FormatLabels(nil))
}
