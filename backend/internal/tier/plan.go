package tier

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// ErrNoTier is returned by Plan when neither tier is configured.
var ErrNoTier = errors.New("the datasource has neither a hot nor a cold tier: configure one in the datasource or in the gateway")

// State is what is known of one tier at the time of a request.
type State struct {
	// Configured is set when the datasource has this tier.
	Configured bool
	// Available is set when the tier answered its last probe and, for hot,
	// when its samples are fresh.
	Available bool
	// Oldest is the timestamp from which on the tier has its samples, in
	// milliseconds since the Unix epoch. It is read for hot only: cold reaches
	// back to the beginning. Where it could not be measured it is
	// NothingCovered.
	Oldest int64
	// Newest is the timestamp up to which the tier has its samples, in
	// milliseconds since the Unix epoch: now for hot, now − lag for cold.
	Newest int64
	// Missing are stretches within Oldest and Newest for which the tier lacks samples of a
	// metric that the request reads.
	Missing []Missing
	// Notes say why answers of the tier may be incomplete although it answers,
	// one sentence per note, without a line break.
	Notes []Note
}

// NothingCovered is the Oldest of a tier whose coverage is not known: no
// extent lies in it.
const NothingCovered int64 = math.MaxInt64

// Input is everything that a decision depends on.
type Input struct {
	// Extent is what the request reads.
	Extent promql.Extent
	// Forced is the tier the request names, or empty.
	Forced Name
	// ColdParameter is the name of a request parameter that only cold knows,
	// or empty.
	ColdParameter string
	// Hot and Cold are the states of the tiers.
	Hot, Cold State
	// Threshold is the span from which on cold answers.
	Threshold time.Duration
	// Now is the time of the request in milliseconds since the Unix epoch:
	// no sample can be newer.
	Now int64
	// Completeness says whether series outside of hot can match. CompletenessWhy
	// says why, in words for people.
	Completeness    Completeness
	CompletenessWhy string
	// NoSource is set if no single source of hot has all series that the request reads, whatever
	// hot covers. Completeness is then Incomplete.
	NoSource bool
	// Unlabelled says why hot cannot answer with its external labels. It is empty
	// where hot can, or need not.
	Unlabelled string
	// HasOwnValue is set for a request for the values of an external label of hot, of which hot can
	// answer with its own one. Unlabelled is not empty then: if it is available, cold answers.
	HasOwnValue bool
	// Source names the source of hot, by its external labels, if hot has several and the caller may
	// see them. Otherwise it is empty.
	Source string
	// Unmeasured is a metric that the request reads and of which it is not known yet what
	// cold holds. It is empty if that is known of all.
	Unmeasured string
	// MeasuringFailed is set if that is so because a tier failed, and not only because it has
	// not answered yet.
	MeasuringFailed bool
	// Younger is such a metric that hot may have for a shorter time than cold: as far as is known,
	// it does not have the metric from the beginning of what is read. It is empty without one.
	Younger string
	// EmptyBefore is set when hot, assumed to be complete, answered this query with
	// nothing a short while ago.
	EmptyBefore bool
	// OnlyTier is the only tier that serves the endpoint, or empty.
	OnlyTier Name
	// HotReplicated is set when hot is one of several replicas: another one may
	// hold what it does not.
	HotReplicated bool
	// OtherReplicas are what hot lacks and another replica of it has. Cold has none of it.
	OtherReplicas []Missing
	// Union is set for requests whose answers from both tiers can be joined.
	// UnionWhenIncomplete is set where they are joined whenever hot may lack something.
	Union, UnionWhenIncomplete bool

	// Detailed is set for callers who may see how the tiers are configured. Texts may
	// then name external labels and sources.
	Detailed bool

	quiet bool // set where the texts of the rules are not read
}

// Decision is the outcome of the routing rules.
type Decision struct {
	// Tier is the tier to ask.
	Tier Name
	// Reason says which rule decided.
	Reason Reason
	// Rule is the number of that rule.
	Rule int
	// Fallback is the tier to ask when Tier fails, or empty. FallbackReason is the
	// reason then.
	Fallback       Name
	FallbackReason Reason
	// FallbackOnEmpty is set when cold gets the query too if hot's answer is empty.
	FallbackOnEmpty bool
	// Warnings say why the answer may differ from that of one Prometheus
	// holding all the data. Each is one sentence without a line break.
	Warnings []string
	// FallbackWarnings take the place of Warnings when Fallback answered.
	FallbackWarnings []string
}

// rules are the routing rules in order, from rule 1. Each returns its decision and why it
// applies, or a decision without a tier and why not. The last one always applies.
var rules = [...]func(Input) (Decision, string){
	Input.forced,
	Input.onlyOne,
	when(Input.holdsMoreThanHot, Input.olderThanHot),
	when(Input.notInHot, func(in Input) Decision { return in.cold(ReasonNotInHot) }),
	Input.notInCold,
	when(Input.belowThreshold, func(in Input) Decision {
		if in.EmptyBefore && in.ColdCovers() {
			return in.cold(ReasonHotEmpty)
		}
		return in.hot(ReasonBelowThreshold)
	}),
	func(in Input) (Decision, string) {
		decision := in.cold(ReasonAtOrAboveThreshold)
		if in.Hot.Available {
			// The rules before say that hot covers the extent and is complete.
			decision.Fallback, decision.FallbackReason = Hot, ReasonColdFailed
			decision.FallbackWarnings = in.assumedWarnings()
		}
		return decision, in.notLess()
	},
}

// when returns a rule that decides where a condition holds.
func when(applies func(Input) (bool, string), decide func(Input) Decision) func(Input) (Decision, string) {
	return func(in Input) (Decision, string) {
		holds, why := applies(in)
		if !holds {
			return Decision{}, why
		}
		return decide(in), why
	}
}

// Plan applies the routing rules in order and returns the first decision.
// It returns ErrNoTier when there is nothing to choose from.
func Plan(in Input) (Decision, error) {
	decision, _, err := explain(in, false)
	return decision, err
}

// Step is what one rule says of a request.
type Step struct {
	// Rule is its number, from 1.
	Rule int
	// Applies is set for the rule that decides.
	Applies bool
	// Why says why it applies, or why not, in one line.
	Why string
}

// Explain returns the decision of Plan and what every rule up to the one that
// decided says.
func Explain(in Input) (Decision, []Step, error) { return explain(in, true) }

// Sentence says in one line for people which tier answers and why. in is the input
// that Plan made the decision from.
func (d Decision) Sentence(in Input) string {
	why := string(d.Reason)
	if _, steps, _ := Explain(in); len(steps) > 0 {
		why = steps[len(steps)-1].Why
	}
	if d.Tier == Both && (d.Rule == 5 || d.Rule == 6) {
		why = "either may hold what the other lacks"
	}
	switch d.Reason {
	case ReasonSplit:
		why = "each answers its part of the time range"
	case ReasonHotEmpty:
		why = "hot had nothing for this query a short while ago, and cold may have something"
	default:
	}
	if d.Tier == Both {
		return "hot and cold answer: " + why
	}
	return fmt.Sprintf("%s answers: %s", d.Tier, why)
}

func explain(in Input, withSteps bool) (Decision, []Step, error) {
	if !in.Hot.Configured && !in.Cold.Configured {
		return Decision{}, nil, ErrNoTier
	}
	var (
		warnings []string
		steps    []Step
	)
	in.quiet = !withSteps
	for i, rule := range rules {
		decision, why := rule(in)
		if withSteps {
			steps = append(steps, Step{i + 1, decision.Tier != "", why})
		}
		warnings = append(warnings, decision.Warnings...)
		if decision.Tier != "" {
			decision.Rule, decision.Warnings = i+1, warnings
			return decision, steps, nil
		}
	}
	panic("the last routing rule always applies")
}

// forced is rule 1: the request names the tier. If the datasource does not have it, the
// decision names no tier and carries a warning.
func (in Input) forced() (Decision, string) {
	name, reason, why := in.Forced, ReasonForced, in.say("the request asks for the %s tier", in.Forced)
	if name == "" && in.ColdParameter != "" {
		name, reason, why = Cold, ReasonColdParameter, in.say("the query carries the parameter %s, which only cold knows", in.ColdParameter)
	}
	switch {
	case name == "":
		return Decision{}, "the request leaves the choice to the rules"
	case !in.state(name).Configured:
		missing := fmt.Sprintf("the request asks for the %s tier, which this datasource does not have", name)
		return Decision{Warnings: []string{missing}}, missing
	case name == Cold:
		return Decision{Tier: Cold, Reason: reason, Warnings: in.coverageWarnings(Cold)}, why
	}
	return Decision{Tier: Hot, Reason: reason, Warnings: append(in.coverageWarnings(Hot), in.missingSeriesWarnings()...)}, why
}

// onlyOne is rule 2: there is nothing to choose. Its decision names no tier where
// there is.
func (in Input) onlyOne() (_ Decision, why string) {
	only := func(name Name, reason Reason, why string, warnings ...string) (Decision, string) {
		return Decision{Tier: name, Reason: reason, Warnings: append(in.coverageWarnings(name), warnings...)}, why
	}
	switch {
	case in.OnlyTier != "" && in.state(in.OnlyTier).Configured:
		return Decision{Tier: in.OnlyTier, Reason: ReasonOnlyTier}, fmt.Sprintf("only the %s tier serves this endpoint", in.OnlyTier)
	case !in.Cold.Configured && !in.HotReplicated && len(in.Hot.Notes) == 0 && len(in.missingSeriesWarnings()) == 0:
		// All the data there is is hot's: nothing can be missing.
		return Decision{Tier: Hot, Reason: ReasonOnlyTier}, "there is no cold tier"
	case !in.Cold.Configured:
		return only(Hot, ReasonOnlyTier, "there is no cold tier", in.missingSeriesWarnings()...)
	case !in.Hot.Configured:
		return only(Cold, ReasonOnlyTier, "there is no hot tier")
	case !in.Hot.Available && in.Cold.Available:
		return only(Cold, ReasonHotUnavailable, in.hotUnavailable())
	case in.Hot.Available && !in.Cold.Available:
		return only(Hot, ReasonColdUnavailable, in.coldUnavailable(), slices.Concat(in.missingSeriesWarnings(), in.assumedWarnings())...)
	case !in.Hot.Available:
		return Decision{}, "neither tier is available, so both are tried"
	}
	return Decision{}, "both tiers are available"
}

// holdsMoreThanHot is rule 3: hot lacks something, and cold holds more. Answers to
// requests for metadata are joined instead of compared.
func (in Input) holdsMoreThanHot() (bool, string) {
	if in.NoSource {
		return false, "no source of hot has all series that the query reads"
	}
	lacks, why := in.hotLacks()
	if lacks && !in.Union && in.hotHoldsMore() {
		return false, why + ", but cold lacks more of what the query reads"
	}
	if !lacks && in.Younger != "" && !in.MeasuringFailed && in.ColdCovers() {
		return true, in.say("it is not known yet whether cold has older samples of %s than hot", in.Younger)
	}
	return lacks, why
}

// olderThanHot is the decision for cold. Hot takes its place if hot is only not known to hold
// everything.
func (in Input) olderThanHot() Decision {
	decision := in.cold(ReasonOlderThanHot)
	if lacks, _ := in.hotLacks(); !lacks && decision.Tier == Cold {
		decision.Fallback, decision.FallbackReason = Hot, ReasonColdFailed
		decision.FallbackWarnings = slices.Concat(in.hotCoverageWarnings(), in.assumedWarnings())
	}
	return decision
}

// hotLacks reports whether hot lacks samples that the request reads.
func (in Input) hotLacks() (bool, string) {
	starts, why := in.startsBeforeHot()
	if list := in.missing(Hot); !starts && len(list) > 0 {
		return true, "hot " + list[0].String()
	}
	return starts, why
}

// startsBeforeHot reports whether the request reads samples from before hot's coverage.
func (in Input) startsBeforeHot() (bool, string) {
	switch {
	case in.Extent.Nothing:
		return false, "the query reads no sample"
	case in.Hot.Oldest == NothingCovered:
		return true, "it is not known from when on hot holds data"
	case in.Extent.Oldest < in.Hot.Oldest:
		return true, in.say("the query reads samples from %s on, and hot's begin at %s", moment(in.Extent.Oldest), moment(in.Hot.Oldest))
	}
	return false, in.say("hot holds its samples from %s on", moment(in.Hot.Oldest))
}

// notInHot is rule 4. It includes queries that need labels which hot cannot give.
func (in Input) notInHot() (bool, string) {
	switch {
	case in.Extent.Nothing:
		return false, "the query reads no series"
	case in.Completeness == Incomplete:
		return true, in.CompletenessWhy
	case in.Unlabelled != "":
		return true, in.Unlabelled
	}
	return false, in.CompletenessWhy
}

// notInCold is rule 5: cold lacks something. The rules before say that hot has all of
// it, or more than cold, and that hot is complete.
func (in Input) notInCold() (Decision, string) {
	ends, why := in.endsAfterCold()
	list := in.missing(Cold)
	for _, each := range list {
		if each.To != End || each.never() {
			return in.hot(ReasonNotInCold), "cold " + each.String()
		}
	}
	switch {
	case len(list) > 0:
		return in.hot(ReasonNewerThanCold), "cold " + list[0].String()
	case ends:
		return in.hot(ReasonNewerThanCold), why
	case in.Unmeasured != "" && in.Extent.Span >= in.Threshold && in.MeasuringFailed:
		return in.hot(ReasonColdFailed), in.say("cold failed when tierproxy compared its samples of %s with those of hot", in.Unmeasured)
	case in.Unmeasured != "" && in.Extent.Span >= in.Threshold:
		return in.hot(ReasonNotInCold), in.say("it is not known yet whether cold has all samples of %s", in.Unmeasured)
	}
	return Decision{}, why
}

// endsAfterCold reports whether the request reads samples from after cold's coverage.
func (in Input) endsAfterCold() (bool, string) {
	newest := in.newest()
	if in.Extent.Nothing || newest <= in.Cold.Newest {
		return false, "cold holds what the query reads up to its end"
	}
	return true, in.say("the query reads samples up to %s, and cold holds them up to %s", moment(newest), moment(in.Cold.Newest))
}

// belowThreshold is rule 6.
func (in Input) belowThreshold() (bool, string) {
	if in.Extent.Nothing {
		return true, "the query reads no samples"
	}
	if in.Extent.Span < in.Threshold {
		return true, in.say("the query reads %s at once, less than the threshold of %s, and hot holds it all", stretch(in.Extent.Span), stretch(in.Threshold))
	}
	return false, in.notLess()
}

// notLess says that the span is not below the threshold.
func (in Input) notLess() string {
	return in.say("the query reads %s at once, which is not less than the threshold of %s", stretch(in.Extent.Span), stretch(in.Threshold))
}

// hot is the decision for hot, with cold behind it. That hot may be incomplete
// after all is checked where cold covers what is read.
func (in Input) hot(reason Reason) Decision {
	return Decision{
		Tier: Hot, Reason: reason, Warnings: in.hotCoverageWarnings(), Fallback: Cold, FallbackReason: ReasonHotFailed, FallbackWarnings: in.coverageWarnings(Cold),
		FallbackOnEmpty: in.Completeness == Assumed && !in.Extent.Nothing && in.ColdCovers(),
	}
}

// cold is the decision for cold, or for both where only their union holds
// that is selected.
func (in Input) cold(reason Reason) Decision {
	missing := in.coverageWarnings(Cold)
	if in.Hot.Available && ((in.Union && !in.ColdCovers()) || in.UnionWhenIncomplete) {
		decision := Decision{Tier: Both, Reason: reason, Warnings: Texts(in.Cold.Notes, in.Detailed)}
		if in.Hot.Oldest > in.Cold.Newest || in.neitherHolds() {
			decision.Warnings = missing
		}
		return decision
	}
	return Decision{Tier: Cold, Reason: reason, Warnings: missing}
}

// ColdCovers reports whether cold holds all that the query reads, up to its end.
func (in Input) ColdCovers() bool {
	return in.Extent.Nothing || (in.newest() <= in.Cold.Newest && len(in.missing(Cold)) == 0)
}

func (in Input) state(name Name) State {
	if name == Hot {
		return in.Hot
	}
	return in.Cold
}

// say formats what a rule says. It returns nothing in a decision that is not
// explained, as most are.
func (in Input) say(format string, arguments ...any) string {
	if in.quiet {
		return ""
	}
	return fmt.Sprintf(format, arguments...)
}
