package promql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// MaxComparisons is how many comparisons of one expression Thresholds returns at most.
// The text of a chain such as a > 1 > 2 > 3 grows with the square of its length.
const MaxComparisons = 50

// Comparison is a comparison in the expression of an alerting rule, turned round where the
// threshold is on the left.
type Comparison struct {
	// Left is the side that is measured, and Right is the threshold. Both are PromQL. A range
	// query of Right has at each step the values that the rule compares with at that time.
	Left, Operator, Right string
	// Shown is Right as the rule has it, without what pins add.
	Shown string
	// ReadsSeries is set if Right has a selector.
	ReadsSeries bool
	// Metrics are the names of the metrics that the comparison reads, sorted.
	Metrics []string
}

// Split are the comparisons in the expression of an alerting rule.
type Split struct {
	Comparisons []Comparison
	// Reasons say what of the expression is no threshold, and why. There is at least one if
	// there is no comparison.
	Reasons []string
	// Metrics are the names of the metrics that the expression reads, sorted.
	Metrics []string
}

// Thresholds returns the comparisons that an alerting rule needs to be true before it
// fires. These are the outermost ones: on either side of "and" and "or", on the left of
// "unless", in parentheses, and below functions that only change labels. It caches them.
//
// What Prometheus' parser refuses has no comparison and a reason. Call Check before.
//
// pins are the external labels of the Prometheus that evaluates the rule, if there are series
// of others. It stores its own series without them. Right then reads its series alone.
func Thresholds(text string, pins map[string]string) Split {
	key := cacheKey{kind: thresholdsIn, text: text}
	if len(pins) > 0 {
		key.labels = FormatLabels(pins)
	}
	if known, ok := lookUp[Split](key); ok {
		return known
	}
	key.text = strings.Clone(text)
	return cached(key, func() (Split, int) {
		root, err := lenientParser.ParseExpr(key.text)
		if err != nil {
			reason := "Prometheus' parser refuses the expression: " + strings.Join(ErrorTexts(err, 1), "")
			return Split{Reasons: []string{reason}}, len(reason)
		}
		s := &splitter{pins: pins}
		s.Metrics = metricsIn(root)
		if !s.split(root) && len(s.Reasons) == 0 {
			s.reason("%s", whyNone(root))
		}
		return s.Split, s.size()
	})
}

// size is how many bytes the texts take.
func (s *Split) size() int {
	size := 0
	count := func(texts ...string) {
		for _, text := range texts {
			size += len(text) + 16
		}
	}
	for _, comparison := range s.Comparisons {
		count(comparison.Left, comparison.Right, comparison.Shown, comparison.Operator)
		count(comparison.Metrics...)
		size += 64
	}
	count(s.Reasons...)
	count(s.Metrics...)
	return size
}

// splitter takes an expression apart.
type splitter struct {
	Split

	pins map[string]string
}

func (s *splitter) reason(format string, arguments ...any) {
	if text := fmt.Sprintf(format, arguments...); !slices.Contains(s.Reasons, text) && len(s.Reasons) < MaxComparisons {
		s.Reasons = append(s.Reasons, text)
	}
}

// split adds the comparisons that have to be true before an expression has a result. It
// reports whether there are some, even if one of them cannot be written down.
func (s *splitter) split(node parser.Expr) bool {
	switch node := unwrapParens(node).(type) {
	case *parser.UnaryExpr:
		return s.split(node.Expr)
	case *parser.Call:
		return slices.Contains(labelFunctions, node.Func.Name) && s.split(node.Args[0])
	case *parser.BinaryExpr:
		switch {
		case node.Op.IsComparisonOperator():
			s.comparison(node)
			return true
		case node.Op == parser.LOR:
			return s.alternatives(node)
		case node.Op == parser.LUNLESS:
			return s.split(node.LHS)
		}
		// What is filled in has a value also where the comparison is not true.
		isLeft := !isFilled(node, true) && s.split(node.LHS)
		isRight := !isFilled(node, false) && s.split(node.RHS)
		return isLeft || isRight
	}
	return false
}

// labelFunctions return the samples of their first argument, with other labels or in
// another order.
var labelFunctions = []string{"label_replace", "label_join", "sort", "sort_desc", "sort_by_label", "sort_by_label_desc"}

// alternatives is split for "or". It adds a reason for a side that is no comparison: the
// alert fires for it whatever the other side is compared with.
func (s *splitter) alternatives(node *parser.BinaryExpr) bool {
	left, right := s.split(node.LHS), s.split(node.RHS)
	if left == right {
		return left
	}
	other := node.LHS
	if left {
		other = node.RHS
	}
	s.reason("the alert also fires for a part of the expression that is no threshold: %s", whyNone(other))
	return true
}

// comparison adds a comparison, and those in the side that is measured: a > 1 < 5 keeps the
// values of a.
func (s *splitter) comparison(node *parser.BinaryExpr) {
	left, right := unwrapParens(node.LHS), unwrapParens(node.RHS)
	operator := node.Op
	isTurned := isThreshold(left, right)
	if isTurned {
		left, right, operator = right, left, turned(operator)
	}
	inner, isComparison := left.(*parser.BinaryExpr)
	isComparison = isComparison && inner.Op.IsComparisonOperator()
	if isComparison && !isFilled(node, !isTurned) && (!inner.ReturnBool || isTrueAlone(operator, right)) {
		s.comparison(inner)
		if inner.ReturnBool {
			return // a > bool 5 == 1 means the same as a > 5.
		}
	}
	if len(s.Comparisons) == MaxComparisons {
		s.reason("the expression has more than %d comparisons: the others are left out", MaxComparisons)
		return
	}
	made := Comparison{Operator: operator.String(), Metrics: metricsIn(node), ReadsSeries: len(selectorsIn(right)) > 0}
	var err error
	if isFilled(node, isTurned) {
		err = errors.New("fill() stands for values that no query returns")
	} else if made.Left, err = textOf(left); err == nil {
		made.Right, made.Shown, err = s.standalone(right)
	}
	if err != nil {
		s.reason("the threshold %s cannot be queried alone: %s", right, err)
		return
	}
	s.Comparisons = append(s.Comparisons, made)
}

// isThreshold reports whether the left side of a comparison is its threshold: a number that
// is compared with series.
func isThreshold(left, right parser.Expr) bool {
	if isScalar, other := left.Type() == parser.ValueTypeScalar, right.Type() == parser.ValueTypeScalar; isScalar != other {
		return isScalar
	}
	return len(selectorsIn(left)) == 0 && len(selectorsIn(right)) > 0
}

// turned returns the operator of a comparison whose sides are exchanged.
func turned(operator parser.ItemType) parser.ItemType {
	switch operator {
	case parser.LSS:
		return parser.GTR
	case parser.GTR:
		return parser.LSS
	case parser.LTE:
		return parser.GTE
	case parser.GTE:
		return parser.LTE
	default: // == and !=
		return operator
	}
}

// isTrueAlone reports whether a comparison of 0 and 1 with a number is true of 1 alone.
func isTrueAlone(operator parser.ItemType, right parser.Expr) bool {
	number, is := right.(*parser.NumberLiteral)
	if !is {
		return false
	}
	isTrue := func(value float64) bool {
		switch operator {
		case parser.EQLC:
			return value == number.Val
		case parser.NEQ:
			return value != number.Val
		case parser.LSS:
			return value < number.Val
		case parser.GTR:
			return value > number.Val
		case parser.LTE:
			return value <= number.Val
		default:
			return value >= number.Val
		}
	}
	return isTrue(1) && !isTrue(0)
}

// isFilled reports whether values are made up for series that one side of an operator lacks.
func isFilled(node *parser.BinaryExpr, isLeft bool) bool {
	switch {
	case node.VectorMatching == nil:
		return false
	case isLeft:
		return node.VectorMatching.FillValues.LHS != nil
	default:
		return node.VectorMatching.FillValues.RHS != nil
	}
}

// metricsIn returns the names of the metrics that an expression reads, sorted, as far as its
// selectors list them.
func metricsIn(root parser.Expr) (names []string) {
	for _, selector := range selectorsIn(root) {
		for _, matcher := range selector.LabelMatchers {
			switch {
			case matcher.Name != model.MetricNameLabel:
			case matcher.Type == labels.MatchEqual:
				names = append(names, matcher.Value)
			case matcher.Type == labels.MatchRegexp:
				names = append(names, matcher.SetMatches()...)
			}
		}
	}
	slices.Sort(names)
	return slices.Clip(slices.Compact(names))
}

// textOf returns the text of an expression that is a part of another one.
func textOf(node parser.Expr) (string, error) {
	text, err := writeText(node)
	if err != nil {
		return "", err
	}
	written, err := lenientParser.ParseExpr(text)
	if err == nil {
		err = verify(written, node)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return text, nil
}
