// Package tier holds the routing rules. It decides which tier answers a query from the
// extent of the query, the coverage of the tiers, and evidence of which series they
// hold. It also decides where a query is cut.
//
// It is pure: no I/O, no clock and no log, so that a decision can be repeated from its
// inputs alone. It imports no more of this project than promql.
package tier

// Name is the name of a tier as it appears on the wire: in the X-Tier header,
// in metric labels and in the X-Tier-Choice request header.
type Name string

const (
	// Hot is Prometheus itself: recent data, fast.
	Hot Name = "hot"
	// Cold is the long-term store: everything, slower.
	Cold Name = "cold"
	// Both stands for an answer that joins the answers of both tiers: their union,
	// or parts of the time range. No request can choose it.
	Both Name = "hot,cold"
)

// Other returns the other one of the two tiers.
func (n Name) Other() Name {
	if n == Hot {
		return Cold
	}
	return Hot
}

// Names lists both tiers, hot first.
func Names() []Name { return []Name{Hot, Cold} }

// Reason says why a tier was chosen. Its values are fixed: they appear in the
// X-Tier-Reason header, in metric labels and in logs.
type Reason string

const (
	// ReasonForced says that the request named the tier in its X-Tier-Choice header.
	ReasonForced Reason = "forced"
	// ReasonColdParameter says that the request carries a parameter that only cold knows.
	ReasonColdParameter Reason = "cold-parameter"
	// ReasonOnlyTier says that the datasource has one tier only, or only one
	// serves the endpoint.
	ReasonOnlyTier Reason = "only-tier"
	// ReasonHotUnavailable says that the last probe of hot failed, or its samples
	// are not fresh.
	ReasonHotUnavailable Reason = "hot-unavailable"
	// ReasonColdUnavailable says that the last probe of cold failed.
	ReasonColdUnavailable Reason = "cold-unavailable"
	// ReasonOlderThanHot says that the query reads samples from before hot's coverage.
	ReasonOlderThanHot Reason = "older-than-hot"
	// ReasonNotInHot says that series outside of hot may match, or the query needs
	// hot's external labels in a way that hot cannot answer.
	ReasonNotInHot Reason = "not-in-hot"
	// ReasonNewerThanCold says that the query reads samples that cold does not have yet.
	ReasonNewerThanCold Reason = "newer-than-cold"
	// ReasonNotInCold says that cold lacks a metric that the query reads: it never got it, or
	// not for some time, or it is not known yet whether it has it.
	ReasonNotInCold Reason = "not-in-cold"
	// ReasonBelowThreshold says that hot covers the query and its span is below the threshold.
	ReasonBelowThreshold Reason = "below-threshold"
	// ReasonAtOrAboveThreshold says that the span of the query is the threshold or longer.
	ReasonAtOrAboveThreshold Reason = "at-or-above-threshold"
	// ReasonHotFailed says that hot failed, so cold answered instead.
	ReasonHotFailed Reason = "hot-failed"
	// ReasonHotEmpty says that hot's answer was empty while hot was only assumed to be
	// complete, so cold answered instead.
	ReasonHotEmpty Reason = "hot-empty"
	// ReasonColdFailed says that cold failed, so hot answered instead.
	ReasonColdFailed Reason = "cold-failed"
	// ReasonSplit says that the query was cut, and both tiers answered a part.
	ReasonSplit Reason = "split"
	// ReasonConfined says that the request is confined to namespaces, and no series
	// that it selects is in one of them. tierproxy answered by itself.
	ReasonConfined Reason = "confined"
)

// Reasons lists every reason for which a tier answers: all but ReasonConfined.
// Metrics initialise their labels with it.
func Reasons() []Reason {
	return []Reason{
		ReasonForced, ReasonColdParameter, ReasonOnlyTier, ReasonHotUnavailable, ReasonColdUnavailable,
		ReasonOlderThanHot, ReasonNotInHot, ReasonNewerThanCold, ReasonNotInCold, ReasonBelowThreshold, ReasonAtOrAboveThreshold,
		ReasonHotFailed, ReasonHotEmpty, ReasonColdFailed, ReasonSplit,
	}
}
