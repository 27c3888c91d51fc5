package promql

import (
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// TestVerify_RefusesWhatWasWrittenWrongly passes texts that are never written.
func TestVerify_RefusesWhatWasWrittenWrongly(t *testing.T) {
	parsed := func(text string) parser.Expr {
		root, err := strictParser.ParseExpr(text)
		require.NoError(t, err)
		return root
	}
	const confined = `rate(up{namespace=~"shop",job="a"}[5m]) + down{namespace=~"shop"}`
	meant := parsed(confined)
	require.NoError(t, verify(parsed(confined), meant))
	for written, message := range map[string]string{
		`info(up{namespace=~"shop",job="a"}) + down{namespace=~"shop"}`:                        "mean something else",
		`rate(up{namespace=~"shop",job="a"}[5m]) + down{namespace=~"shop"} + x`:                "other matchers",
		`rate(up{namespace=~"shop",job="a"}[5m])`:                                              "other matchers",
		`rate(up{namespace=~"shop",job="a"}[5m]) + {namespace=~"shop",__name__="down"}`:        "other matchers", // A name of its own is another text.
		`rate(up{job="a"}[5m]) + down{namespace=~"shop"}`:                                      "other matchers",
		`rate(up{namespace=~"shop",job="a"}[5m]) + down`:                                       "other matchers",
		`rate(up{job="a",namespace=~"shop"}[5m]) + down{namespace=~"shop"}`:                    "other matchers", // Their order counts.
		`rate(up{namespace=~"bank",job="a"}[5m]) + down{namespace=~"shop"}`:                    "other matchers",
		`rate(up{namespace!~"shop",job="a"}[5m]) + down{namespace=~"shop"}`:                    "other matchers",
		`rate(up{namespacf=~"shop",job="a"}[5m]) + down{namespace=~"shop"}`:                    "other matchers",
		`rate(up{namespace=~"shop",job="a"}[6m]) + down{namespace=~"shop"}`:                    "mean something else",
		`rate(up{namespace=~"shop",job="a"}[5m]) + (down{namespace=~"shop"})`:                  "mean something else",
		`rate(up{namespace=~"shop",job="a"}[5m] offset 1m) + on (job) down{namespace=~"shop"}`: "mean something else",
	} {
		t.Run(written, func(t *testing.T) {
			require.ErrorContains(t, verify(parsed(written), meant), message, written)
		})
	}
}

func TestWrite_RefusesATextThatIsNotWhatWasMeant(t *testing.T) {
	query := anew(t, `a + b`)
	for name, metric := range map[string]string{"no PromQL": "(", "something else": "c + d", "a comment": "c #"} {
		t.Run(name, func(t *testing.T) {
			meant := clone(query.tree())
			selectorsIn(meant)[0].Name = metric
			_, err := query.write(meant)
			require.ErrorIs(t, err, errNotWritten)
		})
	}
	same, err := query.write(query.tree())
	require.NoError(t, err)
	require.Equal(t, "a + b", same.String())
}
