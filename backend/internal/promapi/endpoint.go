package promapi

import (
	"net/http"
	"slices"
	"strings"
)

// Endpoint names an endpoint of the Prometheus HTTP API. Its values are the
// label values of the request metrics, so there is a bounded number of them.
type Endpoint string

// The endpoints of the API. Those of the first group take part in routing with a
// time range of their own.
const (
	Query          Endpoint = "query"
	QueryRange     Endpoint = "query_range"
	QueryExemplars Endpoint = "query_exemplars"
	Series         Endpoint = "series"
	Labels         Endpoint = "labels"
	LabelValues    Endpoint = "label_values"

	FormatQuery     Endpoint = "format_query"
	ParseQuery      Endpoint = "parse_query"
	Metadata        Endpoint = "metadata"
	Rules           Endpoint = "rules"
	Alerts          Endpoint = "alerts"
	Alertmanagers   Endpoint = "alertmanagers"
	Targets         Endpoint = "targets"
	TargetsMetadata Endpoint = "targets_metadata"
	ScrapePools     Endpoint = "scrape_pools"
	Stores          Endpoint = "stores"
	Features        Endpoint = "features"
	StatusInfo      Endpoint = "status"
)

// endpointRule says how an endpoint may be called.
type endpointRule struct {
	endpoint Endpoint
	// post is set where Prometheus takes the parameters in a form body too.
	post bool
}

// endpoints maps the path below /api/v1/ to the endpoint. What is not listed
// is not served: everything here only reads.
var endpoints = map[string]endpointRule{
	"query":              {Query, true},
	"query_range":        {QueryRange, true},
	"query_exemplars":    {QueryExemplars, true},
	"series":             {Series, true},
	"labels":             {Labels, true},
	"format_query":       {FormatQuery, true},
	"parse_query":        {ParseQuery, true},
	"metadata":           {Metadata, false},
	"rules":              {Rules, false},
	"alerts":             {Alerts, false},
	"alertmanagers":      {Alertmanagers, false},
	"targets":            {Targets, false},
	"targets/metadata":   {TargetsMetadata, false},
	"scrape_pools":       {ScrapePools, false},
	"stores":             {Stores, false},
	"features":           {Features, false},
	"status/buildinfo":   {StatusInfo, false},
	"status/config":      {StatusInfo, false},
	"status/flags":       {StatusInfo, false},
	"status/runtimeinfo": {StatusInfo, false},
	"status/tsdb":        {StatusInfo, false},
	"status/tsdb/blocks": {StatusInfo, false},
	"status/walreplay":   {StatusInfo, false},
}

// Endpoints lists every endpoint once, sorted. Metrics initialise their labels
// with it.
func Endpoints() []Endpoint {
	list := append(make([]Endpoint, 0, len(endpoints)+1), LabelValues)
	for _, rule := range endpoints {
		list = append(list, rule.endpoint)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// refused are the endpoints that write, delete or stop something. They are
// refused by name, so that the error says more than "not found".
var refused = []string{"api/v1/write", "api/v1/otlp", "api/v1/read", "api/v1/admin", "-/reload", "-/quit"}

// MatchEndpoint finds the endpoint for the path below the datasource, such as
// /api/v1/query_range, and checks the method.
//
// It returns an Error with status 403 for endpoints that write, 404 for those
// that are not served and 405 for a method that the endpoint does not take.
func MatchEndpoint(method, path string) (Endpoint, error) {
	rule, err := ruleOf(strings.TrimPrefix(path, "/"))
	if err != nil {
		return "", err
	}
	if allowed := rule.methods(); !slices.Contains(allowed, method) {
		return "", MethodNotAllowed(path, method, allowed)
	}
	return rule.endpoint, nil
}

// MethodsOf returns the methods that the endpoint at a path takes. It returns the
// errors of MatchEndpoint for paths that are not served.
func MethodsOf(path string) ([]string, error) {
	rule, err := ruleOf(strings.TrimPrefix(path, "/"))
	return rule.methods(), err
}

func (r endpointRule) methods() []string {
	if r.post {
		return []string{http.MethodGet, http.MethodPost}
	}
	return []string{http.MethodGet}
}

// ruleOf finds the endpoint for a path without its first slash.
func ruleOf(path string) (endpointRule, error) {
	for _, prefix := range refused {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return endpointRule{}, Errorf(http.StatusForbidden, ErrorForbidden, "/%s is refused: tierproxy only reads from its tiers", path)
		}
	}
	name, isAPI := strings.CutPrefix(path, "api/v1/")
	rule, known := endpoints[name]
	if !known {
		rest, isLabel := strings.CutPrefix(name, "label/")
		label, isValues := strings.CutSuffix(rest, "/values")
		known = isLabel && isValues && label != "" && !strings.Contains(label, "/")
		rule = endpointRule{endpoint: LabelValues}
	}
	if !isAPI || !known {
		return endpointRule{}, Errorf(http.StatusNotFound, ErrorNotFound, "/%s is not an endpoint of the Prometheus API that tierproxy serves", path)
	}
	return rule, nil
}
