package engine

import (
	"errors"
	"net/http"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// VictoriaMetrics evaluates MetricsQL. Its answers are told apart from those of PromQL, and it computes
// a part of a query differently from the same steps of the whole: it guesses the scrape interval from
// the samples that it reads.

// languageError is why a query is not answered in pieces.
type languageError tier.Name

// Error returns the reason.
func (e languageError) Error() string {
	return "the " + string(e) + " tier is a VictoriaMetrics: its language MetricsQL is not PromQL, and its answers to parts of a query differ from its answer to the whole"
}

// recognize notes which tiers evaluate the query in MetricsQL.
func (p *Plan) recognize() {
	evaluates := p.traits().Evaluates()
	p.hotIsMetricsQL, p.coldIsMetricsQL = evaluates && p.isVictoriaMetrics(tier.Hot), evaluates && p.isVictoriaMetrics(tier.Cold)
}

// isVictoriaMetrics reports whether a tier is known to be one.
func (p *Plan) isVictoriaMetrics(name tier.Name) bool {
	asked := p.tier(name)
	return asked != nil && asked.SpeaksMetricsQL()
}

// speaksMetricsQL reports whether a tier is known to evaluate the query in MetricsQL.
func (p *Plan) speaksMetricsQL(name tier.Name) bool {
	return (name == tier.Hot && p.hotIsMetricsQL) || (name == tier.Cold && p.coldIsMetricsQL)
}

// inItsLanguage returns the attempt as the server of its tier has to be asked.
func (a attempt) inItsLanguage() attempt {
	asked := a.plan.tier(a.Tier)
	if asked == nil || !a.plan.traits().Evaluates() {
		return a
	}
	if a.plan.speaksMetricsQL(a.Tier) {
		a = a.inMetricsQL()
	}
	if !asked.IsRecognized() {
		a.reading = max(a.reading, lookedAt) // It may need a warning.
	}
	return a
}

// inMetricsQL returns the attempt for a VictoriaMetrics, whose answer gets a warning.
func (a attempt) inMetricsQL() attempt {
	a.isMetricsQL, a.reading = true, max(a.reading, lookedAt)
	a.request = a.request.With(upstream.MetricsQLParameters())
	return a
}

// recognize notes whether the answer is one of a VictoriaMetrics.
func (r *Response) recognize(a attempt) {
	asked := a.plan.tier(a.Tier)
	r.isMetricsQL = a.plan.traits().Evaluates() && asked.IsMetricsQL(r.Header)
}

// addLanguageWarning adds the warning for an answer that was evaluated in MetricsQL.
func (r *Response) addLanguageWarning() {
	warning := r.plan.rangeEndsWarning(r.Tier)
	if r.isMetricsQL {
		warning = promapi.MetricsQLWarningFor(r.plan.query.Request.Endpoint)
	}
	if warning != "" && !slices.Contains(r.Warnings, warning) {
		r.Warnings = append(slices.Clone(r.Warnings), warning)
	}
}

// LanguageWarning returns the warning that an answer of the chosen tier gets because of its language, or
// an empty string.
func (p *Plan) LanguageWarning() string {
	if p.Tier == tier.Both || !p.speaksMetricsQL(p.Tier) {
		return p.rangeEndsWarning(p.Tier)
	}
	return promapi.MetricsQLWarningFor(p.query.Request.Endpoint)
}

// IsApart reports whether the steps of the answer must not stand beside those of another one, because
// the two tiers evaluate differently.
func (r *Response) IsApart() bool { return r.isMetricsQL || r.plan.closed != "" }

// fromMetricsQL gives an error of a VictoriaMetrics the status and the type that Prometheus gives it, and
// takes the query out of its message.
func (r *Response) fromMetricsQL(of promapi.Error) promapi.Error {
	of.Message = promapi.WithoutQuotedQuery(of.Message)
	query := r.plan.query.Request.Parameters.Get("query")
	switch {
	case of.Status == http.StatusUnprocessableEntity || of.Status == http.StatusBadRequest:
		if _, err := promql.Parse(query); err != nil {
			return *promapi.InvalidParameter("query", err)
		}
	case of.Status == http.StatusServiceUnavailable && promapi.IsMetricsQLTimeout(of.Message):
		of.Type, of.Message = promapi.ErrorTimeout, "query timed out in expression evaluation"
	}
	return of
}

// errOtherLanguage means that a piece of a query was evaluated in another language than expected.
var errOtherLanguage = errors.New("another server answers than before, in another query language")
