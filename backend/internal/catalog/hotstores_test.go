package catalog

import (
	"cmp"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSourceStates_StartWithTheYoungestPart(t *testing.T) {
	const start, hour = int64(1_700_000_000_000), int64(3_600_000)
	store := func(kind, cluster string, from, to int64) Store {
		return Store{Kind: kind, LabelSets: []map[string]string{{"cluster": cluster}}, MinTime: from, MaxTime: to}
	}
	for name, test := range map[string]struct {
		stores  []Store
		start   int64
		unknown string
	}{
		"two sources":                        {[]Store{store("sidecar", "a", start, math.MaxInt64), store("sidecar", "b", start+hour, math.MaxInt64)}, start + hour, ""},
		"a sidecar and a store behind it":    {[]Store{store("sidecar", "a", start+9*hour, math.MaxInt64), store("store", "a", start, start+10*hour)}, start, ""},
		"a store that ends before a sidecar": {[]Store{store("sidecar", "a", start+9*hour, math.MaxInt64), store("store", "a", start, start+8*hour)}, start + 9*hour, ""},
		"three parts in a row":               {[]Store{store("store", "a", start, start+3*hour), store("receive", "a", start+5*hour, math.MaxInt64), store("sidecar", "a", start+2*hour, start+6*hour)}, start, ""},
		"a start in the year 0":              {[]Store{store("sidecar", "a", -62_167_219_200_000, math.MaxInt64), store("sidecar", "b", start, math.MaxInt64)}, tier.NothingCovered, `the source {cluster="a"} does not report since when it has samples`},
		"a start before all time":            {[]Store{store("sidecar", "a", math.MinInt64, math.MaxInt64)}, tier.NothingCovered, `the source {cluster="a"} does not report since when it has samples`},
	} {
		t.Run(name, func(t *testing.T) {
			latest, unknown := int64(0), ""
			for _, source := range sourceStates(test.stores, nil) {
				latest, unknown = max(latest, source.Oldest), cmp.Or(unknown, source.Error)
			}
			require.Equal(t, []any{test.start, test.unknown}, []any{latest, unknown})
		})
	}
}

// TestProbe_HotThatIsAThanos covers lists of stores that are hard to provoke from a real one.
func TestProbe_HotThatIsAThanos(t *testing.T) {
	now := time.Now()
	from := now.Add(-time.Hour).UnixMilli()
	one := func(cluster, problem string, minTime int64) string {
		return fmt.Sprintf(`{"labelSets":[{"cluster":%q}],"lastError":%q,"minTime":%d,"maxTime":%d}`, cluster, problem, minTime, int64(math.MaxInt64))
	}
	told := catalogtest.NewScripted(t, nil)
	hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, told.URL), ProbeInterval: time.Hour})
	probe := func(stores string) tier.State {
		t.Helper()
		told.Set(catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}, {"/stores", `{"sidecar":[` + stores + `]}`}, {"/query", catalogtest.EmptyVector}, {"/values", `[]`}})
		hot.probe(t.Context())
		return hot.State(now)
	}
	require.Equal(t, from, probe(one("a", "", from-5)+","+one("b", "", from)).Oldest)
	require.Equal(t, from, probe(one("a", "", from-5)+","+one("a", "", from-9)+","+one("b", "", from)).Oldest)

	state := probe(one("a", "", from-5) + "," + one("b", "", from))
	require.Equal(t, tier.NothingCovered, state.Oldest, "one of two servers of a is gone")
	require.Contains(t, state.Notes[0].Detail, `the hot tier cannot reach one of the servers of sidecar with {cluster="a"}`)
	state = probe(one("a", "", from-5) + "," + one("a", "", from-9) + "," + one("b", "connection refused", from))
	require.Equal(t, tier.NothingCovered, state.Oldest)
	require.Equal(t, "the hot tier cannot reach one of its stores: what only that one holds is missing", state.Notes[0].Public)
	require.Equal(t, from, probe(one("a", "", from-5)+","+one("a", "", from-9)+","+one("b", "", from)).Oldest, "all are back")

	require.Equal(t, tier.NothingCovered, probe(one("a", "", 0)+","+one("a", "", from-9)+","+one("b", "", from)).Oldest)
	require.Equal(t, `a server of sidecar with {cluster="a"} does not report since when it has samples`, hot.Status().Notes[0].Detail)
	probe("")
	require.Len(t, hot.Status().Notes, 2, "none of the known stores is there")
}
