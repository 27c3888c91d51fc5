package tier

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// NameSet is a set of metric names.
type NameSet map[string]struct{}

// NewNameSet returns the set of the given names.
func NewNameSet(names []string) NameSet {
	set := make(NameSet, len(names))
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}

// SeriesEvidence says which series a hot and a cold tier hold. It never changes, so
// that decisions can share it.
type SeriesEvidence struct {
	// Declared is set when the operator says that hot is complete.
	Declared bool
	// HotLabels are hot's external labels without replica labels. They are
	// meaningless unless HotLabelsKnown is set.
	HotLabels      map[string]string
	HotLabelsKnown bool
	// Sources are the external label sets of cold without replica labels. They are
	// meaningless unless SourcesKnown is set: not every cold tier has such an API.
	Sources      []map[string]string
	SourcesKnown bool
	// HotNames are the metric names that hot holds. OtherNames are those that other
	// sources of cold hold. They are nil where they are not known.
	HotNames, OtherNames NameSet
	// InjectedLabels are the external labels that hot's series carry in cold and not
	// in hot, replica labels left out.
	InjectedLabels map[string]string
	// ConflictingLabels are those of them that series of hot carry themselves. They
	// cannot be injected.
	ConflictingLabels []string

	others []map[string]string // the sources that are not hot
	serial uint64              // of this evidence alone
}

var serials atomic.Uint64

// onlyHot says that no other source has a series that matches.
const onlyHot = "only hot has these metrics"

type completeness struct {
	is         Completeness
	why        Note
	understood bool
}

// NewSeriesEvidence returns evidence that decisions can be based on. Nothing that its
// argument refers to may change afterwards.
func NewSeriesEvidence(e SeriesEvidence) *SeriesEvidence {
	e.serial = serials.Add(1)
	e.others = slices.DeleteFunc(slices.Clone(e.Sources), func(source map[string]string) bool {
		return e.HotLabelsKnown && maps.Equal(source, e.HotLabels)
	})
	return &e
}

// OnlySource reports whether all that cold holds comes from hot.
func (e *SeriesEvidence) OnlySource() bool { return e != nil && e.SourcesKnown && len(e.others) == 0 }

// Others returns the external label sets of the sources of cold that are not hot.
func (e *SeriesEvidence) Others() []map[string]string { return e.others }

// Completeness reports whether hot is complete for every one of the selectors, and
// why, in words for people. If selectors returns an error, hot is incomplete and
// understood is false.
//
// The result is remembered by key, which identifies the selectors. selectors is only
// called where it is not. A pattern for names of metrics is compared with the known
// names until ctx ends. After that, hot counts as incomplete.
func (e *SeriesEvidence) Completeness(ctx context.Context, key promql.Key, selectors func() ([]promql.Selector, error)) (is Completeness, why Note, understood bool) {
	if e == nil {
		result := e.completeness(ctx, selectors)
		return result.is, result.why, result.understood
	}
	result := promql.Remembered(promql.KeyOf("completeness", strconv.FormatUint(e.serial, 16), string(key[:])), func() (completeness, int) {
		result := e.completeness(ctx, selectors)
		if errors.Is(ctx.Err(), context.Canceled) {
			return result, promql.Forget // Its caller has gone.
		}
		return result, len(result.why.Detail) + len(result.why.Public)
	})
	return result.is, result.why, result.understood
}

func (e *SeriesEvidence) completeness(ctx context.Context, selectors func() ([]promql.Selector, error)) completeness {
	list, err := selectors()
	switch {
	case err != nil:
		line, _, _ := strings.Cut(err.Error(), "\n")
		return completeness{is: Incomplete, why: PublicNote("the query is not understood here: " + line)}
	case len(list) == 0:
		return completeness{is: Complete, why: PublicNote("no series is read"), understood: true}
	case e == nil:
		return completeness{is: Incomplete, why: PublicNote("it is not known yet what the tiers hold"), understood: true}
	case e.Declared:
		return completeness{is: Complete, why: PublicNote("the operator declares that hot is complete"), understood: true}
	}
	result := completeness{is: Complete, understood: true}
	for i, selector := range list {
		is, why := e.ofSelector(ctx, selector)
		if i == 0 || is < result.is {
			result.is, result.why = is, why
		}
	}
	return result
}

func (e *SeriesEvidence) ofSelector(ctx context.Context, selector promql.Selector) (Completeness, Note) {
	names, finite := finiteNames(selector)
	if !e.SourcesKnown {
		if missing, some := e.missingFrom(names); some {
			return Incomplete, PublicNote("hot has no metric " + missing)
		}
		return Assumed, PublicNote("cold cannot tell its sources, so hot is taken to be complete")
	}
	if len(e.others) == 0 {
		return Complete, PublicNote("hot is the only source")
	}
	if e.pins(selector) {
		return Complete, Note{Detail: "the selector names hot's own external labels", Public: onlyHot}
	}
	if e.HotNames == nil || e.OtherNames == nil {
		return Incomplete, PublicNote("cold has other sources, and it is not known which metrics they hold")
	}
	if !finite {
		return e.ofPattern(ctx, selector)
	}
	if missing, some := e.missingFrom(names); some {
		return Incomplete, PublicNote("hot has no metric " + missing)
	}
	for _, name := range names {
		if _, elsewhere := e.OtherNames[name]; elsewhere {
			return Incomplete, PublicNote(fmt.Sprintf("another source than hot has the metric %s too", name))
		}
	}
	return Complete, PublicNote(onlyHot)
}

// missingFrom returns a name that hot does not hold.
func (e *SeriesEvidence) missingFrom(names []string) (string, bool) {
	for _, name := range names {
		if _, there := e.HotNames[name]; !there && e.HotNames != nil {
			return name, true
		}
	}
	return "", false
}

// ofPattern decides for a selector whose metric names are not a finite list. It
// compares the selector with the names that are known now.
func (e *SeriesEvidence) ofPattern(ctx context.Context, selector promql.Selector) (Completeness, Note) {
	if selector.MatchesName("") {
		return Incomplete, PublicNote("cold has other sources, and the selector names no metric")
	}
	if name, isElsewhere := e.OtherNames.matching(ctx, selector); isElsewhere {
		return Incomplete, Note{
			Detail: fmt.Sprintf("another source than hot has the metric %s", name), Public: "another source than hot has a metric of such a name",
		}
	}
	_, isInHot := e.HotNames.matching(ctx, selector)
	switch {
	case ctx.Err() != nil:
		return Incomplete, PublicNote("cold has other sources, and it takes too long to compare the pattern with the names of their metrics")
	case isInHot:
		return Complete, PublicNote("only hot has metrics of such names")
	}
	return Incomplete, PublicNote("hot has no metric of such a name")
}

// matching returns a name that the selector matches. It gives up when ctx ends.
func (s NameSet) matching(ctx context.Context, selector promql.Selector) (string, bool) {
	for name := range s {
		if ctx.Err() != nil {
			return "", false
		}
		if selector.MatchesName(name) {
			return name, true
		}
	}
	return "", false
}

// pins reports whether the selector names external labels of hot by equality so that
// no other source matches. A source that lacks such a label may still have series
// with it. It is ruled out only when the selector names all of hot's labels.
func (e *SeriesEvidence) pins(selector promql.Selector) bool {
	if !e.HotLabelsKnown || len(e.HotLabels) == 0 {
		return false
	}
	pinned := map[string]bool{}
	for _, matcher := range selector {
		if value, is := e.HotLabels[matcher.Name]; is && matcher.Type == labels.MatchEqual && matcher.Value == value {
			pinned[matcher.Name] = true
		}
	}
	if len(pinned) == len(e.HotLabels) {
		return true
	}
	return !slices.ContainsFunc(e.others, func(source map[string]string) bool {
		for name := range pinned {
			if value, has := source[name]; has && value != e.HotLabels[name] {
				return false
			}
		}
		return true
	})
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
