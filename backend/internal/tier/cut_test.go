package tier

import (
	"errors"
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
		"it is not known what cold has":                  {query: `up`, span: day, change: func(in *CutInput) { in.Unmeasured = "up" }, why: "whether cold has all samples of up"},
		"too many parts":                                 {query: `up`, span: 5 * hour, change: holes, why: "more than 8 parts"},
		"what a step reads is not known":                 {query: `up`, span: day, change: unknownSteps, why: "what it reads at each step is not known: no idea"},
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
			require.Len(t, cut.Runs, 2)
			require.Equal(t, []Name{Cold, Hot}, []Name{cut.Runs[0].Tier, cut.Runs[1].Tier})
			require.Equal(t, test.first, now.Sub(time.UnixMilli(cut.Grid.At(cut.Runs[1].First))))
		})
	}
}

// holes makes cold lack every other half hour.
func holes(in *CutInput) {
	for ago := 5 * hour; ago > 30*minute; ago -= hour {
		in.Cold.Missing = append(in.Cold.Missing, Missing{Metric: "up", From: before(ago), To: before(ago - 30*minute)})
	}
	in.Fresh = 0
}

func unknownSteps(in *CutInput) {
	in.ExtentAt = func(int64) (promql.Extent, error) { return promql.Extent{}, errors.New("no idea") }
}

func TestPlanCut_StepsOfEachTier(t *testing.T) {
	cut := Cut{Runs: []Run{{Hot, 0, 3}, {Cold, 4, 4}, {Hot, 5, 6}}}
	require.Equal(t, []int{6, 1, 0}, []int{cut.Steps(Hot), cut.Steps(Cold), cut.Steps(Both)})
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
	cuts, pieces := 0, 0
	for range 3000 {
		query := queries[random.Intn(len(queries))]
		step := max(time.Millisecond, duration(10*minute))
		span := min(duration(day), 300*step)
		in, decision := cutInput(t, query, span, step, func(in *CutInput) {
			in.Hot.Oldest = before(duration(12 * hour))
			in.Cold.Newest = before(duration(4 * hour))
			in.Fresh = duration(2 * hour)
			in.Threshold = duration(hour)
			for _, state := range []*State{&in.Hot, &in.Cold} {
				for range random.Intn(3) {
					to := before(duration(day))
					state.Missing = append(state.Missing, Missing{Metric: "up", From: to - duration(4*hour).Milliseconds(), To: to})
				}
			}
		})
		cut, err := PlanCut(in, decision)
		if err != nil {
			continue
		}
		cuts++
		pieces += len(cut.Runs)
		require.Greater(t, len(cut.Runs), 1, "both have a step")
		requireHeld(t, query, &in, &cut)
		require.LessOrEqual(t, cut.Grid.At(cut.Grid.Len()-1), cut.Grid.End)
		require.Greater(t, cut.Grid.At(cut.Grid.Len()), cut.Grid.End)
	}
	require.Greater(t, cuts, 200, "enough of them are cut")
	require.Greater(t, pieces, 2*cuts+100, "many into more than two pieces")
}

// requireHeld requires that every step belongs to a tier that holds what it reads.
func requireHeld(t *testing.T, query string, in *CutInput, cut *Cut) {
	t.Helper()
	next := 0
	for _, run := range cut.Runs {
		require.Equal(t, next, run.First)
		require.LessOrEqual(t, run.First, run.Last)
		for i := run.First; i <= run.Last; i++ {
			extent, err := in.ExtentAt(cut.Grid.At(i))
			require.NoError(t, err)
			step := in.Input
			step.Extent = extent
			require.Empty(t, step.lacked(run.Tier), "%s: step %d of %s", query, i, run.Tier)
			if in.Fresh.Milliseconds() < in.Now-cut.Grid.At(i) && run.Tier == Hot {
				isEarlier := run.First < cut.Runs[len(cut.Runs)-1].First
				require.True(t, isEarlier || len(step.lacked(Cold)) > 0 || in.lacksLater(Cold, extent), "an old step is hot's only where cold does not have it")
			}
			if i >= cut.Earliest {
				require.Empty(t, step.lacked(Hot), "%s: step %d from the earliest on", query, i)
			}
		}
		next = run.Last + 1
	}
	require.Equal(t, cut.Grid.Len(), next)
}

// lacksLater reports whether cold ends before the newest time that can be read.
func (in Input) lacksLater(name Name, extent promql.Extent) bool {
	in.Extent = extent
	return min(extent.Newest, in.Now) > in.state(name).Newest
}

func TestPlanCut_AHoleInTheMiddleIsTwoCuts(t *testing.T) {
	hole := func(from, to time.Duration) Missing { return Missing{Metric: "up", From: before(from), To: before(to)} }
	for name, test := range map[string]struct {
		query string
		span  time.Duration
		hot   []Missing
		cold  []Missing
		runs  []Run
		why   string
	}{
		"cold has a hole": {
			query: "up", span: 5 * hour, cold: []Missing{hole(150*minute, 90*minute)},
			// An instant selector reads five minutes: the step 90 min + 5 min ago is the first that reads nothing of the hole.
			runs: []Run{{Cold, 0, 150}, {Hot, 151, 214}, {Cold, 215, 284}, {Hot, 285, 300}},
		},
		"a window touches it longer": {
			query: "rate(up[30m])", span: 5 * hour, cold: []Missing{hole(150*minute, 90*minute)},
			runs: []Run{{Cold, 0, 150}, {Hot, 151, 239}, {Cold, 240, 284}, {Hot, 285, 300}},
		},
		"hot has a hole, too": {
			query: "up", span: 5 * hour, cold: []Missing{hole(150*minute, 90*minute)}, hot: []Missing{hole(12*minute, 8*minute)},
			runs: []Run{{Cold, 0, 150}, {Hot, 151, 214}, {Cold, 215, 284}, {Hot, 285, 288}, {Cold, 289, 296}, {Hot, 297, 300}},
		},
		"cold has not had it for a while": {
			query: "up", span: day, cold: []Missing{{Metric: "up", From: before(3 * hour), To: End}},
			runs: []Run{{Cold, 0, 1260}, {Hot, 1261, 1440}},
		},
		"hot has not had it before":   {query: "up", span: 5 * hour, hot: []Missing{{Metric: "up", From: Beginning, To: before(10 * minute)}}, runs: []Run{{Cold, 0, 294}, {Hot, 295, 300}}},
		"neither has a part":          {query: "up", span: 5 * hour, cold: []Missing{hole(150*minute, 90*minute)}, hot: []Missing{hole(100*minute, 80*minute)}, why: "neither tier has"},
		"the hole is older than hot":  {query: "up", span: day, cold: []Missing{hole(10*hour, 9*hour)}, why: "neither tier has"},
		"cold never had it":           {query: "up", span: day, cold: []Missing{{Metric: "up", From: Beginning, To: End}}, why: "neither tier has"},
		"cold never had it, nor need": {query: "up", span: 5 * hour, cold: []Missing{{Metric: "up", From: Beginning, To: End}}, why: "one tier"},
	} {
		t.Run(name, func(t *testing.T) {
			in, decision := cutInput(t, test.query, test.span, minute, func(in *CutInput) { in.Hot.Missing, in.Cold.Missing = test.hot, test.cold })
			cut, err := PlanCut(in, decision)
			if test.why != "" {
				require.ErrorContains(t, err, test.why)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.runs, cut.Runs)
		})
	}
}
