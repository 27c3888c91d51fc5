package tier

import (
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// cutInput is a query of a day, step a minute, hot of the last 6 h.
func cutInput(t testing.TB, query string, span, step time.Duration, change func(*CutInput)) (CutInput, Decision) {
	t.Helper()
	start := now.Add(-span)
	parsed, err := promql.Parse(query)
	require.NoError(t, err)
	frozen, err := parsed.Frozen(start, now)
	require.NoError(t, err)
	grid, err := NewGrid(start, now, step)
	require.NoError(t, err)
	in := CutInput{Input: input(nil), Grid: grid, Fresh: 15 * minute}
	in.Extent, err = parsed.Extent(promql.Evaluation{Start: start, End: now, Step: step})
	require.NoError(t, err)
	in.ExtentAt = func(at int64) (promql.Extent, error) {
		return frozen.Extent(promql.Evaluation{Start: time.UnixMilli(at), End: time.UnixMilli(at), Step: step})
	}
	if change != nil {
		change(&in)
	}
	decision, err := Plan(in.Input)
	require.NoError(t, err)
	return in, decision
}

func TestPlanCut_CutsWhereEachTierCoversItsSteps(t *testing.T) {
	for name, test := range map[string]struct {
		query  string
		span   time.Duration
		change func(*CutInput)
		// before now: the first step of hot; zero where the query is not cut.
		first time.Duration
		why   string
	}{
		"the newest steps go to hot":                     {query: `up`, span: day, first: 15 * minute},
		"as far back as is wanted":                       {query: `up`, span: day, change: func(in *CutInput) { in.Fresh = hour }, first: hour},
		"between two steps the later one is the first":   {query: `up`, span: day, change: func(in *CutInput) { in.Fresh = hour + time.Second }, first: hour},
		"hot covers all that is read at its first step":  {query: `rate(up[350m])`, span: day, first: 10 * minute},
		"to the millisecond":                             {query: `rate(up[350m])`, span: day, change: func(in *CutInput) { in.Hot.Oldest++ }, first: 10 * minute},
		"to the other side":                              {query: `rate(up[350m])`, span: day, change: func(in *CutInput) { in.Hot.Oldest += 2 }, first: 9 * minute},
		"an offset":                                      {query: `up offset 350m`, span: day, first: 5 * minute},
		"a subquery":                                     {query: `max_over_time(up[350m:1m])`, span: day, first: 5 * minute},
		"cold lags, and hot takes its steps over":        {query: `up`, span: day, change: func(in *CutInput) { in.Cold.Newest = before(2 * hour) }, first: 2*hour - minute},
		"a negative offset is what cold lacks":           {query: `up offset -30m`, span: day, first: 15 * minute},
		"older than hot and newer than cold":             {query: `up`, span: day, change: func(in *CutInput) { in.Cold.Newest = before(5 * hour) }, first: 5*hour - minute},
		"neither has what lies between":                  {query: `up`, span: day, change: func(in *CutInput) { in.Cold.Newest = before(7 * hour) }, why: "too old for hot and too new for cold"},
		"a time of the past that only cold has":          {query: `up - up @ start()`, span: day, why: "none is new"},
		"a time that hot has, and cold":                  {query: `up - up @ end()`, span: day, first: 15 * minute},
		"a time that hot has, and cold has not":          {query: `up - up @ end()`, span: day, change: func(in *CutInput) { in.Cold.Newest = before(hour) }, why: "too old for hot and too new for cold"},
		"hot holds everything, and nothing of it is old": {query: `up`, span: 10 * minute, change: func(in *CutInput) { in.Threshold = minute }, why: "none is old"},
		"below the threshold":                            {query: `up`, span: 10 * minute, why: "below the threshold"},
		"the request forces a tier":                      {query: `up`, span: day, change: func(in *CutInput) { in.Forced = Cold }, why: "asks for one tier"},
		"hot is down":                                    {query: `up`, span: day, change: func(in *CutInput) { in.Hot.Available = false }, why: "only one tier"},
		"both are down":                                  {query: `up`, span: day, change: func(in *CutInput) { in.Hot.Available, in.Cold.Available = false, false }, why: "not available"},
		"hot is incomplete":                              {query: `up`, span: hour, change: func(in *CutInput) { in.Completeness = Incomplete }, why: "hot does not have every series"},
		"hot is incomplete, and the query is old":        {query: `up`, span: day, change: func(in *CutInput) { in.Completeness = Incomplete }, why: "hot may not have every series"},
		"hot's labels cannot be added":                   {query: `up`, span: day, change: func(in *CutInput) { in.Unlabelled = "info" }, why: "hot may not have every series"},
		"hot had nothing":                                {query: `up`, span: day, change: func(in *CutInput) { in.EmptyBefore = true }, why: "hot had nothing"},
		"replicas":                                       {query: `up`, span: day, change: func(in *CutInput) { in.HotReplicated = true }, why: "several replicas"},
		"replicas that are accepted":                     {query: `up`, span: day, change: func(in *CutInput) { in.HotReplicated, in.ReplicasAccepted = true, true }, first: 15 * minute},
		"cold has lost a store":                          {query: `up`, span: day, change: func(in *CutInput) { in.Cold.Notes = []Note{PublicNote("a store is gone")} }, why: "may not be complete"},
		"hot's coverage is not known":                    {query: `up`, span: day, change: func(in *CutInput) { in.Hot.Oldest = NothingCovered }, why: "none is new"},
		"no sample":                                      {query: `vector(1)`, span: day, change: func(in *CutInput) { in.Threshold = 0 }, why: "below the threshold"},
	} {
		t.Run(name, func(t *testing.T) {
			in, decision := cutInput(t, test.query, test.span, minute, test.change)
			cut, err := PlanCut(in, decision)
			if test.why != "" {
				require.ErrorContains(t, err, test.why)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.first, now.Sub(time.UnixMilli(cut.Grid.At(cut.First))))
		})
	}
}

func TestColdFailed_HotAnswersOnlyWhatItHoldsForSure(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*Input)
		answers  bool
		warnings int
	}{
		"it covers all and is complete": {nil, true, 0},
		"it is assumed to be complete":  {func(in *Input) { in.Completeness = Assumed }, true, 1},
		"it begins later":               {func(in *Input) { in.Extent.Oldest = before(day) }, false, 0},
		"its coverage is not known":     {func(in *Input) { in.Hot.Oldest = NothingCovered }, false, 0},
		"it is not complete":            {func(in *Input) { in.Completeness = Incomplete }, false, 0},
		"its labels cannot be added":    {func(in *Input) { in.Unlabelled = "info" }, false, 0},
		"it is down":                    {func(in *Input) { in.Hot.Available = false }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			decision, answers := input(test.change).ColdFailed()
			require.Equal(t, test.answers, answers, name)
			require.Len(t, decision.Warnings, test.warnings, name)
			if answers {
				require.Equal(t, []any{Hot, ReasonColdFailed}, []any{decision.Tier, decision.Reason}, name)
			}
		})
	}
}

func TestGrid_CountsEvaluationTimes(t *testing.T) {
	for _, step := range []time.Duration{0, 500 * time.Microsecond, 1500 * time.Microsecond} {
		_, err := NewGrid(now, now, step)
		require.ErrorContains(t, err, "whole number of milliseconds")
	}
	_, err := NewGrid(now, now.Add(11_001*time.Second), time.Second)
	require.ErrorContains(t, err, "more than 11000 steps")
	grid, err := NewGrid(now, now.Add(11_000*time.Second), time.Second)
	require.NoError(t, err)
	require.Equal(t, 11_001, grid.Len(), "as many as a Prometheus evaluates")
	grid = Grid{Start: 100, End: 139, Step: 10}
	require.Equal(t, []int{4, 0, 0, 1, 3, 4, -1}, []int{grid.Len(), grid.Index(91), grid.Index(100), grid.Index(101), grid.Index(130), grid.Index(131), grid.Index(90)})
}

// TestPlanCut_EachStepLiesInTheCoverageOfItsTier cuts random queries under random
// coverage and looks at every step of every piece.
func TestPlanCut_EachStepLiesInTheCoverageOfItsTier(t *testing.T) {
	queries := []string{
		`up`, `rate(up[7m])`, `up offset 13m`, `up offset -13m`, `max_over_time(up[40m:3m])`, `up - up offset 2h`, `up + up @ start()`, `up + up @ end()`,
		`sum_over_time(up[10m] @ 1760000000)`, `max_over_time(rate(up[5m])[30m:1m] offset 5m)`, `max_over_time((up @ end())[10m:])`, `rate(up[step()])`,
	}
	random := rand.New(rand.NewSource(1))
	duration := func(most time.Duration) time.Duration {
		return time.Duration(random.Int63n(int64(most))).Truncate(time.Millisecond)
	}
	cuts := 0
	for range 3000 {
		query := queries[random.Intn(len(queries))]
		step := max(time.Millisecond, duration(10*minute))
		span := min(duration(day), 300*step)
		in, decision := cutInput(t, query, span, step, func(in *CutInput) {
			in.Hot.Oldest = before(duration(12 * hour))
			in.Cold.Newest = before(duration(4 * hour))
			in.Fresh = duration(2 * hour)
			in.Threshold = duration(hour)
		})
		cut, err := PlanCut(in, decision)
		if err != nil {
			continue
		}
		cuts++
		require.Positive(t, cut.First)
		require.Less(t, cut.First, cut.Grid.Len(), "both have a step")
		require.LessOrEqual(t, cut.Earliest, cut.First)
		require.LessOrEqual(t, cut.First, cut.Latest)
		for i := range cut.Grid.Len() {
			extent, err := in.ExtentAt(cut.Grid.At(i))
			require.NoError(t, err)
			if i >= cut.First {
				require.GreaterOrEqual(t, extent.Oldest, in.Hot.Oldest, "%s: step %d of hot", query, i)
			} else {
				require.LessOrEqual(t, min(extent.Newest, in.Now), in.Cold.Newest, "%s: step %d of cold", query, i)
			}
			if in.Fresh.Milliseconds() < in.Now-cut.Grid.At(i) && i >= cut.First {
				require.Equal(t, cut.Latest, cut.First, "an old step is hot's only where cold does not have it")
			}
		}
		require.LessOrEqual(t, cut.Grid.At(cut.Grid.Len()-1), cut.Grid.End)
		require.Greater(t, cut.Grid.At(cut.Grid.Len()), cut.Grid.End)
	}
	require.Greater(t, cuts, 300, "enough of them are cut")
}
