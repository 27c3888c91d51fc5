package promapi

import (
	"regexp"
	"strings"
)

// MetricsQLWarning begins the warning for an answer that a VictoriaMetrics has evaluated. It is about the
// query, not about missing data.
const MetricsQLWarning = "VictoriaMetrics answered, in MetricsQL instead of PromQL: "

const (
	metricsQLDifferences = "rate() and increase() do not extrapolate and may differ by 15% or more, some functions keep the name of the metric, and series may begin and end at other steps"
	// latencyOffsetRepeats is true of range queries only.
	latencyOffsetRepeats = "; steps of the last 30s repeat an older value, unless its -search.latencyOffset or the parameter latency_offset says otherwise"
)

// MetricsQLWarningFor returns the warning for an answer of a VictoriaMetrics at an endpoint that evaluates
// a query.
func MetricsQLWarningFor(endpoint Endpoint) string {
	if endpoint.Traits().Times == EachStep {
		return MetricsQLWarning + metricsQLDifferences + latencyOffsetRepeats
	}
	return MetricsQLWarning + metricsQLDifferences
}

// IsAboutLanguage reports whether a warning is MetricsQLWarningFor an endpoint.
func IsAboutLanguage(warning string) bool { return strings.HasPrefix(warning, MetricsQLWarning) }

// quotedQuery is how VictoriaMetrics begins its errors: with the query as it has got it.
var quotedQuery = regexp.MustCompile(`^error when executing query="(?:[^"\\]|\\.)*" (?:for|on the time range) \([^)]*\): `)

// WithoutQuotedQuery returns the message of an error of VictoriaMetrics without the query, which may
// have been rewritten.
func WithoutQuotedQuery(message string) string { return quotedQuery.ReplaceAllString(message, "") }

// IsMetricsQLTimeout reports whether the message is that of a VictoriaMetrics whose time was over.
func IsMetricsQLTimeout(message string) bool {
	return strings.Contains(message, "timeout exceeded") || strings.Contains(message, "deadline exceeded")
}
