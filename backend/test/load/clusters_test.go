package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClusterSeries_AreUniqueAndTheSameInEveryCluster(t *testing.T) {
	const pods = 3
	first, second := map[uint64]bool{}, map[uint64]bool{}
	for cluster, found := range []map[uint64]bool{first, second} {
		series := clusterSeries(pods, cluster)
		for _, each := range series {
			found[each.Labels.Hash()] = true
		}
		require.Len(t, found, len(series))
		require.Len(t, series, pods*80+clusterNodes*(3+8*8))
	}
	require.Equal(t, first, second)
}

func TestClusterPanel_TakesTheValueOfTheVariable(t *testing.T) {
	panel := clusterPanel{query: `a{cluster="$cluster"} / b{cluster=~"$cluster",x="y"}`}
	require.Equal(t, `a{cluster="c"} / b{cluster=~"c",x="y"}`, panel.with("c"))
	require.Equal(t, `a{cluster=~"(a|b)"} / b{cluster=~"(a|b)",x="y"}`, panel.with("(a|b)"))
	require.Len(t, clusterPanels, 20)
}

func TestPercentileOf_IsOneOfTheTimes(t *testing.T) {
	var times []time.Duration
	for i := range 20 {
		times = append(times, time.Duration(20-i))
	}
	require.EqualValues(t, 10, percentileOf(times, 0.5))
	require.EqualValues(t, 19, percentileOf(times, 0.95))
	require.EqualValues(t, 7, percentileOf([]time.Duration{7}, 0.95))
}

func TestDifferentIn_CountsMissingAndNeedlessPoints(t *testing.T) {
	vector, err := pointsOf([]byte(`{"data":{"result":[{"metric":{"a":"b"},"value":[5,"3"]}]}}`))
	require.NoError(t, err)
	require.Len(t, vector, 1, "an instant query has points too")
	same, other, missing, needless := point{"same", 5}, point{"other", 5}, point{"missing", 5}, point{"same", 6}
	expected := points{same: 1, other: 2, missing: 3}
	require.Equal(t, 3, differentIn(points{same: 1 + 1e-12, other: 2.1, needless: 4}, expected))
}
