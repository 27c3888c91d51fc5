//go:build e2e

package oracle

import (
	"fmt"
	"math/rand"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/randompromql"
)

// generator makes up questions around the times where the routing rules turn.
type generator struct {
	random      *rand.Rand
	expressions *randompromql.Generator
	now         time.Time
	// edges are the times that matter: where hot begins, where cold ends, now.
	edges []time.Time
	// pinned are matchers that some selectors get, such as hot's external
	// labels; foreign are others, which hot cannot satisfy.
	pinned, foreign []*labels.Matcher
	names           []string
}

func newGenerator(seed int64, now time.Time, edges []time.Time, series []labels.Labels) *generator {
	random := rand.New(rand.NewSource(seed))
	g := &generator{random: random, now: now, edges: edges, expressions: randompromql.New(random, series, parser.Options{},
		promqlsmith.WithEnableVectorMatching(true), randompromql.Functions())}
	for _, each := range series {
		if name := each.Get(model.MetricNameLabel); !slices.Contains(g.names, name) {
			g.names = append(g.names, name)
		}
	}
	slices.Sort(g.names)
	return g
}

// typical are queries of dashboards, with %s for a metric of the shop.
var typical = []string{
	`sum by (job) (rate(http_requests_total%s[5m]))`,
	`histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket%s[10m])))`,
	`max_over_time(node_load1%s[1h:])`, `avg_over_time(sum(node_load1%s)[30m:])`, `node_memory_MemAvailable_bytes%s`,
	`topk(3, process_resident_memory_bytes%s)`, `sum(up%s)`, `up%s == 0`, `absent(up%s)`, `absent(nonexistent%s)`,
	`sum without (instance) (node_cpu_seconds_total%s)`, `rate(http_request_duration_seconds_sum%s[5m]) / rate(http_request_duration_seconds_count%s[5m])`,
	`count_over_time(node_load1%s[2h])`, `node_load1%s offset 1h`, `node_load1%s offset -10m`, `delta(node_load1%s[30m] offset 30m)`,
	`count by (cluster) (node_load1%s)`, `node_load1%s * on (instance) group_left () up%s`, `label_replace(node_load1%s, "node", "$1", "instance", "(.*):.*")`,
	`{__name__=~"node_load.|node_cpu.*"%s}`, `sum(user_http_requests_total%s)`, `timestamp(node_load1%s)`, `node_load1%s or vector(0)`,
	`sum by (mode, cluster) (irate(node_cpu_seconds_total%s[2m]))`, `quantile(0.5, node_load1%s)`, `predict_linear(node_load1%s[1h], 3600)`,
	`histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes%s[5m])))`, `histogram_count(http_response_size_bytes%s)`, `increase(http_response_size_bytes%s[10m])`,
}

// expression is one of a dashboard or one that nobody would think of.
func (g *generator) expression() parser.Expr {
	for g.random.Intn(3) == 0 {
		if root, err := parser.NewParser(parser.Options{}).ParseExpr(g.typical()); err == nil {
			return root
		}
	}
	return g.expressions.Expression(false)
}

func (g *generator) typical() string {
	template := typical[g.random.Intn(len(typical))]
	matchers := ""
	switch g.random.Intn(6) {
	case 0, 1:
		var list []string
		for _, matcher := range g.pinned {
			list = append(list, matcher.String())
		}
		matchers = strings.Join(list, ",")
	case 2:
		if len(g.foreign) > 0 {
			matchers = g.foreign[g.random.Intn(len(g.foreign))].String()
		}
	}
	inBraces := strings.Contains(template, `"%s}`)
	switch {
	case matchers == "":
	case inBraces:
		matchers = "," + matchers
	default:
		matchers = "{" + matchers + "}"
	}
	return strings.ReplaceAll(template, "%s", matchers)
}

// next makes up a question.
func (g *generator) next() question {
	if g.random.Intn(12) == 0 {
		return g.metadata()
	}
	end := g.time()
	root := g.expression()
	g.disturb(root, end)
	return g.question(root.String(), end)
}

func (g *generator) question(query string, end time.Time) question {
	if g.random.Intn(5) < 2 {
		return question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(end)}}, origin: "random"}
	}
	var span time.Duration
	switch g.random.Intn(6) {
	case 0:
		span = threshold + []time.Duration{-time.Millisecond, 0, time.Millisecond, time.Second}[g.random.Intn(4)]
	case 1:
		span = g.upTo(8 * hour)
	default:
		span = g.upTo(hour)
	}
	step := max(time.Second, span/time.Duration(2+g.random.Intn(80)), g.upTo(90*time.Second)).Truncate(time.Millisecond)
	return question{endpoint: "query_range", origin: "random", values: url.Values{
		"query": {query}, "start": {seconds(end.Add(-span))}, "end": {seconds(end)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
	}}
}

// metadata asks for series, labels or values.
func (g *generator) metadata() question {
	end := g.time()
	values := url.Values{"end": {seconds(end)}, "start": {seconds(end.Add(-g.upTo(3 * hour)))}}
	endpoint := []string{"series", "labels", "label/job/values", "label/instance/values", "label/__name__/values"}[g.random.Intn(5)]
	if endpoint == "series" || g.random.Intn(2) == 0 {
		name := g.names[g.random.Intn(len(g.names))]
		var pins []string
		if g.random.Intn(3) == 0 {
			for _, matcher := range g.pinned {
				pins = append(pins, matcher.String())
			}
		}
		values.Set("match[]", fmt.Sprintf("%s{%s}", name, strings.Join(pins, ",")))
	}
	return question{endpoint: endpoint, values: values, origin: "random"}
}

// time returns one around an edge, at any phase, not after now.
func (g *generator) time() time.Time {
	edge := g.edges[g.random.Intn(len(g.edges))]
	distance := time.Duration(g.random.NormFloat64() * float64(90*minute))
	if g.random.Intn(4) == 0 {
		distance = []time.Duration{-time.Millisecond, 0, time.Millisecond, 5 * minute, 5*minute - time.Millisecond, scrapeInterval, 2 * scrapeInterval}[g.random.Intn(7)]
	}
	at := edge.Add(distance)
	if at.After(g.now) {
		at = g.now.Add(-g.upTo(10 * minute))
	}
	return at.Truncate(time.Millisecond)
}

func (g *generator) upTo(most time.Duration) time.Duration {
	return time.Duration(g.random.Int63n(int64(most))).Truncate(time.Millisecond)
}

// disturb changes ranges, offsets and times of an expression.
func (g *generator) disturb(root parser.Expr, end time.Time) {
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node == nil {
				return nil
			}
			switch g.random.Intn(14) {
			case 0:
				node.OriginalOffset = g.offset(end)
			case 1:
				at := g.time().UnixMilli()
				node.Timestamp = &at
			case 2:
				node.StartOrEnd = []parser.ItemType{parser.START, parser.END}[g.random.Intn(2)]
			case 3:
				if len(g.pinned) > 0 {
					node.LabelMatchers = append(node.LabelMatchers, g.pinned...)
				}
			case 4:
				if len(g.foreign) > 0 && g.random.Intn(3) == 0 {
					node.LabelMatchers = append(node.LabelMatchers, g.foreign[g.random.Intn(len(g.foreign))])
				}
			}
		case *parser.MatrixSelector:
			if g.random.Intn(2) == 0 {
				node.Range = max(time.Second, g.upTo(20*minute))
			}
		case *parser.SubqueryExpr:
			node.Range = max(time.Second, g.upTo(40*minute))
			node.Step = []time.Duration{0, 0, minute, 37 * time.Second}[g.random.Intn(4)]
			if g.random.Intn(6) == 0 {
				node.OriginalOffset = g.offset(end)
			}
		}
		return nil
	})
}

// offset leads somewhere near the end, ahead or back, or near an edge.
func (g *generator) offset(end time.Time) time.Duration {
	if g.random.Intn(2) == 0 {
		return end.Sub(g.time()).Truncate(time.Millisecond)
	}
	offset := g.upTo(40*minute) - 10*minute
	if end.Add(-offset).After(g.now) {
		return -offset
	}
	return offset
}

// seconds writes a time as the API reads it.
var seconds = promapi.FormatTime
