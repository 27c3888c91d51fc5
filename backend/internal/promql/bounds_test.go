package promql_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

const maxLength = 64 << 10

func TestCheck_RefusesWhatCostsMoreThanItsLength(t *testing.T) {
	for name, test := range map[string]struct{ text, message string }{
		"length":                {strings.Repeat("a", maxLength+1), "65537 bytes are too long"},
		"calls":                 {strings.Repeat("abs(", 500) + "a" + strings.Repeat(")", 500), "nested deeper than 200"},
		"parentheses":           {strings.Repeat("(", 201), "nested deeper than 200"},
		"in a comment's shadow": {"#\r" + strings.Repeat("(", 201), "nested deeper than 200"},
		"brackets":              {"a" + strings.Repeat("[1s:", 201), "nested deeper than 200"},
		"subqueries":            {"a" + strings.Repeat("[1s:]", 2001), "more than 2000 ranges"},
		"operators":             {"a" + strings.Repeat("+a", 2001), "more than 2000 operators"},
		"signs":                 {strings.Repeat("-", 2001) + "a", "more than 2000 operators"},
		"powers":                {"a" + strings.Repeat("^a", 2001), "more than 2000 operators"},
		"comparisons":           {"a" + strings.Repeat("!=a", 2001), "more than 2000 operators"},
		"sets":                  {"a" + strings.Repeat(" oR a", 2001), "more than 2000 operators"},
		"repetition":            {`a{b=~"` + strings.Repeat(".{1000}", 11) + `"}`, "regular expressions are too large"},
		"nested repetition":     {`a{b=~"` + strings.Repeat("(a{30}){30}", 12) + `"}`, "regular expressions are too large"},
		"many regexps":          {strings.Repeat(`a{b!~'.{1000}'} or `, 11) + "a", "regular expressions are too large"},
		"behind a comment":      {"a{b=~ # x\n`" + strings.Repeat(".{1000}", 11) + "`}", "regular expressions are too large"},
		"by an escape":          {`a{b=~"` + strings.Repeat(`\x2e{1000}`, 11) + `"}`, "regular expressions are too large"},
		"classes":               {`a{b=~"[` + strings.Repeat(`\\pL`, 51) + `]"}`, "more than 50 wide character classes"},
		"wide classes":          {`a{b=~"` + strings.Repeat(`\\D`, 51) + `"}`, "more than 50 wide character classes"},
		"groups":                {`a{b=~"` + strings.Repeat("x", 30_000) + strings.Repeat("(a|b)", 8) + strings.Repeat("(a)", 8000) + `"}`, "too many parts"},
		"labels":                {"a * on (" + strings.Repeat("b,", 16_000) + "b) group_left (" + strings.Repeat("c,", 15_000) + "c) d", "a list has more than 100"},
		"lists":                 {"a" + strings.Repeat(" + on (b, c, d, e) f", 700), "more than 2000 commas"},
		"ignored case":          {`a{b=~"(?i)[` + strings.Repeat(`B-\\x{1e942}`, 51) + `]"}`, "more than 50 wide character classes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := promql.Check(maxLength, test.text)
			require.ErrorContains(t, err, test.message)
		})
	}
	_, err := promql.Check(10, "123456", "12345")
	require.ErrorContains(t, err, "11 bytes are too long: at most 10 are accepted (query.max_length)", "together")
}

func TestCheck_AcceptsWhatDashboardsAsk(t *testing.T) {
	parse := parser.NewParser(parser.Options{})
	for name, text := range map[string]string{
		"a thousand operands":       "a" + strings.Repeat(` or rate(b{c!="d"}[5m]) `, 1000),
		"100 parentheses":           strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
		"64 KiB of names":           `a{b=~"` + strings.TrimSuffix(strings.Repeat("pod-7d9f8c6b5-x2x4z|", maxLength/20-1), "|") + `"}`,
		"names with dots":           `a{b=~"` + strings.TrimSuffix(strings.Repeat("10\\\\.0\\\\.1\\\\.2:9090|", maxLength/22-1), "|") + `"}`,
		"patterns":                  `a{b=~"` + strings.TrimSuffix(strings.Repeat("web-.+|", 2000), "|") + `"}`,
		"many groups":               `a{b=~"` + strings.TrimSuffix(strings.Repeat("(pod-7d9f8c6b5-x2x4z-1)|", 2000), "|") + `"}`,
		"a tree of names":           `a{b=~"` + tree("", 11) + `"}`,
		"the usual":                 `sum by (le) (rate(x_bucket{job=~".*api.*",code!~"5..",path!=""}[5m] offset -1w)) / ignoring (le) group_left () y > bool 1`,
		"operators in its strings":  `a{b="` + strings.Repeat("+", 5000) + `"}`,
		"operators in its comments": "a # " + strings.Repeat("-", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse.ParseExpr(text)
			require.NoError(t, err)
			isCostly, err := promql.Check(maxLength, text)
			require.NoError(t, err)
			require.Equal(t, len(text) > 8<<10, isCostly)
		})
	}
}

// tree returns an alternation of names that share their beginnings with each
// other: 2^depth of them.
func tree(name string, depth int) string {
	if depth == 0 {
		return name + "-pod"
	}
	return tree(name+"a", depth-1) + "|" + tree(name+"b", depth-1)
}

// costly are the most expensive texts that Check accepts, as far as known.
func costly() map[string]string {
	return map[string]string{
		"operators":     "a" + strings.Repeat("+a", promql.MaxOperators),
		"signs":         strings.Repeat("-", promql.MaxOperators) + "a",
		"powers":        "a" + strings.Repeat("^a", promql.MaxOperators),
		"subqueries":    "a" + strings.Repeat("[1s:]", promql.MaxOperators),
		"parentheses":   strings.Repeat("(", promql.MaxNesting) + "a" + strings.Repeat(")", promql.MaxNesting),
		"brackets open": strings.Repeat(strings.Repeat("(", promql.MaxNesting)+strings.Repeat(")", promql.MaxNesting), 100),
		"program":       `a{b=~"` + strings.Repeat(".{1000}", 10) + `"}`,
		"alternation":   `a{b=~"` + strings.TrimSuffix(strings.Repeat("a.*b|", maxLength/5-3), "|") + `"}`,
		"programs":      strings.Repeat(`a{b=~".{999}"} or `, 10) + "a",
		"classes":       `a{b=~"[` + strings.Repeat(`\\pL`, promql.MaxClasses-1) + `]"}`,
		"folded":        `a{b=~"(?i)[` + strings.Repeat(`B-\\x{1e942}`, promql.MaxClasses-1) + `]"}`,
		"ranges":        `a{b=~"[` + strings.Repeat(`a-\\x{ffff}`, maxLength/12) + `]"}`,
		"wide":          `a{b=~"` + strings.Repeat(`\\D`, promql.MaxClasses) + `"}`,
		"narrow":        `a{b=~"` + strings.Repeat(`[ac]`, 480) + `"}`,
		"any case":      `a{b=~"(?i)` + strings.Repeat(`kſ`, maxLength/3-10) + `"}`,
		"groups":        `a{b=~"` + strings.Repeat("x", 300) + strings.Repeat("(a|b)", 8) + strings.Repeat("(a)", 300) + `"}`,
		"labels":        "a" + strings.Repeat(" * on ("+strings.Repeat("b,", promql.MaxList)+"b) group_left ("+strings.Repeat("b,", promql.MaxList)+"b) d", promql.MaxArguments/promql.MaxList/2),
		"matchers":      "a{" + strings.Repeat(`b=~"c",`, maxLength/7-1) + "}",
		"nested groups": `a{b=~"` + strings.Repeat("(", 450) + "a" + strings.Repeat(")*", 450) + `"}`,
	}
}

func TestCheck_WhatItAcceptsTakesLittleToParse(t *testing.T) {
	parse := parser.NewParser(parser.Options{EnableExperimentalFunctions: true})
	for name, text := range costly() {
		t.Run(name, func(t *testing.T) {
			isCostly, err := promql.Check(maxLength, text)
			require.NoError(t, err)
			require.True(t, isCostly || name == "parentheses" || name == "nested groups")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			started := time.Now()
			root, err := parse.ParseExpr(text)
			printed := 0
			if err == nil {
				printed = len(root.String())
			}
			runtime.ReadMemStats(&after)
			t.Logf("%s: %d bytes, printed %d, %v, %d KiB allocated", name, len(text), printed, time.Since(started), (after.TotalAlloc-before.TotalAlloc)>>10)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
		})
	}
}

func FuzzCheck(f *testing.F) {
	if race.Enabled {
		f.Skip("no goroutines, and TestCheck_WhatItAcceptsTakesLittleToParse has the same inputs: runs without the race detector")
	}
	for _, text := range costly() {
		f.Add(text)
	}
	parse := parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true, EnableUnquotedUTF8Names: true})
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := promql.Check(maxLength, text); err != nil || strings.ContainsFunc(text, func(r rune) bool { return r == unicode.ReplacementChar }) {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if root, err := parse.ParseExpr(text); err == nil {
			_ = root.String()
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 96<<20 {
			t.Errorf("%d bytes allocated for %q", allocated, text)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	usual := `sum by (le) (rate(x_bucket{job=~".*api.*",code!~"5..",path!=""}[5m])) / on (le) group_left () y`
	b.Run("usual", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = promql.Check(maxLength, usual)
		}
	})
	for name, text := range costly() {
		b.Run(fmt.Sprintf("costly/%s", name), func(b *testing.B) {
			for b.Loop() {
				_, _ = promql.Check(maxLength, text)
			}
		})
	}
}

func TestCheck_RemembersWhatIsWithinTheBounds(t *testing.T) {
	cheap, costly := `sum(rate(x{job=~"a|b"}[5m]))`, strings.Repeat("x + ", promql.MaxOperators/5)+"x"
	for range 2 {
		isCostly, err := promql.Check(1000, cheap)
		require.NoError(t, err)
		require.False(t, isCostly)
		isCostly, err = promql.Check(1<<20, costly)
		require.NoError(t, err)
		require.True(t, isCostly, "also the second time")
		_, err = promql.Check(len(cheap)-1, cheap)
		require.ErrorContains(t, err, "too long", "the length may be another one now")
		_, err = promql.Check(1<<20, strings.Repeat("(", promql.MaxNesting+1))
		require.Error(t, err, "also the second time")
	}
	part := strings.Repeat("x + ", promql.MaxOperators/12) + "x"
	many := []string{part, part}
	_, err := promql.Check(1<<20, part)
	require.NoError(t, err)
	isCostly, err := promql.Check(1<<20, many...)
	require.NoError(t, err)
	require.True(t, isCostly, "texts count together, whatever is known of each")
}
