package tier

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// Strategy says whether a query belongs to one tier, or may be cut.
type Strategy string

const (
	// StrategyRoute sends a query to one tier.
	StrategyRoute Strategy = "route"
	// StrategySplit sends the newest steps of a range query to hot and the older ones
	// to cold.
	StrategySplit Strategy = "split"
)

// Grid is the evaluation times of a range query: Start, Start + Step and so on,
// not after End. All three are in milliseconds.
type Grid struct{ Start, End, Step int64 }

// Len returns the number of evaluation times.
func (g Grid) Len() int { return int((g.End-g.Start)/g.Step) + 1 }

// At returns an evaluation time in milliseconds since the Unix epoch; 0 is the
// index of the first.
func (g Grid) At(i int) int64 { return g.Start + int64(i)*g.Step }

// Index returns the index of the first evaluation time that is not before the
// given one. It may lie outside of the grid.
func (g Grid) Index(at int64) int {
	distance := at - g.Start
	index := distance / g.Step
	if distance%g.Step > 0 {
		index++
	}
	return int(index)
}

// maxSteps is how many steps a Prometheus evaluates at most; it refuses more.
const maxSteps = 11_000

// NewGrid returns the evaluation times of a range query. It returns an error
// that says why they are not the same at every server.
func NewGrid(start, end time.Time, step time.Duration) (Grid, error) {
	if step < time.Millisecond || step%time.Millisecond != 0 {
		return Grid{}, errors.New("its step is not a whole number of milliseconds, which servers round")
	}
	if end.Sub(start)/step > maxSteps {
		return Grid{}, fmt.Errorf("it has more than %d steps, which a tier refuses", maxSteps)
	}
	return Grid{Start: start.UnixMilli(), End: end.UnixMilli(), Step: step.Milliseconds()}, nil
}

// CutInput is what a cut depends on besides the Input of the decision.
type CutInput struct {
	Input
	// Grid are the evaluation times.
	Grid Grid
	// Fresh is how far back from now the steps of hot go: the larger of threshold and
	// freshness.
	Fresh time.Duration
	// ExtentAt returns what the query, its times frozen, reads at one evaluation
	// time. Both ends of it must not move back while time goes on.
	ExtentAt func(at int64) (promql.Extent, error)
	// ReplicasAccepted is set where steps from one of several replicas of hot are
	// accepted beside those of cold.
	ReplicasAccepted bool
}

// Cut says which steps of a range query hot answers, and which cold.
type Cut struct {
	// Grid are the evaluation times.
	Grid Grid
	// Runs are the steps of both tiers, in order. Neighbours belong to different tiers.
	Runs []Run
	// Earliest bounds where else the last run can begin, if it is of hot: hot covers all
	// steps from Earliest on.
	Earliest int
}

// Run is a number of successive steps that one tier answers. First and Last are indexes,
// both inclusive.
type Run struct {
	Tier        Name
	First, Last int
}

// Steps returns the number of steps that a tier answers.
func (c *Cut) Steps(name Name) (steps int) {
	for _, run := range c.Runs {
		if run.Tier == name {
			steps += run.Last - run.First + 1
		}
	}
	return steps
}

// ErrNothingToCut is wrapped where all steps belong to the tier that the rules
// name anyhow.
var ErrNothingToCut = errors.New("all steps belong to one tier")

// errBelowThreshold is why most queries are not cut.
var errBelowThreshold = fmt.Errorf("%w: its span is below the threshold", ErrNothingToCut)

// PlanCut decides where a range query is cut, after the rules have made their
// decision about the whole of it. It returns an error that says, for people, why the
// query is not cut.
func PlanCut(in CutInput, decision Decision) (Cut, error) {
	switch {
	case decision.Rule == 1:
		return Cut{}, errors.New("the request asks for one tier")
	case decision.Rule == 2:
		return Cut{}, errors.New("there is only one tier to ask")
	case decision.Rule == 4:
		return Cut{}, errors.New("hot does not have every series")
	case decision.Rule == 6:
		return Cut{}, errBelowThreshold
	case !in.Hot.Available:
		return Cut{}, errors.New("the tiers are not available")
	case in.Completeness == Incomplete || in.Unlabelled != "":
		return Cut{}, errors.New("hot may not have every series")
	case in.EmptyBefore:
		return Cut{}, errors.New("hot had nothing for it a short while ago, and cold may have something")
	case in.HotReplicated && !in.ReplicasAccepted:
		return Cut{}, errors.New("hot has several replicas, and split_across_replicas of the gateway, or splitAcrossReplicas of the datasource, is false")
	case len(in.Cold.Notes) > 0:
		return Cut{}, errors.New("the answer of cold may not be complete")
	case in.Unmeasured != "":
		return Cut{}, errors.New("it is not known yet whether cold has all samples of " + in.Unmeasured)
	}
	return in.cut()
}

// mostRuns is the maximum number of runs: each of them is a query.
const mostRuns = 8

func (in CutInput) cut() (Cut, error) {
	steps := in.Grid.Len()
	var failed error
	// first returns the index of the first step of which something holds that
	// holds for all later ones too.
	first := func(holds func(promql.Extent) bool) int {
		return sort.Search(steps, func(i int) bool {
			extent, err := in.ExtentAt(in.Grid.At(i))
			failed = errors.Join(failed, err)
			return extent.Nothing || holds(extent)
		})
	}
	// lacking returns the steps that read what a tier lacks.
	lacking := func(name Name) (list []Run) {
		for _, each := range in.missing(name) {
			list = append(list, Run{
				Tier:  name,
				First: first(func(extent promql.Extent) bool { return min(extent.Newest, in.Now) > each.From }),
				Last:  first(func(extent promql.Extent) bool { return extent.Oldest >= each.To }) - 1,
			})
		}
		return list
	}
	earliest := first(func(extent promql.Extent) bool { return extent.Oldest >= in.Hot.Oldest })
	latest := first(func(extent promql.Extent) bool { return min(extent.Newest, in.Now) > in.Cold.Newest })
	notHot := append(lacking(Hot), Run{Tier: Hot, First: 0, Last: earliest - 1})
	notCold := append(lacking(Cold), Run{Tier: Cold, First: latest, Last: steps - 1})
	switch {
	case failed != nil:
		return Cut{}, fmt.Errorf("what it reads at each step is not known: %w", failed)
	case earliest > latest:
		return Cut{}, errors.New("some of its steps are too old for hot and too new for cold")
	}
	return in.runs(in.Grid.Index(in.Now-in.Fresh.Milliseconds()), notHot, notCold)
}

// runs makes the runs of a cut: hot answers the steps from one on, except those that it
// cannot answer, and before that those that cold cannot answer.
func (in CutInput) runs(firstHot int, notHot, notCold []Run) (Cut, error) {
	contains := func(list []Run, step int) bool {
		return slices.ContainsFunc(list, func(run Run) bool { return run.First <= step && step <= run.Last })
	}
	cut, steps := Cut{Grid: in.Grid}, in.Grid.Len()
	for step := range steps {
		name := Cold
		switch hotLacks, coldLacks := contains(notHot, step), contains(notCold, step); {
		case hotLacks && coldLacks:
			return Cut{}, errors.New("some of its steps read what neither tier has as a whole")
		case coldLacks || (step >= firstHot && !hotLacks):
			name = Hot
		}
		if last := len(cut.Runs) - 1; last >= 0 && cut.Runs[last].Tier == name {
			cut.Runs[last].Last = step
		} else {
			cut.Runs = append(cut.Runs, Run{name, step, step})
		}
	}
	for _, run := range notHot {
		cut.Earliest = max(cut.Earliest, run.Last+1)
	}
	switch {
	case len(cut.Runs) > mostRuns:
		return Cut{}, fmt.Errorf("it would take more than %d parts", mostRuns)
	case len(cut.Runs) > 1:
		return cut, nil
	case cut.Runs[0].Tier == Hot:
		return Cut{}, fmt.Errorf("%w: hot holds them all, and none is old", ErrNothingToCut)
	}
	return cut, fmt.Errorf("%w: none is new", ErrNothingToCut)
}

// Split is the decision for a query that is cut.
func (in Input) Split(routed Decision) Decision {
	return Decision{
		Tier: Both, Reason: ReasonSplit, Rule: routed.Rule, Warnings: in.replicaWarnings(),
		Fallback: Cold, FallbackReason: ReasonHotFailed, FallbackWarnings: in.coverageWarnings(Cold),
	}
}

// HotFailed is the decision for a query whose steps at hot have failed: the
// whole of it belongs to cold.
func (in Input) HotFailed() Decision {
	return Decision{Tier: Cold, Reason: ReasonHotFailed, Warnings: in.coverageWarnings(Cold)}
}

// HotEmpty is the same where hot has nothing and was only assumed to have
// everything.
func (in Input) HotEmpty() Decision {
	return Decision{Tier: Cold, Reason: ReasonHotEmpty, Warnings: in.coverageWarnings(Cold)}
}

// ColdFailed is the decision for a query whose steps at cold have failed: the
// whole of it belongs to hot where hot covers it, otherwise there is none.
func (in Input) ColdFailed() (Decision, bool) {
	if lacks, _ := in.hotLacks(); lacks || in.Completeness == Incomplete || in.Unlabelled != "" || !in.Hot.Available {
		return Decision{}, false
	}
	return Decision{Tier: Hot, Reason: ReasonColdFailed, Warnings: append(in.assumedWarnings(), in.replicaWarnings()...)}, true
}
