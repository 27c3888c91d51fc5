package catalog

import (
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// keyOf returns the request key of a call. It is zero unless the times of the evaluation are
// part of the request, because otherwise the answer depends on the current time.
func keyOf(request *promapi.Request, made *upstream.Outgoing) admission.RequestKey {
	traits := request.Endpoint.Traits()
	if !traits.NamesTimes() || (traits.Times == promapi.OneTime && !request.Parameters.Has("time")) {
		return admission.RequestKey{}
	}
	return admission.RequestKey{
		Method: made.Method, Path: made.Path, RawQuery: made.RawQuery, Body: string(made.Body),
		Accept: strings.Join(made.Header["Accept"], ","), AcceptEncoding: strings.Join(made.Header["Accept-Encoding"], ","),
	}
}
