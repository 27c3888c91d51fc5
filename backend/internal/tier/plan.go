package tier

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrNoTier is returned by Plan when neither tier is configured.
var ErrNoTier = errors.New("the datasource has neither a hot nor a cold tier: configure one in the datasource or in the gateway")

// State is what is known of one tier at the time of a request.
type State struct {
	// Configured is set when the datasource has this tier.
	Configured bool
	// Available is set when the tier answered its last probe.
	Available bool
	// Oldest is the timestamp of the tier's oldest sample in milliseconds
	// since the Unix epoch. It is read for hot only: cold reaches back to
	// the beginning. Where it could not be measured it is NothingCovered.
	Oldest int64
	// Newest is the timestamp up to which the tier has its samples, in
	// milliseconds since the Unix epoch: now for hot, now − lag for cold.
	Newest int64
}

// NothingCovered is the Oldest of a tier whose coverage is not known: no
// extent lies in it.
const NothingCovered int64 = math.MaxInt64

// Input is everything that a decision depends on.
type Input struct {
	// Extent is what the request reads.
	Extent Extent
	// Forced is the tier the request names, or empty.
	Forced Name
	// ColdParameter is the name of a request parameter that only cold knows,
	// or empty.
	ColdParameter string
	// Hot and Cold are the states of the tiers.
	Hot, Cold State
	// Threshold is the span from which on cold is asked.
	Threshold time.Duration
	// Now is the time of the request in milliseconds since the Unix epoch:
	// no sample can be newer.
	Now int64
}

// Decision is the outcome of the routing rules.
type Decision struct {
	// Tier is the tier to ask.
	Tier Name
	// Reason says which rule decided.
	Reason Reason
	// Fallback is the tier to ask when Tier fails, or empty.
	Fallback Name
	// Warnings say why the answer may differ from that of one Prometheus
	// holding all the data. Each is one sentence without a line break.
	Warnings []string
	// FallbackWarnings take the place of Warnings when Fallback answered.
	FallbackWarnings []string
}

// Plan applies the routing rules in order and returns the first decision.
// It returns ErrNoTier when there is nothing to choose from.
func Plan(in Input) (Decision, error) {
	if !in.Hot.Configured && !in.Cold.Configured {
		return Decision{}, ErrNoTier
	}
	var notes []string
	if forced, reason := in.forced(); forced != "" {
		if in.state(forced).Configured {
			return Decision{Tier: forced, Reason: reason, Warnings: in.missing(forced)}, nil
		}
		notes = append(notes, fmt.Sprintf("the request asks for the %s tier, which this datasource does not have", forced))
	}
	decision := in.choose()
	decision.Warnings = append(notes, decision.Warnings...)
	return decision, nil
}

// forced is rule 1: the tier that the request itself asks for.
func (in Input) forced() (Name, Reason) {
	switch {
	case in.Forced != "":
		return in.Forced, ReasonForced
	case in.ColdParameter != "":
		return Cold, ReasonColdParameter
	}
	return "", ""
}

// choose is the rules from the second on. At least one tier is configured.
func (in Input) choose() Decision {
	switch {
	case !in.Cold.Configured:
		// All the data there is is hot's: nothing can be missing.
		return Decision{Tier: Hot, Reason: ReasonOnlyTier}
	case !in.Hot.Configured:
		return Decision{Tier: Cold, Reason: ReasonOnlyTier, Warnings: in.missing(Cold)}
	case !in.Hot.Available && in.Cold.Available:
		return Decision{Tier: Cold, Reason: ReasonHotUnavailable, Warnings: in.missing(Cold)}
	case in.Hot.Available && !in.Cold.Available:
		return Decision{Tier: Hot, Reason: ReasonColdUnavailable, Warnings: in.missing(Hot)}
	case in.startsBeforeHot():
		return Decision{Tier: Cold, Reason: ReasonOlderThanHot, Warnings: in.missing(Cold)}
	case in.Extent.Nothing || in.Extent.Span < in.Threshold:
		return Decision{Tier: Hot, Reason: ReasonBelowThreshold, Fallback: Cold, FallbackWarnings: in.missing(Cold)}
	}
	return Decision{Tier: Cold, Reason: ReasonAtOrAboveThreshold, Warnings: in.missing(Cold)}
}

func (in Input) startsBeforeHot() bool {
	return !in.Extent.Nothing && in.Extent.Oldest < in.Hot.Oldest
}

func (in Input) state(name Name) State {
	if name == Hot {
		return in.Hot
	}
	return in.Cold
}

// missing names the stretch of the extent that lies outside the coverage of a
// tier which is asked all the same.
func (in Input) missing(name Name) []string {
	if in.Extent.Nothing {
		return nil
	}
	switch name {
	case Hot:
		if !in.startsBeforeHot() {
			return nil
		}
		if in.Hot.Oldest == NothingCovered {
			return []string{"the hot tier answered, and it is not known from when on it holds data: samples may be missing"}
		}
		return []string{fmt.Sprintf("the hot tier answered, whose data begins at %s, but the query reads samples from %s on: what lies between is missing",
			formatTime(in.Hot.Oldest), formatTime(in.Extent.Oldest))}
	default:
		newest := min(in.Extent.Newest, in.Now)
		if newest <= in.Cold.Newest {
			return nil
		}
		return []string{fmt.Sprintf("the cold tier answered, whose data ends at %s, but the query reads samples up to %s: what lies between may be missing",
			formatTime(in.Cold.Newest), formatTime(newest))}
	}
}

func formatTime(milliseconds int64) string {
	if milliseconds == math.MinInt64 {
		return "the beginning"
	}
	return time.UnixMilli(milliseconds).UTC().Format(time.RFC3339)
}
