package tier

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
)

// coverageWarnings names the stretch of the extent that lies outside the coverage of
// the tier that answers.
func (in Input) coverageWarnings(name Name) []string {
	switch {
	case in.Extent.Nothing:
		return nil
	case name == Hot:
		return in.hotCoverageWarnings()
	}
	var warnings []string
	if in.newest() > in.Cold.Newest {
		warnings = []string{fmt.Sprintf("the cold tier answered, whose data ends at %s, but the query reads samples up to %s: what lies between may be missing",
			moment(in.Cold.Newest), moment(in.newest()))}
	}
	return slices.Concat(warnings, in.missingWarnings(Cold), Texts(in.Cold.Notes, in.Detailed))
}

func (in Input) hotCoverageWarnings() []string {
	if starts, _ := in.startsBeforeHot(); !starts {
		return append(in.missingWarnings(Hot), in.replicaWarnings()...)
	}
	if len(in.Hot.Notes) > 0 {
		return Texts(in.Hot.Notes, in.Detailed)
	}
	if in.Hot.Oldest == NothingCovered {
		return []string{"the hot tier answered, and it is not known from when on it holds data: samples may be missing"}
	}
	return append(in.missingWarnings(Hot), fmt.Sprintf("the hot tier answered, whose data begins at %s, but the query reads samples from %s on: what lies between is missing",
		moment(in.Hot.Oldest), moment(in.Extent.Oldest)))
}

// missingSeriesWarnings warns that series of other sources may be missing from hot's
// answer. Without a cold tier there are no other sources.
func (in Input) missingSeriesWarnings() []string {
	if in.Extent.Nothing || (!in.Cold.Configured && in.CompletenessWhy == "") {
		return nil
	}
	if in.Completeness == Incomplete {
		return []string{fmt.Sprintf("the hot tier answered, which may not have every series that matches: %s", in.CompletenessWhy)}
	}
	if in.Unlabelled != "" && !in.HasOwnValue {
		return []string{fmt.Sprintf("the hot tier answered, whose series lack its external labels: %s", in.Unlabelled)}
	}
	return nil
}

// assumedWarnings warns that hot is only assumed to be complete.
func (in Input) assumedWarnings() []string {
	if in.Completeness == Assumed && !in.Extent.Nothing {
		return []string{"the hot tier answered because the cold tier failed, and it is only assumed that hot has every series that matches"}
	}
	return nil
}

// hotUnavailable says that hot is unavailable, and which source if it has several.
func (in Input) hotUnavailable() string {
	if in.Source != "" {
		return in.say("the source %s of the hot tier is unavailable", in.Source)
	}
	return "the hot tier is unavailable"
}

// coldUnavailable says that cold is unavailable, and what hot answers instead if that is not all.
func (in Input) coldUnavailable() string {
	if in.HasOwnValue {
		return "the cold tier is unavailable, and hot has its own value of the external label"
	}
	return "the cold tier is unavailable"
}

// moment is a time in milliseconds since the Unix epoch.
type moment int64

// String returns it for people to read.
func (m moment) String() string {
	if m == math.MinInt64 {
		return "the beginning"
	}
	return time.UnixMilli(int64(m)).UTC().Format(time.RFC3339)
}

// stretch is a stretch of time.
type stretch time.Duration

// String returns it for people to read.
func (s stretch) String() string {
	if s == math.MaxInt64 {
		return "everything"
	}
	return model.Duration(s).String()
}
