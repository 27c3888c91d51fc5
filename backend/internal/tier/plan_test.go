package tier

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

var (
	now    = time.UnixMilli(1_760_000_000_000).UTC()
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// before returns a time before now in milliseconds since the Unix epoch.
func before(duration time.Duration) int64 { return now.Add(-duration).UnixMilli() }

// step returns the step of a query over some time. It is zero for an instant query.
func step(span time.Duration) time.Duration {
	if span == 0 {
		return 0
	}
	return 15 * time.Second
}

// input is a datasource with both tiers: hot holds the last 6 h, cold
// everything; the query reads the last 5 minutes.
func input(change func(*Input)) Input {
	in := Input{
		Extent:       promql.Extent{Oldest: before(10 * minute), Newest: before(0), Span: 5 * minute},
		Hot:          State{Configured: true, Available: true, Oldest: before(6 * hour), Newest: before(0)},
		Cold:         State{Configured: true, Available: true, Newest: before(0)},
		Threshold:    15 * minute,
		Now:          before(0),
		Completeness: Complete,
	}
	if change != nil {
		change(&in)
	}
	return in
}

// planCase is an input and the decision that Plan makes of it.
type planCase struct {
	name     string
	change   func(*Input)
	tier     Name
	reason   Reason
	fallback Name
	warning  string // part of the only warning, or empty for none
}

func requirePlans(t *testing.T, cases []planCase) {
	t.Helper()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			decision, err := Plan(input(test.change))
			require.NoError(t, err)
			require.Equal(t, test.tier, decision.Tier)
			require.Equal(t, test.reason, decision.Reason)
			require.Equal(t, test.fallback, decision.Fallback)
			if test.warning == "" {
				require.Empty(t, decision.Warnings)
				return
			}
			require.Len(t, decision.Warnings, 1)
			require.Contains(t, decision.Warnings[0], test.warning)
		})
	}
}

func TestPlan_ForcedAndOnlyTier(t *testing.T) {
	requirePlans(t, []planCase{
		{"rule 2: only cold serves the endpoint", func(in *Input) { in.OnlyTier = Cold }, Cold, ReasonOnlyTier, "", ""},
		{"rule 2: only hot serves the endpoint", func(in *Input) { in.OnlyTier = Hot; in.Extent.Span = hour }, Hot, ReasonOnlyTier, "", ""},
		{"rule 2: only cold would serve the endpoint", func(in *Input) { in.OnlyTier = Cold; in.Cold = State{} }, Hot, ReasonOnlyTier, "", ""},
		{"rule 2: only hot would serve the endpoint", func(in *Input) { in.OnlyTier = Hot; in.Hot = State{} }, Cold, ReasonOnlyTier, "", ""},
		{"rule 2: several replicas and no cold tier", func(in *Input) { in.Cold = State{}; in.HotReplicated = true; in.Extent.Oldest = before(day) }, Hot, ReasonOnlyTier, "", "what lies between is missing"},
		{"rule 2: cold is down and hot is incomplete", func(in *Input) { in.Cold.Available = false; in.Completeness = Incomplete }, Hot, ReasonColdUnavailable, "", "may not have every series"},
		{"rule 2: cold is down and hot is assumed to be complete", func(in *Input) { in.Cold.Available = false; in.Completeness = Assumed }, Hot, ReasonColdUnavailable, "", "only assumed"},
		{"rule 2: no hot tier", func(in *Input) { in.Hot = State{} }, Cold, ReasonOnlyTier, "", ""},
		{"rule 2: no cold tier", func(in *Input) { in.Cold = State{}; in.Extent.Oldest = before(day) }, Hot, ReasonOnlyTier, "", ""},
		{"rule 2: the only tier is asked although it is down", func(in *Input) { in.Hot = State{}; in.Cold.Available = false }, Cold, ReasonOnlyTier, "", ""},
		{"rule 2: hot is down", func(in *Input) { in.Hot.Available = false }, Cold, ReasonHotUnavailable, "", ""},
		{"rule 2: hot is down and cold lags", func(in *Input) { in.Hot.Available = false; in.Cold.Newest = before(hour) }, Cold, ReasonHotUnavailable, "", "whose data ends at"},
		{"rule 2: cold is down", func(in *Input) { in.Cold.Available = false; in.Extent.Span = hour }, Hot, ReasonColdUnavailable, "", ""},
		{"rule 2: cold is down and hot does not reach back", func(in *Input) { in.Cold.Available = false; in.Extent.Oldest = before(day) }, Hot, ReasonColdUnavailable, "", "the hot tier answered, whose data begins at"},
		{"rule 2: cold is down and the start of hot is not known", func(in *Input) { in.Cold.Available = false; in.Hot.Oldest = NothingCovered }, Hot, ReasonColdUnavailable, "", "not known from when on"},
		{"both down: the rules go on", func(in *Input) { in.Cold.Available, in.Hot.Available = false, false }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 1: hot is forced", func(in *Input) { in.Forced = Hot; in.Extent.Span = hour }, Hot, ReasonForced, "", ""},
		{"rule 1: hot is forced beyond its coverage", func(in *Input) { in.Forced = Hot; in.Extent.Oldest = before(day) }, Hot, ReasonForced, "", "what lies between is missing"},
		{"rule 1: hot is forced and down", func(in *Input) { in.Forced = Hot; in.Hot.Available = false }, Hot, ReasonForced, "", ""},
		{"rule 1: cold is forced", func(in *Input) { in.Forced = Cold }, Cold, ReasonForced, "", ""},
		{"rule 1: cold is forced beyond its coverage", func(in *Input) { in.Forced = Cold; in.Cold.Newest = before(hour) }, Cold, ReasonForced, "", "whose data ends at"},
		{"rule 1: a parameter that only cold knows", func(in *Input) { in.ColdParameter = "dedup" }, Cold, ReasonColdParameter, "", ""},
		{"rule 1: the header wins over the parameter", func(in *Input) { in.Forced = Hot; in.ColdParameter = "dedup" }, Hot, ReasonForced, "", ""},
		{"rule 1: hot is forced and incomplete", func(in *Input) { in.Forced = Hot; in.Completeness = Incomplete; in.CompletenessWhy = "of others" }, Hot, ReasonForced, "", "may not have every series that matches: of others"},
		{"rule 1: hot is forced and cannot be relabelled", func(in *Input) { in.Forced = Hot; in.Unlabelled = "of info()" }, Hot, ReasonForced, "", "lack its external labels: of info()"},
		{"rule 1: hot is forced and alone", func(in *Input) { in.Forced = Hot; in.Cold = State{}; in.Completeness = Incomplete }, Hot, ReasonForced, "", ""},
		{"rule 1: cold is forced and hot is incomplete", func(in *Input) { in.Forced = Cold; in.Completeness = Incomplete }, Cold, ReasonForced, "", ""},
		{"rule 1: hot is forced and nothing is read", func(in *Input) {
			in.Forced, in.Extent, in.Completeness, in.Hot.Oldest = Hot, promql.Extent{Nothing: true}, Incomplete, NothingCovered
		}, Hot, ReasonForced, "", ""},
		{"rule 1: cold is forced and nothing is read", func(in *Input) {
			in.Forced, in.Extent, in.Cold.Newest = Cold, promql.Extent{Nothing: true, Newest: before(0)}, before(hour)
		}, Cold, ReasonForced, "", ""},
		{"rule 1: the forced tier does not exist", func(in *Input) { in.Forced = Cold; in.Cold = State{} }, Hot, ReasonOnlyTier, "", "asks for the cold tier, which this datasource does not have"},
	})
}

func TestPlan_AppliesTheRulesInOrder(t *testing.T) {
	requirePlans(t, []planCase{
		{"rule 6: a short query goes to hot", nil, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 6: one millisecond below the threshold", func(in *Input) { in.Extent.Span = in.Threshold - time.Millisecond }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 7: the threshold itself goes to cold", func(in *Input) { in.Extent.Span = in.Threshold }, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"rule 3: the extent starts with hot's first sample", func(in *Input) { in.Extent.Oldest = in.Hot.Oldest }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 3: the extent starts one millisecond earlier", func(in *Input) { in.Extent.Oldest = in.Hot.Oldest - 1 }, Cold, ReasonOlderThanHot, "", ""},
		{"rule 3 wins over rule 6 where hot covers nothing", func(in *Input) { in.Hot.Oldest = NothingCovered }, Cold, ReasonOlderThanHot, "", ""},
		{"rule 3: cold lags behind", func(in *Input) { in.Extent.Oldest = before(day); in.Cold.Newest = before(hour) }, Cold, ReasonOlderThanHot, "", "the cold tier answered, whose data ends at"},
		{"rule 3: cold lags behind, but nothing of it is read", func(in *Input) {
			in.Extent.Oldest, in.Extent.Newest = before(day), before(2*hour)
			in.Cold.Newest = before(hour)
		}, Cold, ReasonOlderThanHot, "", ""},
		{"no sample can be newer than now", func(in *Input) { in.Extent.Oldest = before(day); in.Extent.Newest = before(-hour) }, Cold, ReasonOlderThanHot, "", ""},
		{"rule 4: hot is not complete", func(in *Input) { in.Completeness = Incomplete }, Cold, ReasonNotInHot, "", ""},
		{"rule 4: hot is assumed to be complete", func(in *Input) { in.Completeness = Assumed }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 4: hot cannot add its external labels", func(in *Input) { in.Unlabelled = "info" }, Cold, ReasonNotInHot, "", ""},
		{"rule 4 wins over rule 5", func(in *Input) { in.Completeness = Incomplete; in.Cold.Newest = before(hour) }, Cold, ReasonNotInHot, "", "what lies between may be missing"},
		{"rule 4: nothing is read", func(in *Input) { in.Completeness = Incomplete; in.Extent = promql.Extent{Nothing: true} }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 5: cold lags behind", func(in *Input) { in.Extent.Span = hour; in.Cold.Newest = before(hour) }, Hot, ReasonNewerThanCold, Cold, ""},
		{"rule 5: cold lags by a millisecond", func(in *Input) { in.Extent.Span = hour; in.Cold.Newest = before(0) - 1 }, Hot, ReasonNewerThanCold, Cold, ""},
		{"rule 5: cold does not lag", func(in *Input) { in.Extent.Span = hour; in.Cold.Newest = before(0) }, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"rule 5: a sample from the future is read", func(in *Input) { in.Extent.Span, in.Extent.Newest = hour, before(-hour) }, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"rule 5: what cold lacks is not read", func(in *Input) { in.Extent.Newest = before(hour); in.Cold.Newest = before(hour) }, Hot, ReasonBelowThreshold, Cold, ""},
		{"rule 6: hot had nothing a short while ago", func(in *Input) { in.EmptyBefore = true }, Cold, ReasonHotEmpty, "", ""},
		{"rule 5: hot had nothing, and cold lags", func(in *Input) { in.EmptyBefore = true; in.Cold.Newest = before(30 * time.Second) }, Hot, ReasonNewerThanCold, Cold, ""},
		{"rule 7: cold has lost a store", func(in *Input) { in.Extent.Span = hour; in.Cold.Notes = []Note{PublicNote("a store is gone")} }, Cold, ReasonAtOrAboveThreshold, Hot, "a store is gone"},
		{"union: both are needed", func(in *Input) { in.Union = true; in.Extent.Oldest = before(day); in.Cold.Newest = before(hour) }, Both, ReasonOlderThanHot, "", ""},
		{"union: neither has what lies between", func(in *Input) { in.Union = true; in.Extent.Oldest = before(day); in.Cold.Newest = before(7 * hour) }, Both, ReasonOlderThanHot, "", "what lies between may be missing"},
		{"union: cold has it all", func(in *Input) { in.Union = true; in.Extent.Oldest = before(day) }, Cold, ReasonOlderThanHot, "", ""},
		{"union: hot may lack something", func(in *Input) { in.UnionWhenIncomplete = true; in.Completeness = Incomplete }, Both, ReasonNotInHot, "", ""},
		{"nothing is read: hot, whatever the range", func(in *Input) { in.Extent = promql.Extent{Nothing: true} }, Hot, ReasonBelowThreshold, Cold, ""},
		{"nothing is known of the query: cold", func(in *Input) { in.Extent = promql.UnknownExtent(now, now) }, Cold, ReasonOlderThanHot, "", ""},
	})
}

func TestPlan_FallsBackOnEmptyOnlyWhereColdCovers(t *testing.T) {
	for _, test := range []struct {
		completeness Completeness
		newest       int64
		expected     bool
	}{{Assumed, before(0), true}, {Assumed, before(hour), false}, {Complete, before(0), false}} {
		decision, err := Plan(input(func(in *Input) { in.Completeness, in.Cold.Newest = test.completeness, test.newest }))
		require.NoError(t, err)
		require.Equal(t, test.expected, decision.FallbackOnEmpty, test)
	}
}

func TestPlan_WarnsThatHotIsOnlyAssumedToBeComplete(t *testing.T) {
	decision, err := Plan(input(func(in *Input) { in.Completeness = Assumed; in.Extent.Span = hour }))
	require.NoError(t, err)
	require.Equal(t, []any{Cold, Hot, ReasonColdFailed}, []any{decision.Tier, decision.Fallback, decision.FallbackReason})
	require.Len(t, decision.FallbackWarnings, 1)
	require.Contains(t, decision.FallbackWarnings[0], "only assumed")
}

func TestExplain_ListsTheRulesUpToTheOneThatDecides(t *testing.T) {
	decision, steps, err := Explain(input(func(in *Input) { in.Extent.Span = hour; in.CompletenessWhy = "hot is the only source" }))
	require.NoError(t, err)
	require.Equal(t, ReasonAtOrAboveThreshold, decision.Reason)
	require.Len(t, steps, 7)
	for i, step := range steps {
		require.Equal(t, i+1, step.Rule)
		require.Equal(t, i == 6, step.Applies)
		require.NotEmpty(t, step.Why)
	}
}

func TestPlan_WarnsWhenTheFallbackLags(t *testing.T) {
	decision, err := Plan(input(func(in *Input) { in.Cold.Newest = before(hour) }))
	require.NoError(t, err)
	require.Empty(t, decision.Warnings, "hot has it all")
	require.Len(t, decision.FallbackWarnings, 1)
}

func TestPlan_NamesTheMissingStretch(t *testing.T) {
	decision, err := Plan(input(func(in *Input) { in.Forced = Hot; in.Extent.Oldest = before(day) }))
	require.NoError(t, err)
	require.Contains(t, decision.Warnings[0], now.Add(-6*hour).Format(time.RFC3339))
	require.Contains(t, decision.Warnings[0], now.Add(-day).Format(time.RFC3339))

	decision, err = Plan(input(func(in *Input) { in.Forced = Hot; in.Extent.Oldest = math.MinInt64 }))
	require.NoError(t, err)
	require.Contains(t, decision.Warnings[0], "from the beginning on")
}

func TestPlan_ReturnsErrNoTierWithoutTiers(t *testing.T) {
	_, err := Plan(Input{})
	require.ErrorIs(t, err, ErrNoTier)
}

func TestReasons_AreUnique(t *testing.T) {
	require.Len(t, Names(), 2)
	seen := map[Reason]bool{}
	for _, reason := range Reasons() {
		require.False(t, seen[reason], reason)
		seen[reason] = true
	}
}

// What is written for one caller is not for another one.
func TestNote_TheDetailIsForWhoMayReadIt(t *testing.T) {
	notes := []Note{{Detail: "the store 10.0.0.1 is gone", Public: "a store is gone"}, PublicNote("both")}
	require.Equal(t, []string{"the store 10.0.0.1 is gone", "both"}, Texts(notes, true))
	require.Equal(t, []string{"a store is gone", "both"}, Texts(notes, false))
}
