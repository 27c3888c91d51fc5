// Package randompromql makes up PromQL for tests: the same for the same seed.
package randompromql

import (
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// longest is the length of the longest text that is made up.
const longest = 1500

// Generator makes up expressions over some series. It is not safe for
// concurrent use.
//
// The constructs of the language are chosen by promqlsmith. It keeps labels in
// maps and goes through them in whatever order comes, so that a seed repeats
// nothing; hence it is shown the names of the metrics only, and every label is
// added here.
type Generator struct {
	random     *rand.Rand
	smith      *promqlsmith.PromQLSmith
	parser     parser.Parser
	series     map[string][]labels.Labels // by metric name
	labelNames []string
	values     []string // of all labels
}

// New returns a generator over the given series, in whatever order, that takes everything random
// from the source. The language is what the options of the parser accept, and
// the options of promqlsmith choose from it.
func New(random *rand.Rand, series []labels.Labels, language parser.Options, options ...promqlsmith.Option) *Generator {
	g := &Generator{random: random, parser: parser.NewParser(language), series: map[string][]labels.Labels{}}
	var names []labels.Labels
	for _, each := range slices.SortedFunc(slices.Values(series), labels.Compare) {
		name := each.Get(model.MetricNameLabel)
		if len(g.series[name]) == 0 {
			names = append(names, labels.FromStrings(model.MetricNameLabel, name))
		}
		g.series[name] = append(g.series[name], each)
		each.Range(func(label labels.Label) {
			if label.Name == model.MetricNameLabel {
				return
			}
			if !slices.Contains(g.labelNames, label.Name) {
				g.labelNames = append(g.labelNames, label.Name)
			}
			if !slices.Contains(g.values, label.Value) {
				g.values = append(g.values, label.Value)
			}
		})
	}
	g.smith = promqlsmith.New(random, names, append([]promqlsmith.Option{
		promqlsmith.WithMaxDepth(4),
		promqlsmith.WithAtModifierMaxTimestamp(time.Hour.Milliseconds()), // Its own choice is now, whenever that is.
	}, options...)...)
	return g
}

// Functions are those that are not experimental, without the ones for which
// the answer is still argued about: a WithEnabledFunctions for New.
func Functions() promqlsmith.Option {
	var functions []*parser.Function
	for name, function := range parser.Functions {
		// holt_winters is an invention of promqlsmith.
		if !function.Experimental && name != "holt_winters" && name != "info" {
			functions = append(functions, function)
		}
	}
	slices.SortFunc(functions, func(a, b *parser.Function) int { return strings.Compare(a.Name, b.Name) })
	return promqlsmith.WithEnabledFunctions(functions)
}

// Expression returns a valid expression of its own, which the caller may change.
// instant allows what only an instant query may ask for.
func (g *Generator) Expression(instant bool) parser.Expr {
	walk := g.smith.WalkRangeQuery
	if instant {
		walk = g.smith.WalkInstantQuery
	}
	for {
		made := walk()
		if made == nil {
			continue
		}
		root, err := g.parser.ParseExpr(made.String())
		if err != nil {
			continue // It knows another version of the language.
		}
		g.dress(root)
		if text := root.String(); len(text) <= longest {
			if again, err := g.parser.ParseExpr(text); err == nil {
				return again
			}
		}
	}
}

// dress adds labels to a tree that names metrics only.
func (g *Generator) dress(root parser.Expr) {
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node != nil {
				node.LabelMatchers = append(g.matchers(node.LabelMatchers), node.LabelMatchers...)
			}
		case *parser.AggregateExpr:
			node.Grouping = g.someNames(4)
		case *parser.BinaryExpr:
			g.match(node)
		case *parser.Call:
			g.name(node)
		}
		return nil
	})
}

// matchers are some that fit a series of the metric, and some that do not.
func (g *Generator) matchers(named []*labels.Matcher) []*labels.Matcher {
	name := slices.IndexFunc(named, func(matcher *labels.Matcher) bool { return matcher.Name == model.MetricNameLabel })
	if name < 0 || len(g.series[named[name].Value]) == 0 {
		return nil
	}
	series := g.series[named[name].Value]
	var own []labels.Label
	series[g.random.Intn(len(series))].Range(func(label labels.Label) {
		if label.Name != model.MetricNameLabel {
			own = append(own, label)
		}
	})
	g.random.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
	var list []*labels.Matcher
	for _, label := range own[:g.random.Intn(len(own)/2+2)%(len(own)+1)] {
		value := label.Value
		switch g.random.Intn(12) {
		case 0:
			value = ""
		case 1:
			value = g.values[g.random.Intn(len(g.values))]
		}
		kind := []labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}[g.random.Intn(4)]
		if kind == labels.MatchRegexp || kind == labels.MatchNotRegexp {
			value = []string{
				".*", ".+", regexp.QuoteMeta(value), regexp.QuoteMeta(value[:len(value)/2]) + ".*", ".*" + regexp.QuoteMeta(value[len(value)/2:]), regexp.QuoteMeta(value) + "|other",
			}[g.random.Intn(6)]
		}
		list = append(list, labels.MustNewMatcher(kind, label.Name, value))
	}
	return list
}

// someNames are names of labels, in any order, fewer than most.
func (g *Generator) someNames(most int) []string {
	var list []string
	for _, i := range g.random.Perm(len(g.labelNames))[:g.random.Intn(min(most, len(g.labelNames)+1))] {
		list = append(list, g.labelNames[i])
	}
	return list
}

// match says which labels two sides have to have in common.
func (g *Generator) match(node *parser.BinaryExpr) {
	if node.LHS.Type() != parser.ValueTypeVector || node.RHS.Type() != parser.ValueTypeVector || g.random.Intn(2) == 0 {
		return
	}
	matching := &parser.VectorMatching{Card: parser.CardManyToMany, On: g.random.Intn(2) == 0, MatchingLabels: g.someNames(4)}
	if !node.Op.IsSetOperator() {
		matching.Card = []parser.VectorMatchCardinality{parser.CardOneToOne, parser.CardManyToOne, parser.CardOneToMany}[g.random.Intn(3)]
		if matching.Card != parser.CardOneToOne {
			for _, name := range g.someNames(3) {
				if !matching.On || !slices.Contains(matching.MatchingLabels, name) {
					matching.Include = append(matching.Include, name)
				}
			}
		}
	}
	node.VectorMatching = matching
}

// name lets a function read labels that are there.
func (g *Generator) name(call *parser.Call) {
	if len(g.labelNames) == 0 {
		return
	}
	random := func() parser.Expr { return &parser.StringLiteral{Val: g.labelNames[g.random.Intn(len(g.labelNames))]} }
	switch call.Func.Name {
	case "label_replace":
		if len(call.Args) == 5 {
			call.Args[3] = random()
		}
	case "label_join":
		if len(call.Args) >= 3 {
			call.Args = append(call.Args[:3:3], random(), random())
		}
	case "sort_by_label", "sort_by_label_desc":
		call.Args = append(call.Args[:1:1], random())
	}
}
