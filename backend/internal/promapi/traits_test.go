package promapi

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTraits_EveryEndpointHasEveryColumn(t *testing.T) {
	for _, row := range table {
		t.Run(string(row.Endpoint), func(t *testing.T) {
			require.Same(t, row, row.Endpoint.Traits())
			value := reflect.ValueOf(*row)
			for i := range value.NumField() {
				if name := value.Type().Field(i).Name; name != "check" { // Some have nothing to check.
					require.False(t, value.Field(i).IsZero(), name)
				}
			}
			require.True(t, row.Routing.Has(ByRules) != row.Routing.Has(OnlyThanos), "one of the two decides")
			joined := row.Routing.Has(UnionForRange) || row.Routing.Has(UnionForSeries) || row.Routing.Has(UnionAlways)
			require.Equal(t, joined, row.Union != NoUnion, "what is joined, is joined in some way")
			require.Equal(t, row.Confinement == ConfineQuery || row.Confinement == ConfineMatch, row.EmptyData != NoEmptyData, "what can read nothing has an empty answer")
			if row.Cutting == CutAtStep {
				require.Equal(t, EachStep, row.Times)
			}
			for _, path := range row.Paths {
				matched, err := MatchEndpoint("/api/v1/" + path)
				require.NoError(t, err)
				require.Same(t, row, matched)
			}
		})
	}
	require.Len(t, Endpoints(), len(byEndpoint), "each endpoint has one row")
	require.Zero(t, Endpoint("another").Traits().Routing)
}

// TestTraits_TheDocsListThem compares the first column of the tables in
// docs/routing.md.
func TestTraits_TheDocsListThem(t *testing.T) {
	text, err := os.ReadFile("../../../docs/routing.md")
	require.NoError(t, err)
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cell, isRow := strings.CutPrefix(line, "| ")
		cell, _, _ = strings.Cut(cell, " |")
		for i, name := range strings.Split(cell, "`") {
			if isRow && i%2 == 1 {
				listed[strings.TrimPrefix(name, "/api/v1/")] = true
			}
		}
	}
	for _, row := range table {
		for _, path := range row.Paths {
			if strings.HasPrefix(path, "status/") {
				path = "status/…"
			}
			require.True(t, listed[strings.ReplaceAll(path, "{name}", "…")], path)
		}
	}
}
