package promql

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// anew parses a text without the cache.
func anew(t testing.TB, text string) *Query {
	t.Helper()
	query := &Query{text: text}
	root, err := lenientParser.ParseExpr(text)
	require.NoError(t, err, text)
	query.keep(root)
	query.facts = factsOf(root)
	return query
}

// requireUnchanged fails when a method changed the tree that all users of a query
// share.
func requireUnchanged(t testing.TB, query *Query) {
	t.Helper()
	require.NoError(t, verify(query.tree(), anew(t, query.text).tree()), query.text)
}

func TestParse_QueriesAndErrorsAreRemembered(t *testing.T) {
	first, err := Parse(`sum(remembered)`)
	require.NoError(t, err)
	second, err := Parse(`sum(remembered)`)
	require.NoError(t, err)
	require.Same(t, first, second)
	strict, err := ParseStrictly(`sum(remembered)`)
	require.NoError(t, err)
	require.NotSame(t, first, strict)
	require.Equal(t, `sum(remembered)`, strict.String())

	request := strings.Repeat("x", 100)
	part, err := Parse(request[:10])
	require.NoError(t, err)
	require.NotSame(t, unsafe.StringData(request), unsafe.StringData(part.String()), "a part of a request does not hold the whole")

	_, firstError := Parse(`sum(remembered`)
	_, secondError := Parse(`sum(remembered`)
	require.Equal(t, firstError, secondError)
	require.ErrorContains(t, firstError, "1:15: parse error: unclosed left parenthesis")
}

func TestParse_NamesWithoutQuotes(t *testing.T) {
	for _, text := range []string{`größe`, `a.b`, `sum by (a.b) (c)`, `a{größe="1"}`} {
		t.Run(text, func(t *testing.T) {
			_, err := Parse(text)
			require.NoError(t, err, text)
			_, err = ParseStrictly(text)
			require.ErrorContains(t, err, "parse error", text)
		})
	}
}

func TestErrorTexts_HavePositions(t *testing.T) {
	_, err := Parse(`abs(a, b) + rate(c)`)
	require.Error(t, err)
	all := ErrorTexts(err, 10)
	require.Len(t, all, 2)
	require.Equal(t, all[:1], ErrorTexts(err, 1))
	require.Contains(t, all[1], "1:18: parse error")
	require.Equal(t, []string{"another error"}, ErrorTexts(errors.New("another error"), 1))
}

// What a query says does not depend on whether its tree is still there.
func TestQuery_ParsedAgainAfterGarbageCollection(t *testing.T) {
	const text = `rate(collected{job=~"a|b"}[5m] @ end()) + on (job) group_left (x) y`
	query, err := Parse(text)
	require.NoError(t, err)
	before := fmt.Sprint(query.Selectors())
	for range 3 {
		runtime.GC()
	}
	require.Nil(t, query.root.Load().Value(), "nothing else holds the tree")
	require.Equal(t, before, fmt.Sprint(query.Selectors()))
}

// All users of a query share its tree, at the same time.
func TestQuery_NoMethodChangesItsTree(t *testing.T) {
	for _, text := range []string{
		`x`, `sum by (cluster) (rate(x{cluster="lab$1",a!="b"}[5m:] @ end() offset 1h)) / on (job) group_left (y) topk(scalar(z), (a @ start()))`,
		`absent(((q{cluster!="",b="c"})))`, `histogram_quantile(0.9, rate(h[step() * 5])) + start()`, `info(x, {data="y"})`, `-(x > bool 1)`, `"text"`, `x[5m]`,
		`histogram_count(rate(x[5m])) + sum(((y)))`,
	} {
		t.Run(text, func(t *testing.T) {
			query, err := ParseStrictly(text)
			require.NoError(t, err, text)
			root := query.tree()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					_, _ = query.inject(injected)
					_, _ = query.WithLabelsInSelectors(injected)
					_, _ = query.WithSteps(minute)
					_, _ = query.Frozen(now, now.Add(hour))
					_, _ = query.computeExtent(Evaluation{Start: now, End: now.Add(hour), Step: minute})
					_, _ = query.Confined(func(Selector) (Selector, error) { return ParseSelector(`{a="b"}`) })
					_, _, _, _ = query.Selectors(), query.IsEmptyOverNothing(), query.Pretty(), query.Describe()
				})
			}
			all.Wait()
			again, err := strictParser.ParseExpr(text)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%#v", describe(again)), fmt.Sprintf("%#v", describe(root)), text)
			require.NoError(t, verify(root, again), text)
		})
	}
}

// The cache never takes more memory than its bound.
func TestCache_HoldsAsManyBytesAsItMay(t *testing.T) {
	long := strings.Repeat("x", 40_000)
	for i := range 500 { // Five times what fits.
		_, err := Parse(fmt.Sprintf("bytes_%d_%s", i, long))
		require.NoError(t, err)
		_, err = Parse(fmt.Sprintf("bytes_%d_%s{", i, long))
		require.Error(t, err)
	}
	cache.CleanUp()
	require.LessOrEqual(t, cache.WeightedSize(), uint64(memoryOfCache))
	require.Positive(t, cache.EstimatedSize())

	before := cache.EstimatedSize()
	_, err := Parse(strings.Repeat("x", largestEntry+1))
	require.NoError(t, err)
	cache.CleanUp()
	require.LessOrEqual(t, cache.EstimatedSize(), before, "what is too large is not kept")
}
