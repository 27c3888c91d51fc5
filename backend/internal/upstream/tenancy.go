package upstream

import (
	"maps"
	"net/http"
	"net/url"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Tenancy is for a tier behind a proxy that wants to be told in the URL whose
// data is asked for, as the tenancy ports of OpenShift's monitoring do, and
// permits it by the rights that the gateway has in that namespace.
type Tenancy struct {
	// Parameter is the name of the parameter, such as namespace.
	Parameter string
	// Probe is the namespace that the gateway's own questions are for.
	Probe string
}

// longestQuery is the longest query string that is put into a URL: servers and
// proxies on the way take 8 KiB for a request line at least.
const longestQuery = 7 << 10

// apply adds the namespaces that a request is confined to. A POST becomes a
// GET where it fits in a URL, because such a proxy takes a POST for an attempt
// to create something. It returns an Error with status 403 for a request that
// is not confined.
func (t *Tenancy) apply(request *promapi.Request, confinedTo []string) (method, rawQuery string, body []byte, err error) {
	if len(confinedTo) == 0 {
		return "", "", nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"this tier answers for namespaces only, and the request is confined to none: confine it, or ask the operator to confine the datasource")
	}
	namespaces := url.Values{t.Parameter: confinedTo}.Encode()
	joined := namespaces
	for _, part := range []string{request.RawQuery, string(request.Body)} {
		if part != "" {
			joined += "&" + part
		}
	}
	if request.Method == http.MethodGet || len(joined) <= longestQuery {
		return http.MethodGet, joined, nil, nil
	}
	if request.RawQuery != "" {
		namespaces += "&" + request.RawQuery
	}
	return request.Method, namespaces, request.Body, nil
}

// ofProbe adds the namespace to a question of the gateway itself. Only queries
// get it: what such a port says about labels and values is true of one
// namespace, and must not be taken for all that the tier holds.
func (t *Tenancy) ofProbe(path string, parameters url.Values) url.Values {
	if t == nil || path != "/api/v1/query" {
		return parameters
	}
	added := maps.Clone(parameters)
	if added == nil {
		added = url.Values{}
	}
	added.Set(t.Parameter, t.Probe)
	return added
}
