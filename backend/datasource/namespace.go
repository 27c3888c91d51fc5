package datasource

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// namespaceLabel is the label by which series belong to a namespace.
const namespaceLabel = "namespace"

// confineToNamespace adds a matcher for the namespace to every selector of the
// query. It returns an Error with status 400 for a query that cannot be parsed
// here: what is not understood cannot be confined.
func confineToNamespace(query, namespace string) (string, error) {
	expression, err := parser.NewParser(parser.Options{EnableExperimentalFunctions: true}).ParseExpr(query)
	if err != nil {
		return "", promapi.BadData("the query cannot be confined to namespace %q: %s", namespace, err)
	}
	readsImplicitly := false
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			// info() selects series that no selector of the query names.
			readsImplicitly = readsImplicitly || node.Func.Name == "info"
		case *parser.VectorSelector:
			node.LabelMatchers = append(node.LabelMatchers, labels.MustNewMatcher(labels.MatchEqual, namespaceLabel, namespace))
		}
		return nil
	})
	if readsImplicitly {
		return "", promapi.BadData("a query with info() cannot be confined to namespace %q: join with the info metric explicitly", namespace)
	}
	return expression.String(), nil
}
