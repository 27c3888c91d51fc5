package tier

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
)

// Sentence says in one line for people which tier answers and why. in is the
// input that Plan made the decision from.
func (d Decision) Sentence(in Input) string {
	return fmt.Sprintf("%s answers: %s", d.Tier, d.because(in))
}

func (d Decision) because(in Input) string {
	span := durationText(in.Extent.Span)
	threshold := durationText(in.Threshold)
	switch d.Reason {
	case ReasonForced:
		return "the query asks for this tier"
	case ReasonColdParameter:
		return fmt.Sprintf("the query carries the parameter %s, which only cold knows", in.ColdParameter)
	case ReasonOnlyTier:
		_, why := in.onlyOne()
		return why
	case ReasonHotUnavailable:
		return "the hot tier is unavailable"
	case ReasonColdUnavailable:
		return "the cold tier is unavailable"
	case ReasonOlderThanHot:
		if in.Hot.Oldest == NothingCovered {
			return "it is not known from when on hot holds data"
		}
		return fmt.Sprintf("the query reads samples from %s on, and hot's begin at %s", formatTime(in.Extent.Oldest), formatTime(in.Hot.Oldest))
	case ReasonNotInHot:
		_, why := in.notInHot()
		return why
	case ReasonNewerThanCold:
		_, why := in.endsAfterCold()
		return why
	case ReasonHotEmpty:
		return "hot had nothing for this query a short while ago, and cold may have something"
	case ReasonColdFailed:
		return "the cold tier failed, and hot holds all that the query reads"
	case ReasonBelowThreshold:
		if in.Extent.Nothing {
			return "the query reads no samples"
		}
		return fmt.Sprintf("the query reads %s at once, less than the threshold of %s, and hot holds it all", span, threshold)
	case ReasonAtOrAboveThreshold:
		return fmt.Sprintf("the query reads %s at once, which is not less than the threshold of %s", span, threshold)
	case ReasonHotFailed:
		return "the hot tier failed when it was asked"
	case ReasonConfined:
		return "no series that the query selects is in the namespaces it is confined to"
	case ReasonSplit:
		return "each answers its part of the time range"
	}
	return string(d.Reason)
}

func durationText(duration time.Duration) string {
	if duration == math.MaxInt64 {
		return "everything"
	}
	return model.Duration(duration).String()
}
