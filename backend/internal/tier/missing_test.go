package tier

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// reads makes the extent of an input: so much of the past, ending now.
func reads(in *Input, span time.Duration) {
	in.Extent = promql.Extent{Oldest: before(span), Newest: before(0), Span: span}
}

var (
	never     = []Missing{{Metric: "demo_temp", From: Beginning, To: End}}
	hole      = []Missing{{Metric: "demo_temp", From: before(150 * minute), To: before(90 * minute)}}
	ended     = []Missing{{Metric: "demo_temp", From: before(2 * hour), To: End}}
	beganLate = []Missing{{Metric: "demo_temp", From: Beginning, To: before(20 * minute)}}
)

func TestPlan_ColdIsNotBelieved(t *testing.T) {
	requirePlans(t, []planCase{
		{"cold has a hole", func(in *Input) { reads(in, 3*hour); in.Cold.Missing = hole }, Hot, ReasonNotInCold, Cold, ""},
		{"the hole is not read", func(in *Input) { reads(in, hour); in.Cold.Missing = hole }, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"the hole ends with the first sample that is read", func(in *Input) { reads(in, 90*minute); in.Cold.Missing = hole }, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"a millisecond of the hole is read", func(in *Input) {
			reads(in, 90*minute)
			in.Extent.Oldest--
			in.Cold.Missing = hole
		}, Hot, ReasonNotInCold, Cold, ""},
		{"cold never got the metric", func(in *Input) { reads(in, hour); in.Cold.Missing = never }, Hot, ReasonNotInCold, Cold, ""},
		{"cold never got it, and hot has the newest part", func(in *Input) { reads(in, day); in.Cold.Missing = never }, Hot, ReasonNotInCold, Cold, "the hot tier answered, whose data begins at"},
		{"cold does not get it any more", func(in *Input) { reads(in, 3*hour); in.Cold.Missing = ended }, Hot, ReasonNewerThanCold, Cold, ""},
		{"cold does not get it any more, and has most of it", func(in *Input) { reads(in, day); in.Cold.Missing = ended }, Cold, ReasonOlderThanHot, "", "has no samples of demo_temp after"},
		{"cold lags, and has less", func(in *Input) { reads(in, 7*hour); in.Cold.Newest = before(2 * hour) }, Hot, ReasonNewerThanCold, Cold, "the hot tier answered, whose data begins at"},
		{"a hole, and older than hot", func(in *Input) { reads(in, day); in.Cold.Missing = hole }, Cold, ReasonOlderThanHot, "", "between"},
		{"a metric that is younger in hot", func(in *Input) { in.Hot.Missing = beganLate; in.Extent.Oldest = before(25 * minute) }, Cold, ReasonOlderThanHot, "", ""},
		{"what hot has of it", func(in *Input) { in.Hot.Missing = beganLate }, Hot, ReasonBelowThreshold, Cold, ""},
		{"each lacks a part, hot less", func(in *Input) { reads(in, 3*hour); in.Hot.Missing, in.Cold.Missing = beganLate, never }, Hot, ReasonNotInCold, Cold, "has no samples of demo_temp before"},
		{"hot is not complete", func(in *Input) { reads(in, 3*hour); in.Completeness, in.Cold.Missing = Incomplete, hole }, Cold, ReasonNotInHot, "", "has no samples of demo_temp between"},
		{"cold is forced", func(in *Input) { reads(in, 3*hour); in.Forced, in.Cold.Missing = Cold, hole }, Cold, ReasonForced, "", "has no samples of demo_temp between"},
		{"hot is down", func(in *Input) { in.Hot.Available, in.Cold.Missing = false, never }, Cold, ReasonHotUnavailable, "", "has no samples of demo_temp"},
		{"a name that may not be seen", func(in *Input) { in.Hot.Available, in.Cold.Missing = false, []Missing{{From: Beginning, To: End}} }, Cold, ReasonHotUnavailable, "", "a metric of such a name"},
		{"it is not known yet", func(in *Input) { reads(in, hour); in.Unmeasured = "demo_temp" }, Hot, ReasonNotInCold, Cold, ""},
		{"measuring it failed", func(in *Input) { reads(in, hour); in.Unmeasured, in.MeasuringFailed = "demo_temp", true }, Hot, ReasonColdFailed, Cold, ""},
		{"it is not known yet, below the threshold", func(in *Input) { in.Unmeasured = "demo_temp" }, Hot, ReasonBelowThreshold, Cold, ""},
		{"it is not known yet, and older than hot", func(in *Input) { reads(in, day); in.Unmeasured = "demo_temp" }, Cold, ReasonOlderThanHot, "", "it is not known yet whether it has all samples of demo_temp"},
		{"hot may be younger", func(in *Input) { younger(in) }, Cold, ReasonOlderThanHot, Hot, "it is not known yet whether it has all samples of demo_temp"},
		{"hot may be younger, and cold failed", func(in *Input) { younger(in); in.MeasuringFailed = true }, Hot, ReasonBelowThreshold, Cold, "whether the cold tier has older samples of demo_temp"},
		{"hot may be younger, and cold failed, above the threshold", func(in *Input) { reads(in, hour); younger(in); in.MeasuringFailed = true }, Hot, ReasonColdFailed, Cold, "whether the cold tier has older samples of demo_temp"},
		{"hot may be younger, and cold ends earlier", func(in *Input) { younger(in); in.Cold.Newest-- }, Hot, ReasonNewerThanCold, Cold, "whether the cold tier has older samples of demo_temp"},
		{"hot may be younger, and cold has a hole", func(in *Input) { reads(in, 3*hour); younger(in); in.Cold.Missing = hole }, Hot, ReasonNotInCold, Cold, "whether the cold tier has older samples of demo_temp"},
		{"hot may be younger, and does not reach back", func(in *Input) { reads(in, day); younger(in) }, Cold, ReasonOlderThanHot, "", "it is not known yet whether it has all samples of demo_temp"},
		{"hot may be younger, and is assumed to be complete", func(in *Input) { younger(in); in.Completeness = Assumed }, Cold, ReasonOlderThanHot, Hot, "all samples of demo_temp"},
		{"the hole begins after what is read", func(in *Input) {
			reads(in, 3*hour)
			in.Extent.Newest, in.Cold.Missing = before(160*minute), hole
		}, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"the hole begins with the last sample that is read", func(in *Input) {
			reads(in, 3*hour)
			in.Extent.Newest, in.Cold.Missing = before(150*minute), hole
		}, Cold, ReasonAtOrAboveThreshold, Hot, ""},
		{"nothing is read", func(in *Input) { in.Extent, in.Cold.Missing = promql.Extent{Nothing: true}, never }, Hot, ReasonBelowThreshold, Cold, ""},
		{"cold has less, and hot is not complete", func(in *Input) { reads(in, 7*hour); in.Cold.Newest, in.Completeness = before(2*hour), Incomplete }, Cold, ReasonOlderThanHot, "", "data ends at"},
		{"cold has less, and hot cannot add its labels", func(in *Input) { reads(in, 7*hour); in.Cold.Newest, in.Unlabelled = before(2*hour), "info" }, Cold, ReasonOlderThanHot, "", "data ends at"},
		{"cold has less, and neither answers", func(in *Input) {
			reads(in, 7*hour)
			in.Cold.Newest, in.Hot.Available, in.Cold.Available = before(2*hour), false, false
		}, Cold, ReasonOlderThanHot, "", "data ends at"},
		{"metadata: both have a part", func(in *Input) { reads(in, day); in.Union, in.Cold.Missing = true, hole }, Both, ReasonOlderThanHot, "", ""},
		{"metadata: neither has a part", func(in *Input) { reads(in, day); in.Union, in.Cold.Missing = true, never }, Both, ReasonOlderThanHot, "", "has no samples of demo_temp"},
	})
}

// younger makes hot lack the beginning of a metric, as far as is known.
func younger(in *Input) { in.Unmeasured, in.Younger = "demo_temp", "demo_temp" }

func TestPlan_HotMayBeYoungerAndTakesThePlaceOfColdWithAWarning(t *testing.T) {
	for name, test := range map[string]struct {
		completeness Completeness
		warnings     []string
	}{
		"complete": {Complete, []string{"the hot tier answered, and it is not known yet whether the cold tier has older samples of demo_temp"}},
		"assumed": {Assumed, []string{
			"the hot tier answered, and it is not known yet whether the cold tier has older samples of demo_temp",
			"the hot tier answered because the cold tier failed, and it is only assumed that hot has every series that matches",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			decision, err := Plan(input(func(in *Input) { younger(in); in.Completeness = test.completeness }))
			require.NoError(t, err)
			require.Equal(t, test.warnings, decision.FallbackWarnings)
			require.Equal(t, ReasonColdFailed, decision.FallbackReason)
		})
	}
}

func TestPlan_WarnsOfAFewStretchesOnly(t *testing.T) {
	decision, err := Plan(input(func(in *Input) {
		in.Forced = Cold
		for range mostMissing + 2 {
			in.Cold.Missing = append(in.Cold.Missing, never...)
		}
	}))
	require.NoError(t, err)
	require.Len(t, decision.Warnings, mostMissing+1)
	require.Contains(t, decision.Warnings[mostMissing], "2 more")
}

func TestHotFailed_ColdAnswersWithAWarningWhereItLacksSomething(t *testing.T) {
	in := input(func(in *Input) { in.Cold.Missing = never })
	require.False(t, in.ColdCovers())
	require.Len(t, in.HotFailed().Warnings, 1)
	_, answers := input(func(in *Input) { in.Hot.Missing = beganLate; in.Extent.Oldest = before(hour) }).ColdFailed()
	require.False(t, answers, "hot lacks a part")
}

func TestMissing_SaysWhatATierLacks(t *testing.T) {
	for expected, missing := range map[string]Missing{
		"has no samples of x": {"x", Beginning, End}, "has no samples of x before 1970-01-01T00:00:05Z": {"x", Beginning, 5000},
		"has no samples of x after 1970-01-01T00:00:05Z": {"x", 5000, End}, "has no samples of x between 1970-01-01T00:00:05Z and 1970-01-01T00:00:06Z": {"x", 5000, 6000},
		"has no samples of a metric of such a name": {"", Beginning, End},
	} {
		require.Equal(t, expected, missing.String())
	}
}

func TestLength_CountsWhatPeriodsShareOnce(t *testing.T) {
	require.InDelta(t, 30, length([]period{{20, 40}, {10, 30}, {15, 16}, {50, 50}}), 0)
	require.Zero(t, length(nil))
}
