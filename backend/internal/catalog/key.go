package catalog

import (
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// keyOf returns what other calls a call is the same as: the zero Key where the
// answer must not be shared.
func keyOf(request *promapi.Request, made *upstream.Outgoing) admission.RequestKey {
	if !shareable(request) {
		return admission.RequestKey{}
	}
	return admission.RequestKey{
		Method: made.Method, Path: made.Path, RawQuery: made.RawQuery, Body: string(made.Body),
		Accept: strings.Join(made.Header["Accept"], ","), AcceptEncoding: strings.Join(made.Header["Accept-Encoding"], ","),
	}
}

// shareable tells whether the answer to a request does not depend on when
// exactly it is asked: the times of an evaluation are part of it.
func shareable(request *promapi.Request) bool {
	switch request.Endpoint {
	case promapi.QueryRange, promapi.QueryExemplars, promapi.Series, promapi.Labels, promapi.LabelValues:
		return true
	case promapi.Query:
		return request.Parameters.Has("time")
	default:
		return false
	}
}
