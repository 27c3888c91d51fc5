package enforcement

import (
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// confinedQueries is how many generated queries are confined; the environment
// variable CONFINED_QUERIES sets another number.
const confinedQueries = 20_000

// escape returns why a confined text lets one of the engines read a series
// outside of the namespaces, or an empty text.
func escape(text, label string, values ...string) string {
	root, err := strictParser.ParseExpr(text)
	if err != nil {
		return "PromQL: " + err.Error()
	}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && selector != nil {
			isHeld := slices.ContainsFunc(selector.LabelMatchers, func(matcher *labels.Matcher) bool {
				return isConfining(matcher.Name, matcher.Value, matcher.Type == labels.MatchNotEqual || matcher.Type == labels.MatchNotRegexp, label, values)
			})
			if !isHeld {
				err = fmt.Errorf("PromQL: %s", selector)
			}
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	// A text that MetricsQL refuses reads nothing.
	expression, err := metricsql.Parse(text)
	if err != nil {
		return ""
	}
	// The server optimizes what it has parsed.
	why := ""
	for _, each := range []metricsql.Expr{expression, metricsql.Optimize(expression)} {
		metricsql.VisitAll(each, func(node metricsql.Expr) {
			metric, ok := node.(*metricsql.MetricExpr)
			if !ok {
				return
			}
			if len(metric.LabelFilterss) == 0 {
				why = "MetricsQL: a selector without filters"
			}
			for _, alternative := range metric.LabelFilterss {
				if !slices.ContainsFunc(alternative, func(filter metricsql.LabelFilter) bool {
					return isConfining(filter.Label, filter.Value, filter.IsNegative, label, values)
				}) {
					why = "MetricsQL: " + string(metric.AppendString(nil))
				}
			}
		})
	}
	return why
}

// isConfining reports whether a matcher fits nothing but some of the values: one
// of them, or the regular expression of them, all of which are plain words here.
func isConfining(name, value string, isNegative bool, label string, values []string) bool {
	if name != label || isNegative || value == "" {
		return false
	}
	for each := range strings.SplitSeq(value, "|") {
		if !slices.Contains(values, each) {
			return false
		}
	}
	return true
}

// hostile are pieces that lexers may read differently.
var hostile = []string{
	"#", "#\r", "#\n", "#\r\n", "# x\r", "#{\r", "#}\r", "#\u2028", "#\u2029", "#\u0085", "#\v", "#\f", "#\x00", "\r", "\n", "\t", "\v", "\f", "\x00", "\ufeff", "\u2028", "\u00a0",
	"`", "`\r`", "`{`", "`}`", "`\"`", "`a\\`", "\"", "'", `\`, `"\""`, `'\''`, `"\\"`, `'"'`, `"'"`, `"\x22"`, `"\u0022"`, `"\042"`, `"\x00"`, `"\ufffd"`, `"\xff"`, "\xff", `"#"`, "\"\ufffd\"", `"\U0001F600"`,
	`{`, `}`, `{}`, `(`, `)`, `[`, `]`, `[5m]`, `[5m:]`, `[1i]`, `:`, `,`, `;`, `@`, `$__interval`, `"ru"`, `ru`, `ttf`, `alias`, `with`, `WITH (x = up) `, ` default `, ` if `, ` ifnot `, ` limit 1`, ` keep_metric_names`,
	` or `, `or`, `OR`, `"or"`, `or="x"`, `,or="x"`, ` prefix "x"`, `\or`, `\u006f`, `offset`, ` offset 5m`, ` offset -1i`, `5m`, `-5m`, `5m-3m`, `0x1_f`, `0x1F`, `0755`, `1_000`, `1e3`, `1Ki`, `.5`, `5.`, `Inf`, `nan`,
	`namespace`, `namespace="shop"`, `namespace=""`, `namespace="bank"`, `namespace=~"shop|bank"`, `"namespace"="shop"`, `"name\space"="shop"`, `__name__`, `__name__=~".*"`, `__name__!~".*"`, `__graphite__="bank.*"`, `vm_account_id="1"`,
	`+`, `-`, `*`, `/`, `%`, `^`, `==`, `!=`, `=~`, `!~`, `=`, `>`, `</`, `>/`, ` bool `, ` and `, ` unless `, ` on() `, ` group_left() `, ` fill(0) `, ` by (a) `, ` without (a) `, `sum`, `rate(`, `absent(`, `median(`, `any(`, `union(`, `label_set(`,
	`größe`, `"größe"`, `a.b`, `a\-b`, `a:b`, `:`, ` smoothed `, ` anchored `, ` start() `, ` end() `,
}

// skeletons are queries with places for pieces, marked by a percent sign.
var skeletons = []string{
	`balance%{}`, `balance%{%}`, `%balance%`, `{%"balance"%,%job=%"x"%}`, `{balance="x"%,%job='x'}`, `sum%by%(job%)%(%rate%(%balance%{job=~%"a"%}%[%5m%]%)%)`,
	`balance{a=%"%"%}%/%on(job)%group_left%other{b!='%'}`, "balance{a=`%`%}", `absent(%balance{namespace="bank"}%)%`, `balance%offset%5m%`, `balance%[%5m%:%1m%]%`,
	`%topk%(%5,%balance%)%>%bool%1%`, `count_values(%"%"%,%balance%)`, `label_replace(balance%,"%","%","%",'%')`, `-%balance%^%2%or%other%`, `balance%@%end()%`,
	`last_over_time({namespace="bank"}%[1h])`, `{"a%"="%"%}`, `sum by ("%") (balance%)`,
}

// hostileQueries makes up queries: skeletons with pieces put in, random ones with
// pieces at random places, and mere rows of pieces.
func hostileQueries(source *rand.Rand, random func() string) func() string {
	pieces := func(most int) string {
		var made strings.Builder
		for range source.Intn(most + 1) {
			made.WriteString(hostile[source.Intn(len(hostile))])
		}
		return made.String()
	}
	var recent []string // making a random query takes longer than confining it
	return func() string {
		switch source.Intn(8) {
		case 0:
			return pieces(8)
		case 1, 2:
			if len(recent) < 200 {
				recent = append(recent, random())
			}
			text := recent[source.Intn(len(recent))]
			for range 1 + source.Intn(3) {
				at := source.Intn(len(text) + 1)
				if source.Intn(2) == 0 {
					// Most places that tokens are separated at do not break the query.
					if space := strings.IndexAny(text[at:], " ,({"); space >= 0 {
						at += space + 1
					}
				}
				text = text[:at] + pieces(1) + text[at:]
			}
			return text
		}
		var made strings.Builder
		for _, character := range skeletons[source.Intn(len(skeletons))] {
			if character != '%' {
				made.WriteRune(character)
				continue
			}
			made.WriteString([]string{"", " "}[source.Intn(2)])
			if source.Intn(3) == 0 {
				made.WriteString(pieces(1 + source.Intn(2)))
			}
		}
		return made.String()
	}
}

// TestConfine_GeneratedQueriesReadTheSameInMetricsQL confines 20,000 hostile
// queries, and as many as CONFINED_QUERIES says: no engine may read a selector
// without the namespaces.
func TestConfine_GeneratedQueriesReadTheSameInMetricsQL(t *testing.T) {
	wanted := confinedQueries
	if text := os.Getenv("CONFINED_QUERIES"); text != "" {
		var err error
		wanted, err = strconv.Atoi(text)
		require.NoError(t, err, "CONFINED_QUERIES")
	}
	series := []labels.Labels{labels.FromStrings("__name__", "balance", "job", "one", "namespace", "shop"), labels.FromStrings("__name__", "other", "job", "two")}
	one, two := rule(t, ConflictEmpty, "shop"), rule(t, ConflictEmpty, "shop", "till")
	next := hostileQueries(rand.New(rand.NewSource(13)), random(t, 13, series))
	accepted, inMetricsQL, escaped := 0, 0, 0
	for i := range wanted {
		query := next()
		confining := one
		if i%2 == 0 {
			confining = two
		}
		confined, err := queryText(confining, query)
		if err != nil {
			continue
		}
		accepted++
		if _, err := metricsql.Parse(confined); err == nil {
			inMetricsQL++
		}
		if why := escape(confined, "namespace", confining.values...); why != "" {
			if escaped++; escaped < 10 {
				t.Errorf("%q became %q: %s", query, confined, why)
			}
		}
	}
	t.Logf("%d queries: %d confined, %d of them accepted by MetricsQL, %d escaped", wanted, accepted, inMetricsQL, escaped)
	require.Zero(t, escaped)
	require.Greater(t, inMetricsQL, wanted/10, "too few of the generated queries test anything")
}

// FuzzQuery looks for a text whose confined form one of
// the engines reads without the namespace.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"account_balance#\r{}", "account_balance{#\r}\n", "a#\r+b\n", "a{b='c'}#\r or d\n", "{\"a\"#\r,b=\"c\"\n}", "rate(a#\r[5m]\n[5m])",
		"{`a`=`\\`}", `{"a\tb"="c\u2028"}`, `{a='"'}`, `{"ru"}`, `ru`, `a{or="b"}`, `{or="b",namespace="bank"}`, `1 + 0x1_f * a`, `5m-3m + a`, "a\ufeff", "a\x00", "a{b=\"\\xff\"}",
		`last_over_time({namespace="bank"}[1h])`, `{__name__="a",namespace=~"shop|bank"} offset 5m @ end()`, `default / if`, `a and on() prefix`, `sum by ("a.b") (c)`,
	} {
		f.Add(seed)
	}
	for _, piece := range hostile {
		f.Add(strings.ReplaceAll(skeletons[len(piece)%len(skeletons)], "%", piece))
	}
	shop := rule(f, ConflictEmpty, "shop")
	f.Fuzz(func(t *testing.T, query string) {
		confined, err := queryText(shop, query)
		if err != nil {
			return
		}
		require.Empty(t, escape(confined, "namespace", "shop"), "%q became %q", query, confined)
	})
}

// TestConfine_WritesNoCommentsControlCharactersOrRawStrings checks what goes out
// byte by byte.
func TestConfine_WritesNoCommentsControlCharactersOrRawStrings(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	series := []labels.Labels{labels.FromStrings("__name__", "balance", "job", "one")}
	next := hostileQueries(rand.New(rand.NewSource(17)), random(t, 17, series))
	for range 5_000 {
		query := next()
		confined, err := queryText(shop, query)
		if err != nil {
			continue
		}
		for _, character := range confined {
			require.True(t, strconv.IsPrint(character), "%q became %q", query, confined)
		}
		lexer, end := parser.Lex(confined), 0
		for token := (parser.Item{}); token.Typ != parser.EOF; {
			lexer.NextItem(&token)
			require.NotEqual(t, parser.COMMENT, token.Typ, "%q became %q", query, confined)
			if token.Typ == parser.STRING {
				require.Equal(t, byte('"'), token.Val[0], "%q became %q", query, confined)
			}
			require.Contains(t, []string{"", " "}, confined[end:min(int(token.Pos), len(confined))])
			end = int(token.Pos) + len(token.Val)
		}
		again, err := queryText(shop, confined)
		require.NoError(t, err, "%q became %q", query, confined)
		require.Empty(t, escape(again, "namespace", "shop"))
	}
}
