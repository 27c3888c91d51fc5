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
	// Incomplete says: some series that match may be outside of hot, or nothing is
	// known.
	Incomplete Completeness = iota
	// Assumed says: cold cannot tell its sources, so hot is taken to be complete.
	Assumed
	// Complete says: no series outside of hot matches.
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

// SeriesEvidence is what was learned of a hot and a cold tier together. It is not
// changed after it was made, so that decisions can share it.
type SeriesEvidence struct {
	// Declared is set when the operator says that hot is complete.
	Declared bool
	// HotLabels are hot's external labels without replica labels. They mean
	// nothing unless HotLabelsKnown is set.
	HotLabels      map[string]string
	HotLabelsKnown bool
	// Sources are the external label sets of cold without replica labels.
	// They mean nothing unless SourcesKnown is set: not every cold tier tells.
	Sources      []map[string]string
	SourcesKnown bool
	// HotNames are the metric names that hot holds; OtherNames those that
	// other sources of cold hold. nil where they are not known.
	HotNames, OtherNames NameSet
	// InjectedLabels are the external labels that hot's series carry in cold and not
	// in hot, replica labels left out.
	InjectedLabels map[string]string
	// ConflictingLabels are those of them that series of hot carry themselves, so that
	// they cannot be added.
	ConflictingLabels []string

	others []map[string]string // the sources that are not hot
	serial uint64              // tells it from all others
}

var serials atomic.Uint64

// onlyHot says that no other source has a series that matches.
const onlyHot = "only hot has these metrics"

type completeness struct {
	is         Completeness
	why        Note
	understood bool
}

// NewSeriesEvidence completes what was learned. Its argument must not be changed
// afterwards.
func NewSeriesEvidence(learned SeriesEvidence) *SeriesEvidence {
	learned.serial = serials.Add(1)
	learned.others = nil
	for _, source := range learned.Sources {
		if !learned.HotLabelsKnown || !maps.Equal(source, learned.HotLabels) {
			learned.others = append(learned.others, source)
		}
	}
	return &learned
}

// OnlySource tells whether all that cold holds comes from hot.
func (k *SeriesEvidence) OnlySource() bool { return k != nil && k.SourcesKnown && len(k.others) == 0 }

// Completeness reports whether hot is complete for every one of the selectors,
// and why it is not, in words for people. understood is false where the
// selectors cannot be had, which makes hot incomplete.
//
// key identifies the selectors, so that the result is remembered. They are
// called for where it is not. Where the selectors name metrics by a pattern,
// comparing it with the known names ends with ctx, and hot counts as incomplete.
func (k *SeriesEvidence) Completeness(ctx context.Context, key promql.Key, selectors func() ([]promql.Selector, error)) (is Completeness, why Note, understood bool) {
	if k == nil {
		found := k.completeness(ctx, selectors)
		return found.is, found.why, found.understood
	}
	found := promql.Remembered(promql.KeyOf("completeness", strconv.FormatUint(k.serial, 16), string(key[:])), func() (completeness, int) {
		found := k.completeness(ctx, selectors)
		if errors.Is(ctx.Err(), context.Canceled) {
			return found, promql.Forget // Its caller has gone.
		}
		return found, len(found.why.Detail) + len(found.why.Public)
	})
	return found.is, found.why, found.understood
}

func (k *SeriesEvidence) completeness(ctx context.Context, selectors func() ([]promql.Selector, error)) completeness {
	list, err := selectors()
	switch {
	case err != nil:
		line, _, _ := strings.Cut(err.Error(), "\n")
		return completeness{is: Incomplete, why: PublicNote("the query is not understood here: " + line)}
	case len(list) == 0:
		return completeness{is: Complete, why: PublicNote("no series is read"), understood: true}
	case k == nil:
		return completeness{is: Incomplete, why: PublicNote("it is not known yet what the tiers hold"), understood: true}
	case k.Declared:
		return completeness{is: Complete, why: PublicNote("the operator declares that hot is complete"), understood: true}
	}
	result := completeness{is: Complete, understood: true}
	for i, selector := range list {
		is, why := k.ofSelector(ctx, selector)
		if i == 0 || is < result.is {
			result.is, result.why = is, why
		}
	}
	return result
}

func (k *SeriesEvidence) ofSelector(ctx context.Context, selector promql.Selector) (Completeness, Note) {
	names, finite := finiteNames(selector)
	if !k.SourcesKnown {
		if missing, some := k.missingFrom(names, finite); some {
			return Incomplete, PublicNote("hot has no metric " + missing)
		}
		return Assumed, PublicNote("cold cannot tell its sources, so hot is taken to be complete")
	}
	if len(k.others) == 0 {
		return Complete, PublicNote("hot is the only source")
	}
	if k.pins(selector) {
		return Complete, Note{Detail: "the selector names hot's own external labels", Public: onlyHot}
	}
	if k.HotNames == nil || k.OtherNames == nil {
		return Incomplete, PublicNote("cold has other sources, and it is not known which metrics they hold")
	}
	if !finite {
		return k.ofPattern(ctx, selector)
	}
	if missing, some := k.missingFrom(names, finite); some {
		return Incomplete, PublicNote("hot has no metric " + missing)
	}
	for _, name := range names {
		if _, elsewhere := k.OtherNames[name]; elsewhere {
			return Incomplete, PublicNote(fmt.Sprintf("another source than hot has the metric %s too", name))
		}
	}
	return Complete, PublicNote(onlyHot)
}

// missingFrom returns a name that hot does not hold.
func (k *SeriesEvidence) missingFrom(names []string, finite bool) (string, bool) {
	if !finite || k.HotNames == nil {
		return "", false
	}
	for _, name := range names {
		if _, there := k.HotNames[name]; !there {
			return name, true
		}
	}
	return "", false
}

// ofPattern decides for a selector whose metric names are not a finite list:
// the names that are known now are held against it.
func (k *SeriesEvidence) ofPattern(ctx context.Context, selector promql.Selector) (Completeness, Note) {
	if selector.MatchesName("") {
		return Incomplete, PublicNote("cold has other sources, and the selector names no metric")
	}
	if name, found := k.OtherNames.matching(ctx, selector); found {
		return Incomplete, Note{
			Detail: fmt.Sprintf("another source than hot has the metric %s", name), Public: "another source than hot has a metric of such a name",
		}
	}
	_, found := k.HotNames.matching(ctx, selector)
	switch {
	case ctx.Err() != nil:
		return Incomplete, PublicNote("cold has other sources, and it takes too long to compare the pattern with the names of their metrics")
	case found:
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

// pins tells whether the selector names external labels of hot by equality in
// such a way that no other source matches. A source that lacks such a label may
// still have series with it; it is ruled out only when all of hot's labels are
// named.
func (k *SeriesEvidence) pins(selector promql.Selector) bool {
	if !k.HotLabelsKnown || len(k.HotLabels) == 0 {
		return false
	}
	pinned := map[string]bool{}
	for _, matcher := range selector {
		if value, is := k.HotLabels[matcher.Name]; is && matcher.Type == labels.MatchEqual && matcher.Value == value {
			pinned[matcher.Name] = true
		}
	}
	if len(pinned) == len(k.HotLabels) {
		return true
	}
	return !slices.ContainsFunc(k.others, func(source map[string]string) bool {
		for name := range pinned {
			if value, has := source[name]; has && value != k.HotLabels[name] {
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
	kept := make([]string, 0, len(names))
	for _, name := range names {
		if selector.MatchesName(name) {
			kept = append(kept, name)
		}
	}
	// The empty name stands for series without a name: no list of names has it.
	if slices.Contains(kept, "") {
		return nil, false
	}
	return kept, true
}

// Others returns the external label sets of cold's sources that are not hot.
func (k *SeriesEvidence) Others() []map[string]string { return k.others }
