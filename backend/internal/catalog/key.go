package catalog

import (
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// keyOf returns the request key of a call; the zero key if its answer must not be
// shared.
func keyOf(request *promapi.Request, made *upstream.Outgoing) admission.RequestKey {
	if !shareable(request) {
		return admission.RequestKey{}
	}
	return admission.RequestKey{
		Method: made.Method, Path: made.Path, RawQuery: made.RawQuery, Body: string(made.Body),
		Accept: strings.Join(made.Header["Accept"], ","), AcceptEncoding: strings.Join(made.Header["Accept-Encoding"], ","),
	}
}

// shareable reports whether identical requests may share an answer: the times of the
// evaluation are part of the request, so that the answer does not depend on now.
func shareable(request *promapi.Request) bool {
	traits := request.Endpoint.Traits()
	return traits.NamesTimes() && (traits.Times != promapi.OneTime || request.Parameters.Has("time"))
}
