package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// emptyPeek bounds how much of an answer is read to see that it is empty, in bytes,
// and how much that is when it is decompressed.
const emptyPeek = 4 << 10

// retryOnInconclusive queries the other tier if an answer is inconclusive. If that fails,
// the first answer counts.
func (e *Engine) retryOnInconclusive(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		response, err := next(ctx, a)
		if err != nil {
			return nil, err
		}
		reason := a.inconclusive(response)
		if reason == "" {
			return response, nil
		}
		other := a.plan.attempt(tier.Decision{Tier: otherThan(a.Tier), Reason: reason, Warnings: a.FallbackWarnings})
		e.options.OnRetry(Next(other.Tier))
		answer, err := next(ctx, other)
		if err == nil && answer.Status < http.StatusBadRequest {
			_ = response.Body.Close()
			return answer, nil
		}
		if err == nil {
			_ = answer.Body.Close()
		}
		return response, nil
	}
}

// askInMetricsQL asks again, as a VictoriaMetrics has to be asked, if one turns out to answer: without the
// parameters for it, it may have moved the times of the query.
func (e *Engine) askInMetricsQL(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		response, err := next(ctx, a)
		if err != nil || a.isMetricsQL || !response.isMetricsQL || response.Status >= http.StatusMultipleChoices {
			return response, err
		}
		_ = response.Body.Close()
		return next(ctx, a.inMetricsQL())
	}
}

// otherThan returns the other tier.
func otherThan(name tier.Name) tier.Name {
	if name == tier.Cold {
		return tier.Hot
	}
	return tier.Cold
}

// inconclusive returns the reason to query the other tier: hot failed on a rewritten
// query, the tier does not know the endpoint, or hot has nothing and was only assumed
// to have everything. It is empty if the answer counts.
func (a attempt) inconclusive(response *Response) tier.Reason {
	p := a.plan
	switch {
	case !a.followsRules() || a.Rule == 1 || p.tier(otherThan(a.Tier)) == nil:
		return ""
	case a.Tier == tier.Hot && response.Status >= http.StatusBadRequest && p.hot != p.query.Request &&
		a.Fallback == tier.Cold && p.Input.ColdCovers():
		// It may be the rewriting that fails. If cold fails too, it is not.
		return tier.ReasonHotFailed
	case response.isUnknown() && p.traits().Routing.Has(promapi.Elsewhere):
		return tier.ReasonOnlyTier
	case a.FallbackOnEmpty && response.Status < http.StatusMultipleChoices && response.isEmpty():
		p.replica.Catalog.RememberEmpty(p.key)
		return tier.ReasonHotEmpty
	}
	return ""
}

// isUnknown reports whether the status means that the server does not know the endpoint. For a
// VictoriaMetrics, that is a bad request.
func (r *Response) isUnknown() bool {
	switch r.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	case http.StatusBadRequest:
		return !r.plan.traits().Evaluates() && r.plan.isVictoriaMetrics(r.Tier)
	}
	return false
}

// isEmpty reports whether the answer holds nothing. It looks at its start, and the
// answer can still be read as it came in.
func (r *Response) isEmpty() bool {
	isCompressed := r.encoding() == promapi.EncodingGzip
	text, err := r.peek(1)
	for len(text) < emptyPeek && err == nil && (isCompressed || promapi.MayBeEmpty(text)) {
		text, err = r.peek(len(text) + 1) // It waits for no more than it needs.
	}
	if !errors.Is(err, io.EOF) {
		return false
	}
	if isCompressed {
		unzipped, err := unzip(bytes.NewReader(text))
		if err != nil {
			return false
		}
		if text, err = io.ReadAll(io.LimitReader(unzipped, emptyPeek)); err != nil {
			return false
		}
	}
	return promapi.IsEmpty(text)
}
