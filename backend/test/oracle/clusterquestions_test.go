//go:build e2e

package oracle

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// pinnedTo begins the origin of questions whose selectors all pin the cluster that follows. The
// selectors of the others pin none, or one does and another one does not.
const pinnedTo = "pinned to "

// Origins of the other questions.
const (
	originHalfPinned = "half pinned"
	originFree       = "free"
)

// clusterGenerator makes up questions whose selectors name clusters.
type clusterGenerator struct {
	*generator
	clusters map[string]map[string]string
	names    []string // of the clusters
}

// clusterMatcher returns a matcher in one of the ways in which a dashboard writes it.
func clusterMatcher(text string) *labels.Matcher {
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector("{" + text + "}")
	if err != nil {
		panic(err) // It was written here.
	}
	return matchers[0]
}

// pin returns matchers that only series of a cluster satisfy.
func (g *clusterGenerator) pin(cluster string) []*labels.Matcher {
	pinned := []string{`cluster="` + cluster + `"`, `cluster="` + cluster + `"`, `cluster=~"` + cluster + `"`, `cluster=~"(` + cluster + `)"`}
	matchers := []*labels.Matcher{clusterMatcher(pinned[g.random.Intn(len(pinned))])}
	if region := g.clusters[cluster]["region"]; region != "" && g.random.Intn(4) == 0 {
		matchers = append(matchers, clusterMatcher(`region="`+region+`"`))
	}
	return matchers
}

// other returns a matcher that pins no cluster, or none that there is. A region pins none either:
// series of a cluster without one may have it as a label of their own.
func (g *clusterGenerator) other() *labels.Matcher {
	pick := func() string { return g.names[g.random.Intn(len(g.names))] }
	texts := []string{
		`cluster=~"` + pick() + "|" + pick() + `"`, `cluster=~"` + pick() + "|" + pick() + `"`, `cluster!="` + pick() + `"`, `cluster!="` + pick() + `"`,
		`cluster!~"` + pick() + "|" + pick() + `"`, `cluster=~".+"`, `cluster=~"` + pick() + `.*"`, `cluster=""`, `cluster="none"`, `region="eu"`, `region=""`, `region!="eu"`,
	}
	return clusterMatcher(texts[g.random.Intn(len(texts))])
}

// some returns matchers for one selector of a half pinned question.
func (g *clusterGenerator) some() []*labels.Matcher {
	switch g.random.Intn(5) {
	case 0:
		return nil
	case 1, 2:
		return g.pin(g.names[g.random.Intn(len(g.names))])
	}
	return []*labels.Matcher{g.other()}
}

// style returns the origin of the next question, and what makes the matchers of its selectors.
func (g *clusterGenerator) style() (origin string, matchers func() []*labels.Matcher) {
	switch g.random.Intn(8) {
	case 0:
		return originFree, func() []*labels.Matcher { return nil }
	case 1, 2:
		return originHalfPinned, g.some
	}
	cluster := g.names[g.random.Intn(len(g.names))]
	return pinnedTo + cluster, func() []*labels.Matcher { return g.pin(cluster) }
}

func (g *clusterGenerator) next() question {
	origin, matchers := g.style()
	if g.random.Intn(10) == 0 {
		asked := g.metadata(matchers)
		asked.origin = origin
		return asked
	}
	end := g.time()
	root := g.expression()
	g.disturb(root, end)
	// Whether absent() names a label depends on the order of its matchers, which Thanos changes.
	ambiguous := origin != originHalfPinned || strings.Contains(root.String(), "absent")
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is && selector != nil {
			selector.LabelMatchers = slices.DeleteFunc(selector.LabelMatchers, func(matcher *labels.Matcher) bool {
				return ambiguous && slices.Contains([]string{"cluster", "region"}, matcher.Name)
			})
			selector.LabelMatchers = append(selector.LabelMatchers, matchers()...)
		}
		return nil
	})
	asked := g.question(root.String(), end)
	asked.origin = origin
	return asked
}

// metadata asks for series, labels or values, of one or two selectors.
func (g *clusterGenerator) metadata(matchers func() []*labels.Matcher) question {
	end := g.time()
	values := url.Values{"end": {seconds(end)}, "start": {seconds(end.Add(-g.upTo(3 * hour)))}}
	endpoints := []string{"series", "labels", "label/job/values", "label/instance/values", "label/cluster/values", "label/region/values"}
	asked := question{endpoint: endpoints[g.random.Intn(len(endpoints))], values: values}
	var list []string
	for _, matcher := range matchers() {
		list = append(list, matcher.String())
	}
	if asked.endpoint == "series" || len(list) > 0 || g.random.Intn(2) == 0 {
		values.Set("match[]", g.generator.names[g.random.Intn(len(g.generator.names))]+"{"+strings.Join(list, ",")+"}")
	}
	return asked
}

// questions returns random questions about the clusters, around the given times and now.
func (w *clusterWorld) questions(seed int64, count int, edges ...time.Time) []question {
	g := &clusterGenerator{
		generator: newGenerator(seed, w.now, append(edges, w.now, w.now, w.now), w.labels),
		clusters:  w.clusters, names: slices.Sorted(maps.Keys(w.clusters)),
	}
	var list []question
	for len(list) < count {
		list = append(list, g.next())
	}
	return list
}
