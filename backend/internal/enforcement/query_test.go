package enforcement

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

func rule(t testing.TB, onConflict OnConflict, values ...string) *Rule {
	t.Helper()
	made, err := New("namespace", values, onConflict)
	require.NoError(t, err)
	return made
}

func queryText(r *Rule, text string) (string, error) {
	confined, _, err := r.query(text)
	return confined, err
}

func selectorText(r *Rule, text string) (string, error) {
	confined, _, err := r.selector(text)
	return confined, err
}

func TestQuery_ConfinesEverySelector(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for query, expected := range map[string]string{
		`up`:                      `up{namespace=~"shop"}`,
		`up{}`:                    `up{namespace=~"shop"}`,
		`up {job="a"} offset 5m`:  `up{namespace=~"shop",job="a"} offset 5m`,
		`{__name__="up"}`:         `{namespace=~"shop",__name__="up"}`,
		`{"up", job="a"}`:         `{namespace=~"shop",__name__="up",job="a"}`,
		`{__name__=~".+"}`:        `{namespace=~"shop",__name__=~".+"}`,
		`sum`:                     `sum{namespace=~"shop"}`,
		`sum(up) by (job)`:        `sum by (job) (up{namespace=~"shop"})`,
		`rate(a:b:c[5m] @ end())`: `rate(a:b:c{namespace=~"shop"}[5m] @ end())`,
		`max_over_time(rate(x[5m])[1h:30s] offset 1d)`:   `max_over_time(rate(x{namespace=~"shop"}[5m])[1h:30s] offset 1d)`,
		`topk(scalar(limit), up)`:                        `topk(scalar(limit{namespace=~"shop"}), up{namespace=~"shop"})`,
		`a * on (job) group_left (b) c unless d`:         `a{namespace=~"shop"} * on (job) group_left (b) c{namespace=~"shop"} unless d{namespace=~"shop"}`,
		`label_replace(up, "namespace", "shop", "", "")`: `label_replace(up{namespace=~"shop"}, "namespace", "shop", "", "")`,
		`absent(up{job="a"})`:                            `absent(up{namespace=~"shop",job="a"})`,
		"up # a comment with {braces\n + down":           `up{namespace=~"shop"} + down{namespace=~"shop"}`,
		"up\n# {job=\"a\"}\n{job=\"b\"}":                 `up{namespace=~"shop",job="b"}`,
		`up == bool 1e3 > 0x1F`:                          `up{namespace=~"shop"} == bool 1000 > 31`,
		`vector(1) + time()`:                             `vector(1) + time()`,
		`"up"`:                                           `"up"`,
		`up{job="\"}"}`:                                  `up{namespace=~"shop",job="\"}"}`,
		`up{job=~'a{2}'}`:                                `up{namespace=~"shop",job=~"a{2}"}`,
		`x[5m:1m]`:                                       `x{namespace=~"shop"}[5m:1m]`,
		`-x ^ 2`:                                         `-x{namespace=~"shop"} ^ 2`,

		// Whoever names an allowed value needs no other matcher.
		`up{namespace="shop"}`:                 `up{namespace="shop"}`,
		`up{namespace="shop",namespace!="x"}`:  `up{namespace="shop",namespace!="x"}`,
		`absent(up{"namespace"="shop"})`:       `absent(up{namespace="shop"})`,
		`up{namespace=~"shop"}`:                `up{namespace=~"shop",namespace=~"shop"}`,
		`up{namespace=~"shop|bank"}`:           `up{namespace=~"shop",namespace=~"shop|bank"}`,
		`up{namespace!="bank"}`:                `up{namespace=~"shop",namespace!="bank"}`,
		`up{namespace=~".*"} or up`:            `up{namespace=~"shop",namespace=~".*"} or up{namespace=~"shop"}`,
		`up{namespace=~"shop|",namespace!=""}`: `up{namespace=~"shop",namespace=~"shop|",namespace!=""}`,
		// A conflict matches nothing, and absent() still sees it.
		`up{namespace="bank"}`:                  `up{namespace=~"shop",namespace="bank"}`,
		`up{job="a", namespace="bank",}`:        `up{namespace=~"shop",job="a",namespace="bank"}`,
		`{namespace="bank"}`:                    `{namespace=~"shop",namespace="bank"}`,
		`absent(up{namespace="bank"})`:          `absent(up{namespace=~"shop",namespace="bank"})`,
		`up{namespace=""}`:                      `up{namespace=~"shop",namespace=""}`,
		`up{namespace!~"shop"}`:                 `up{namespace=~"shop",namespace!~"shop"}`,
		`up{namespace="shop",namespace="bank"}`: `up{namespace="shop",namespace="bank"}`,

		// Comments, raw strings and control characters do not go out.
		"balance#\r{}":                `balance{namespace=~"shop"}`,
		"balance{#\r}\n":              `balance{namespace=~"shop"}`,
		"up{a=`b\n\"`}":               `up{namespace=~"shop",a="b\x0a\""}`,
		`up{a='\'"\u00e9\x41\101'}`:   `up{namespace=~"shop",a="'\"éAA"}`,
		`up{"a\tb"="\u2028"}`:         `up{namespace=~"shop","a\x09b"="\u2028"}`,
		`{"größe", "ä b"!="x"}`:       `{namespace=~"shop",__name__="größe","ä b"!="x"}`,
		"sum\tby\r\n(job)(up)":        `sum by (job) (up{namespace=~"shop"})`,
		`a+b`:                         `a{namespace=~"shop"} + b{namespace=~"shop"}`,
		`1+-2*0755 > bool 0xff_f`:     `1 + -2 * 493 > bool 4095`,
		`sum by ("Inf", "a\tb") (up)`: `sum by ("Inf", "a\x09b") (up{namespace=~"shop"})`,
		`count_values('a"', up)`:      `count_values("a\"", up{namespace=~"shop"})`,
	} {
		t.Run(query, func(t *testing.T) {
			got, err := queryText(shop, query)
			require.NoError(t, err, query)
			require.Equal(t, expected, got, query)
			again, err := queryText(shop, got)
			require.NoError(t, err, got)
			require.NotEmpty(t, again)
		})
	}
}

// TestConfine_ReadsNothingWhereEverySelectorConflicts also says of what the answer
// is known without a tier.
func TestConfine_ReadsNothingWhereEverySelectorConflicts(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for query, expected := range map[string]bool{
		`up{namespace="bank"}`: true, `up{namespace=~"b.*"}`: true, `up{namespace=""}`: true, `up{namespace!~"shop"}`: true,
		`up{namespace="shop",namespace="bank"}`:                                      true,
		`last_over_time({namespace="bank"}[1h])`:                                     true,
		`sum by (job) (rate(x{namespace="bank"}[5m])) / on (job) -(y{namespace=""})`: true,
		`max_over_time(rate(x{namespace="bank"}[5m])[1h:])`:                          true,
		`x{namespace="bank"} > bool 1 or y{namespace="bank"}`:                        true,
		`2 * x{namespace="bank"}`:                                                    true,

		`up`: false, `vector(1)`: false, `up{namespace="shop"}`: false, `up{namespace=~"shop|bank"}`: false,
		`up and x{namespace="bank"}`:                              false, // up may fail, or carry warnings
		`absent(x{namespace="bank"})`:                             false,
		`absent_over_time(x{namespace="bank"}[5m])`:               false,
		`sum(x{namespace="bank"}) or vector(0)`:                   false,
		`vector(0) or sum(x{namespace="bank"})`:                   false,
		`-(vector(0) or x{namespace="bank"})`:                     false,
		`abs(vector(0) unless x{namespace="bank"})`:               false,
		`sum(vector(0) unless x{namespace="bank"})`:               false,
		`vector(scalar(x{namespace="bank"}))`:                     false,
		`x{namespace="bank"} + fill (0) y{namespace="bank"}`:      false,
		`x{namespace="bank"} + fill_left (0) y{namespace="bank"}`: false,
		`x{namespace="bank"} + fill_right(0) y{namespace="bank"}`: false,
		`label_replace(x{namespace="bank"}, "a", "$1", "b", "(")`: false, // an error
		`histogram_quantile(2, x{namespace="bank"})`:              false, // a warning
		`topk(5, x{namespace="bank"})`:                            false,
		`x{namespace="bank"}[5m]`:                                 false, // no vector
		`scalar(x{namespace="bank"})`:                             false,
	} {
		t.Run(query, func(t *testing.T) {
			_, isEmpty, err := shop.query(query)
			require.NoError(t, err, query)
			require.Equal(t, expected, isEmpty, query)
		})
	}
}

func TestQuery_SeveralValuesAndOtherLabels(t *testing.T) {
	both := rule(t, ConflictEmpty, "shop", "a.b|c", "shop")
	got, err := queryText(both, `up / down{namespace="a.b|c"}`)
	require.NoError(t, err)
	require.Equal(t, `up{namespace=~"a\\.b\\|c|shop"} / down{namespace="a.b|c"}`, got)
	require.Equal(t, []string{"a.b|c", "shop"}, both.values)

	team, err := New("team.name", []string{"blue"}, ConflictEmpty)
	require.NoError(t, err)
	got, err = queryText(team, `up{namespace="x"}`)
	require.NoError(t, err)
	require.Equal(t, `up{"team.name"=~"blue",namespace="x"}`, got)

	one, err := both.Narrowed("shop")
	require.NoError(t, err)
	require.Equal(t, rule(t, ConflictEmpty, "shop").String(), one.String())
	_, err = both.Narrowed("bank")
	require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status)
}

func TestQuery_RefusesConflictsWhereTheRuleSaysSo(t *testing.T) {
	shop := rule(t, ConflictError, "shop", "till")
	for _, query := range []string{
		`up{namespace="bank"}`, `up{namespace=~"b.*"}`, `up{namespace!~"shop|till"}`, `sum(up) + down{namespace=""}`,
		`up{namespace="shop",namespace="till"}`, `absent(up{namespace="bank"})`,
	} {
		t.Run(query, func(t *testing.T) {
			_, err := queryText(shop, query)
			require.Error(t, err, query)
			require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status, query)
			require.Contains(t, err.Error(), `it can read namespace "shop", "till" only`)
		})
	}
	for _, query := range []string{`up{namespace="till"}`, `up{namespace=~".*"}`, `up{namespace!="shop"}`, `up`} {
		t.Run(query, func(t *testing.T) {
			_, err := queryText(shop, query)
			require.NoError(t, err, query)
		})
	}
}

func TestQuery_RefusesWhatCannotBeConfined(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for query, message := range map[string]string{
		``:                               `no expression found`,
		`up{`:                            `1:4: parse error`,
		`sum(up`:                         `parse error`,
		`info(up)`:                       `info() reads series`,
		`sum(info(up, {k8s_x=~".+"}))`:   `info() reads series`,
		`{}`:                             `at least one non-empty matcher`,
		`up{namespace="shop"} default 0`: `parse error`, // MetricsQL
		`WITH (x = up) x`:                `parse error`,
		`keep_last_value(up)`:            `unknown function`,
		"up\x00":                         `parse error`,
		`größe`:                          `parse error`, // unquoted beyond ASCII
	} {
		t.Run(query, func(t *testing.T) {
			_, err := queryText(shop, query)
			require.Error(t, err, query)
			require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status, query)
			require.Contains(t, err.Error(), message, query)
			require.Contains(t, err.Error(), `cannot be confined to namespace "shop"`)
		})
	}
}

func TestSelector_IsConfinedAsInAQuery(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for text, expected := range map[string]string{
		`up`:                 `up{namespace=~"shop"}`,
		`{job="a"}`:          `{namespace=~"shop",job="a"}`,
		`{namespace="bank"}`: `{namespace=~"shop",namespace="bank"}`,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := selectorText(shop, text)
			require.NoError(t, err, text)
			require.Equal(t, expected, got)
		})
	}
	for _, text := range []string{`up offset 5m`, `up[5m]`, `up or down`, ``, `sum(up)`, `{}`, `up}`, `vector(1)`} {
		t.Run(text, func(t *testing.T) {
			_, err := selectorText(shop, text)
			require.Error(t, err, text)
			require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status)
		})
	}
}

func TestNew_RefusesRulesThatMakeNoSense(t *testing.T) {
	for _, wrong := range []struct {
		label      string
		values     []string
		onConflict OnConflict
	}{
		{"__name__", []string{"a"}, ConflictEmpty}, {"", []string{"a"}, ConflictEmpty}, {"a\xff", []string{"a"}, ConflictEmpty},
		{"a", nil, ConflictEmpty}, {"a", []string{""}, ConflictEmpty}, {"a", []string{"b", ""}, ConflictEmpty}, {"a", []string{"\xff"}, ConflictEmpty},
		{"a", []string{"a"}, "maybe"},
	} {
		_, err := New(wrong.label, wrong.values, wrong.onConflict)
		require.Error(t, err, "%+v", wrong)
	}
	_, err := New("", nil, "")
	require.ErrorContains(t, err, "not a label name")
	require.ErrorContains(t, err, "at least one value")
	require.ErrorContains(t, err, "neither empty nor error")
}

// BenchmarkQuery is what each confined request costs: nothing is remembered.
func BenchmarkQuery(b *testing.B) {
	shop := rule(b, ConflictEmpty, "shop")
	const query = `histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket{job=~"a|b"}[5m]))) / on (job) group_left sum(up)`
	b.ReportAllocs()
	for b.Loop() {
		_, _ = queryText(shop, query)
	}
}
