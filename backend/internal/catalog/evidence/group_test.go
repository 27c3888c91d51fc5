package evidence

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSelectors_NamesWithinAGroup(t *testing.T) {
	others := GroupOfOthers(map[string]string{"cluster": "lab", "a.b": `"x"`})
	require.Equal(t, []string{`{__name__="up","a.b"!="\"x\""}`, `{__name__="up",cluster!="lab"}`}, others.Selectors([]string{"up"}))
	require.Equal(t, []string{`{__name__=~"a\\.b|up"}`}, Group("").Selectors([]string{"a.b", "up"}))
}

func TestHas_SourcesDifferInAnyExternalLabel(t *testing.T) {
	server := catalogtest.NewScripted(t, catalogtest.Answers{{`prometheus!=`, `[{"__name__":"up","cluster":"lab"}]`}, {"/series", `[]`}})
	cold := New(Options{Client: catalogtest.Asking(t, server.URL), State: func() State { return State{Available: true} }})
	found, err := cold.has(t.Context(), GroupOfOthers(map[string]string{"cluster": "lab", "prometheus": "k8s"}), []string{"other", "up"}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, []string{"up"}, found)
	require.Len(t, server.Requests("/series"), 2)
}
