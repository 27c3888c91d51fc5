package tier

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// Completeness says whether a series outside of hot could match a request.
type Completeness int

const (
	// Incomplete says that series outside of hot may match, or that nothing is known.
	Incomplete Completeness = iota
	// Assumed says that cold has no API for its sources, so hot is assumed to be
	// complete.
	Assumed
	// Complete says that no series outside of hot matches.
	Complete
)

// SeriesEvidence says which series a hot and a cold tier hold. It never changes, so
// that decisions can share it.
type SeriesEvidence struct {
	// Declared is set when the operator says that hot is complete.
	Declared bool
	// HotLabels are hot's external labels without replica labels. They are
	// meaningless unless HotLabelsKnown is set.
	HotLabels      map[string]string
	HotLabelsKnown bool
	// HotSources are the external label sets of the sources of a hot tier whose series carry
	// them, such as a Thanos Query, without replica labels. It is nil for a hot tier that is one
	// source without its labels, such as a Prometheus: then HotLabels counts.
	HotSources []map[string]string
	// Inseparable says why no few selectors match all series of other sources and none of
	// HotSources, or is empty.
	Inseparable string
	// Unlike are those of HotSources whose series differ from those in cold, and UnlikeBecause
	// says why.
	Unlike        []map[string]string
	UnlikeBecause Note
	// Refusal says why hot gets no query at all, or is the zero Note.
	Refusal Note
	// HotReplicaLabels are the names of those of hot's external labels that cold removes.
	HotReplicaLabels []string
	// Sources are the external label sets of cold without replica labels. They are
	// meaningless unless SourcesKnown is set: not every cold tier has such an API.
	Sources      []map[string]string
	SourcesKnown bool
	// InjectedLabels are the labels that hot's series carry in cold and not in hot,
	// replica labels left out. Usually, they are hot's external labels.
	InjectedLabels map[string]string
	// Unidentified is set if no series of cold is known to be one of hot. Then InjectedLabels are hot's
	// external labels, with which it would have them.
	Unidentified bool
	// Distinct are labels that all of hot's series have in cold. Series of other sources
	// differ in at least one of them. Without any, sources cannot be told apart by name.
	Distinct map[string]string
	// ConflictingLabels are those of them that series of hot carry themselves. They
	// cannot be injected.
	ConflictingLabels []string

	others []map[string]string // the sources of cold that are not hot's
	serial uint64              // of this evidence alone
}

var serials atomic.Uint64

// onlyHot says that no other source has a series that matches.
const onlyHot = "only hot has these metrics"

// NewSeriesEvidence returns evidence that decisions can be based on. Nothing that its
// argument refers to may change afterwards.
func NewSeriesEvidence(e SeriesEvidence) *SeriesEvidence {
	e.serial = serials.Add(1)
	e.others = slices.DeleteFunc(slices.Clone(e.Sources), func(source map[string]string) bool {
		return promql.ContainsLabels(e.SourcesOfHot(), source)
	})
	return &e
}

// OnlySource reports whether all that cold holds comes from hot.
func (e *SeriesEvidence) OnlySource() bool { return e != nil && e.SourcesKnown && len(e.others) == 0 }

// Others returns the external label sets of the sources of cold that are not hot's.
func (e *SeriesEvidence) Others() []map[string]string { return e.others }

// Requirement is what has to hold for hot to be complete for a request. It is immutable.
type Requirement struct {
	// Understood is set if the selectors could be parsed.
	Understood bool
	// Names are metric names that hot must have. Patterns are selectors without a finite list
	// of metric names: hot must have every name that they match in any tier.
	Names    []string
	Patterns []promql.Selector
	// Elsewhere is set if, in addition, no other source may have any of these names.
	Elsewhere bool

	is       Completeness // if all of this holds
	why      Note
	expanded int // how many of the names, the last ones, patterns match
}

// Requires returns what has to hold for hot to be complete for every one of the selectors. A
// nil SeriesEvidence stands for one that is not known yet.
//
// The result is remembered by key, which identifies the selectors. selectors is only
// called where it is not.
func (e *SeriesEvidence) Requires(key promql.Key, selectors func() ([]promql.Selector, error)) Requirement {
	if e == nil {
		return e.requires(selectors)
	}
	return promql.Remembered(promql.KeyOf("completeness", strconv.FormatUint(e.serial, 16), string(key[:])), func() (Requirement, int) {
		needed := e.requires(selectors)
		size := len(needed.why.Detail) + len(needed.why.Public)
		for _, name := range needed.Names {
			size += len(name)
		}
		for _, pattern := range needed.Patterns {
			for _, matcher := range pattern {
				size += len(matcher.Name) + len(matcher.Value)
			}
		}
		return needed, size
	})
}

func (e *SeriesEvidence) requires(selectors func() ([]promql.Selector, error)) Requirement {
	list, err := selectors()
	switch {
	case err != nil:
		line, _, _ := strings.Cut(err.Error(), "\n")
		return Requirement{why: PublicNote("the query is not understood here: " + line)}
	case len(list) == 0:
		return Requirement{Understood: true, is: Complete, why: PublicNote("no series is read")}
	case e == nil:
		return Requirement{Understood: true, why: PublicNote("it is not known yet what the tiers hold")}
	case e.Refusal != (Note{}):
		return Requirement{Understood: true, why: e.Refusal}
	case e.unlike(list):
		return Requirement{Understood: true, why: e.UnlikeBecause}
	case e.namesReplica(list):
		return Requirement{Understood: true, why: PublicNote("a selector names a replica label, which series of hot do not have")}
	case e.Declared:
		return Requirement{Understood: true, is: Complete, why: PublicNote("the operator declares that hot is complete")}
	}
	needed := Requirement{Understood: true, is: Complete, Elsewhere: e.SourcesKnown}
	for i, selector := range list {
		is, why := e.ofSelector(&needed, selector)
		if i == 0 || is < needed.is {
			needed.is, needed.why = is, why
		}
	}
	if needed.is == Incomplete {
		return Requirement{Understood: true, why: needed.why}
	}
	slices.Sort(needed.Names)
	needed.Names = slices.Compact(needed.Names)
	return needed
}

// ofSelector adds what one selector requires, and returns the completeness if that holds.
func (e *SeriesEvidence) ofSelector(needed *Requirement, selector promql.Selector) (Completeness, Note) {
	names, finite := finiteNames(selector)
	switch {
	case !e.SourcesKnown:
		needed.Names = append(needed.Names, names...)
		return Assumed, PublicNote("cold cannot tell its sources, so hot is taken to be complete")
	case len(e.others) == 0:
		return Complete, PublicNote("hot is the only source")
	case e.pins(selector):
		return Complete, Note{Detail: "the selector names hot's own external labels", Public: onlyHot}
	case e.Inseparable != "":
		return Incomplete, PublicNote("cold has other sources, and " + e.Inseparable)
	case len(e.Distinct) == 0 && e.HotSources == nil:
		return Incomplete, PublicNote("cold has other sources, and it is not known by which labels its series of hot differ from theirs")
	case finite:
		needed.Names = append(needed.Names, names...)
	case selector.MatchesName(""):
		return Incomplete, PublicNote("cold has other sources, and the selector names no metric")
	default:
		needed.Patterns = append(needed.Patterns, selector)
	}
	return Complete, PublicNote(onlyHot)
}

// Presence says whether a tier has series of a metric name.
type Presence int

const (
	// Unknown says that it is not known yet.
	Unknown Presence = iota
	// Absent says that it has none.
	Absent
	// Present says that it has some.
	Present
)

// NameEvidence is what is known of one metric name.
type NameEvidence struct {
	// Hot says whether hot has it, and Elsewhere whether another source of cold has it.
	Hot, Elsewhere Presence
}

// Completeness returns whether hot is complete, by the evidence of each metric name of the
// requirement, and why, in words for people. isKnown is false if that may change with evidence
// that is missing.
func (r Requirement) Completeness(evidence func(name string) NameEvidence) (is Completeness, why Note, isKnown bool) {
	if r.is == Incomplete {
		return Incomplete, r.why, true
	}
	var unknown string
	for i, name := range r.Names {
		known := evidence(name)
		// A name that only a pattern matches may be one of others, which not every caller may see.
		isWritten := i < len(r.Names)-r.expanded
		switch {
		case known.Hot == Absent && isWritten:
			return Incomplete, PublicNote("hot has no metric " + name), true
		case known.Hot == Absent:
			return Incomplete, Note{Detail: "hot has no metric " + name, Public: "hot has not every metric of such a name"}, true
		case r.Elsewhere && known.Elsewhere == Present && isWritten:
			return Incomplete, PublicNote(fmt.Sprintf("another source than hot has the metric %s too", name)), true
		case r.Elsewhere && known.Elsewhere == Present:
			return Incomplete, Note{
				Detail: fmt.Sprintf("another source than hot has the metric %s too", name), Public: "another source than hot has a metric of such a name",
			}, true
		case known.Hot == Unknown || (r.Elsewhere && known.Elsewhere == Unknown):
			unknown = " " + name
			if !isWritten {
				unknown = "s of such names"
			}
		}
	}
	switch {
	case unknown == "":
		return r.is, r.why, true
	case !r.Elsewhere:
		return Assumed, r.why, false
	}
	return Incomplete, PublicNote("it is not known yet whether another source has the metric" + unknown), false
}

// Expanded returns the requirement with patterns replaced by the metric names that they match,
// of those that any tier has. Without any match, or with more than most, hot is incomplete.
func (r Requirement) Expanded(ctx context.Context, names []string, most int) Requirement {
	patterns := r.Patterns
	r.Patterns = nil
	r.Names = slices.Clone(r.Names)
	for _, pattern := range patterns {
		before := len(r.Names)
		for _, name := range names {
			if ctx.Err() != nil {
				return r.refused("cold has other sources, and it takes too long to compare the pattern with the names of their metrics")
			}
			if pattern.MatchesName(name) {
				r.Names = append(r.Names, name)
				r.expanded++
			}
		}
		switch matched := len(r.Names) - before; {
		case matched == 0:
			return r.refused("hot has no metric of such a name")
		case matched > most:
			return r.refused(fmt.Sprintf("cold has other sources, and a selector matches more than %d metric names", most))
		}
	}
	return r
}

// WithoutNames returns the requirement where the metric names of the tiers are not known.
func (r Requirement) WithoutNames() Requirement {
	return r.refused("cold has other sources, and the metric names that a selector matches are not known")
}

func (r Requirement) refused(why string) Requirement {
	return Requirement{Understood: r.Understood, why: PublicNote(why)}
}

// finiteNames returns the metric names that a selector can match, when they
// are a finite list.
func finiteNames(selector promql.Selector) (names []string, finite bool) {
	for _, matcher := range selector {
		if matcher.Name != model.MetricNameLabel {
			continue
		}
		var list []string
		switch matcher.Type {
		case labels.MatchEqual:
			list = []string{matcher.Value}
		case labels.MatchRegexp:
			list = matcher.SetMatches()
		case labels.MatchNotEqual, labels.MatchNotRegexp:
		}
		if len(list) > 0 && (!finite || len(list) < len(names)) {
			names, finite = list, true
		}
	}
	if !finite {
		return nil, false
	}
	kept := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !selector.MatchesName(name) })
	// The empty name stands for series without a name: no list of names has it.
	if slices.Contains(kept, "") {
		return nil, false
	}
	return kept, true
}
