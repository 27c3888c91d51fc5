package upstream

import (
	"maps"
	"net/http"
	"net/url"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Tenancy describes a tier behind a proxy that requires a namespace parameter in the URL, such as
// the tenancy ports of OpenShift's monitoring. The proxy checks whether tierproxy may read the
// metrics of that namespace.
type Tenancy struct {
	// Parameter is the name of the parameter, such as namespace.
	Parameter string
	// Probe is the namespace of probes.
	Probe string
}

// longestQuery is the maximum length of a query string: servers and proxies accept request lines
// of at least 8 KiB.
const longestQuery = 7 << 10

// apply adds the namespaces that a request is confined to. A POST becomes a GET if it fits in a
// URL, because such a proxy takes a POST as an attempt to create something. apply returns an
// Error with status 403 for a request that is not confined.
func (t *Tenancy) apply(request *promapi.Request, confinedTo []string) (method, rawQuery string, body []byte, err error) {
	if len(confinedTo) == 0 {
		return "", "", nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the tier answers only requests that are confined to namespaces: set a namespace in the query (POST /api/v1/metrics/query), or ask the operator to confine the datasource")
	}
	namespaces := url.Values{t.Parameter: confinedTo}.Encode()
	if request.RawQuery != "" {
		namespaces += "&" + request.RawQuery
	}
	joined := namespaces
	if len(request.Body) > 0 {
		joined += "&" + string(request.Body)
	}
	if request.Method == http.MethodGet || len(joined) <= longestQuery {
		return http.MethodGet, joined, nil, nil
	}
	return request.Method, namespaces, request.Body, nil
}

// ofProbe adds the namespace to a query of a probe. Other endpoints do not get it, because their
// answers would describe one namespace instead of the whole tier.
func (t *Tenancy) ofProbe(path string, parameters url.Values) url.Values {
	if t == nil || path != "/api/v1/query" {
		return parameters
	}
	added := url.Values{}
	maps.Copy(added, parameters)
	added.Set(t.Parameter, t.Probe)
	return added
}
