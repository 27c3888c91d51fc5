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

func TestEverySelectorIsConfined(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for query, expected := range map[string]string{
		`up`:                      `up{namespace=~"shop"}`,
		`up{}`:                    `up{namespace=~"shop",}`,
		`up {job="a"} offset 5m`:  `up {namespace=~"shop",job="a"} offset 5m`,
		`{__name__="up"}`:         `{namespace=~"shop",__name__="up"}`,
		`{"up", job="a"}`:         `{namespace=~"shop","up", job="a"}`,
		`{__name__=~".+"}`:        `{namespace=~"shop",__name__=~".+"}`,
		`sum`:                     `sum{namespace=~"shop"}`,
		`sum(up) by (job)`:        `sum(up{namespace=~"shop"}) by (job)`,
		`rate(a:b:c[5m] @ end())`: `rate(a:b:c{namespace=~"shop"}[5m] @ end())`,
		`max_over_time(rate(x[5m])[1h:30s] offset 1d)`:   `max_over_time(rate(x{namespace=~"shop"}[5m])[1h:30s] offset 1d)`,
		`topk(scalar(limit), up)`:                        `topk(scalar(limit{namespace=~"shop"}), up{namespace=~"shop"})`,
		`a * on (job) group_left (b) c unless d`:         `a{namespace=~"shop"} * on (job) group_left (b) c{namespace=~"shop"} unless d{namespace=~"shop"}`,
		`label_replace(up, "namespace", "shop", "", "")`: `label_replace(up{namespace=~"shop"}, "namespace", "shop", "", "")`,
		`absent(up{job="a"})`:                            `absent(up{namespace=~"shop",job="a"})`,
		"up # a comment with {braces\n + down":           "up{namespace=~\"shop\"} # a comment with {braces\n + down{namespace=~\"shop\"}",
		"up\n# {job=\"a\"}\n{job=\"b\"}":                 "up\n# {job=\"a\"}\n{namespace=~\"shop\",job=\"b\"}",
		`up == bool 1e3 > 0x1F`:                          `up{namespace=~"shop"} == bool 1e3 > 0x1F`,
		`vector(1) + time()`:                             `vector(1) + time()`,
		`"up"`:                                           `"up"`,
		`up{job="\"}"}`:                                  `up{namespace=~"shop",job="\"}"}`,
		`up{job=~'a{2}'}`:                                `up{namespace=~"shop",job=~'a{2}'}`,
		`x[5m:1m]`:                                       `x{namespace=~"shop"}[5m:1m]`,
		`-x ^ 2`:                                         `-x{namespace=~"shop"} ^ 2`,

		// Whoever names an allowed value needs no other matcher.
		`up{namespace="shop"}`:                 `up{namespace="shop"}`,
		`up{namespace="shop",namespace!="x"}`:  `up{namespace="shop",namespace!="x"}`,
		`absent(up{"namespace"="shop"})`:       `absent(up{"namespace"="shop"})`,
		`up{namespace=~"shop"}`:                `up{namespace=~"shop",namespace=~"shop"}`,
		`up{namespace=~"shop|bank"}`:           `up{namespace=~"shop",namespace=~"shop|bank"}`,
		`up{namespace!="bank"}`:                `up{namespace=~"shop",namespace!="bank"}`,
		`up{namespace=~".*"} or up`:            `up{namespace=~"shop",namespace=~".*"} or up{namespace=~"shop"}`,
		`up{namespace=~"shop|",namespace!=""}`: `up{namespace=~"shop",namespace=~"shop|",namespace!=""}`,
		// A conflict matches nothing, and absent() still sees it.
		`up{namespace="bank"}`:                  `{__name__="up",__name__!~".*",namespace="bank"}`,
		`up{job="a", namespace="bank",}`:        `{__name__="up",__name__!~".*",job="a", namespace="bank",}`,
		`{namespace="bank"}`:                    `{__name__!~".*",namespace="bank"}`,
		`absent(up{namespace="bank"})`:          `absent({__name__="up",__name__!~".*",namespace="bank"})`,
		`up{namespace=""}`:                      `{__name__="up",__name__!~".*",namespace=""}`,
		`up{namespace!~"shop"}`:                 `up{namespace=~"shop",namespace!~"shop"}`,
		`up{namespace="shop",namespace="bank"}`: `up{namespace="shop",namespace="bank"}`,
	} {
		got, err := shop.Query(query)
		require.NoError(t, err, query)
		require.Equal(t, expected, got, query)
		again, err := shop.Query(got)
		require.NoError(t, err, got)
		require.NotEmpty(t, again)
	}
}

func TestSeveralValuesAndOtherLabels(t *testing.T) {
	both := rule(t, ConflictEmpty, "shop", "a.b|c", "shop")
	got, err := both.Query(`up / down{namespace="a.b|c"}`)
	require.NoError(t, err)
	require.Equal(t, `up{namespace=~"a\\.b\\|c|shop"} / down{namespace="a.b|c"}`, got)
	require.Equal(t, []string{"a.b|c", "shop"}, both.Values())

	team, err := New("team.name", []string{"blue"}, ConflictEmpty)
	require.NoError(t, err)
	got, err = team.Query(`up{namespace="x"}`)
	require.NoError(t, err)
	require.Equal(t, `up{"team.name"=~"blue",namespace="x"}`, got)
	require.NotEqual(t, both.Key(), team.Key())

	one, err := both.Narrowed("shop")
	require.NoError(t, err)
	require.Equal(t, rule(t, ConflictEmpty, "shop").Key(), one.Key())
	_, err = both.Narrowed("bank")
	require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status)
}

func TestAConflictIsAnErrorWhereTheRuleSaysSo(t *testing.T) {
	shop := rule(t, ConflictError, "shop", "till")
	for _, query := range []string{
		`up{namespace="bank"}`, `up{namespace=~"b.*"}`, `up{namespace!~"shop|till"}`, `sum(up) + down{namespace=""}`,
		`up{namespace="shop",namespace="till"}`, `absent(up{namespace="bank"})`,
	} {
		_, err := shop.Query(query)
		require.Error(t, err, query)
		require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status, query)
		require.Contains(t, err.Error(), `only namespace "shop", "till" may`)
	}
	for _, query := range []string{`up{namespace="till"}`, `up{namespace=~".*"}`, `up{namespace!="shop"}`, `up`} {
		_, err := shop.Query(query)
		require.NoError(t, err, query)
	}
}

func TestWhatCannotBeConfinedIsRefused(t *testing.T) {
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
		_, err := shop.Query(query)
		require.Error(t, err, query)
		require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status, query)
		require.Contains(t, err.Error(), message, query)
		require.Contains(t, err.Error(), `cannot be confined to namespace "shop"`)
	}
}

func TestSelectors(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for text, expected := range map[string]string{
		`up`:                 `up{namespace=~"shop"}`,
		`{job="a"}`:          `{namespace=~"shop",job="a"}`,
		`{namespace="bank"}`: `{__name__!~".*",namespace="bank"}`,
	} {
		got, err := shop.Selector(text)
		require.NoError(t, err, text)
		require.Equal(t, expected, got)
	}
	for _, text := range []string{`up offset 5m`, `up[5m]`, `up or down`, ``, `sum(up)`, `{}`, `up}`, `vector(1)`} {
		_, err := shop.Selector(text)
		require.Error(t, err, text)
		require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status)
	}
}

func TestRulesThatMakeNoSense(t *testing.T) {
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
	require.ErrorContains(t, err, "not the name of a label")
	require.ErrorContains(t, err, "at least one value")
	require.ErrorContains(t, err, "neither empty nor error")
}

// FuzzQuery looks for a text that is taken for confined and is not.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`up`, `sum by (x) (rate(up{a="b"}[5m:1m] offset -1h @ start()))`, `{"a.b", c=~"d"} or absent(x{namespace="bank"})`,
		"a#{\n{b='c'} / `d`", `topk(5, x) and on () y`, `{namespace="shop"} == up`,
	} {
		f.Add(seed)
	}
	shop := rule(f, ConflictEmpty, "shop")
	f.Fuzz(func(t *testing.T, query string) {
		confined, err := shop.Query(query)
		if err != nil {
			return
		}
		root, err := promqlParser.ParseExpr(confined)
		require.NoError(t, err, "%q", confined)
		selectors, err := selectorsOf(root)
		require.NoError(t, err)
		for _, selector := range selectors {
			require.True(t, shop.holds(selector.LabelMatchers), "%q → %q", query, confined)
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	shop := rule(b, ConflictEmpty, "shop")
	const query = `histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket{job=~"a|b"}[5m]))) / on (job) group_left sum(up)`
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			_, _ = shop.Query(query)
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			_, _ = shop.query(query)
		}
	})
}
