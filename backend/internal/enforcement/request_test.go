package enforcement

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// read reads a request as the gateway does.
func read(t *testing.T, method, target, body string) (*promapi.Request, error) {
	t.Helper()
	incoming := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	endpoint, err := promapi.MatchEndpoint(incoming.URL.EscapedPath())
	require.NoError(t, err, target)
	return promapi.ReadRequest(incoming, endpoint.Endpoint, incoming.URL.EscapedPath(), time.Unix(1e9, 0))
}

func TestConfine_RewritesURLAndBody(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for _, test := range []struct {
		method, target, body string
		expected             url.Values
	}{
		{"GET", "/api/v1/query?query=up&time=5", "", url.Values{"query": {`up{namespace=~"shop"}`}, "time": {"5"}}},
		{"GET", "/api/v1/query?qu%65ry=u%70", "", url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"POST", "/api/v1/query", "query=up", url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"POST", "/api/v1/query?query=up", "query=up&query=up", url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"POST", "/api/v1/query?query=up", "time=5", url.Values{"query": {`up{namespace=~"shop"}`}, "time": {"5"}}},
		{"GET", "/api/v1/query_exemplars?query=up&start=1&end=2", "", url.Values{"query": {`up{namespace=~"shop"}`}, "start": {"1"}, "end": {"2"}}},
		{"GET", "/api/v1/labels", "", url.Values{"match[]": {`{namespace=~"shop"}`}}},
		{"POST", "/api/v1/labels", "", url.Values{"match[]": {`{namespace=~"shop"}`}}},
		{"GET", "/api/v1/label/namespace/values", "", url.Values{"match[]": {`{namespace=~"shop"}`}}},
		{"POST", "/api/v1/series?match[]=up", "match%5B%5D=down{namespace%3D\"bank\"}", url.Values{"match[]": {`up{namespace=~"shop"}`, `down{namespace=~"shop",namespace="bank"}`}}},
		{"GET", "/api/v1/format_query?query=up", "", url.Values{"query": {"up"}}},
		{"GET", "/api/v1/status/buildinfo", "", url.Values{}},
	} {
		request, err := read(t, test.method, test.target, test.body)
		require.NoError(t, err, test.target)
		before := request.Parameters.Encode()
		got, confinement, err := shop.Confine(request)
		require.NoError(t, err, test.target)
		require.Equal(t, test.expected, got.Parameters, test.target)
		require.Equal(t, []string{"shop"}, confinement.Values)
		require.Equal(t, before, request.Parameters.Encode(), "the request itself stays")
		if test.method == http.MethodPost {
			require.Empty(t, got.RawQuery, "parameters are in one place")
			require.Equal(t, test.expected.Encode(), string(got.Body))
			require.Equal(t, "application/x-www-form-urlencoded", got.Header.Get("Content-Type"))
		} else {
			require.Equal(t, test.expected.Encode(), got.RawQuery)
			require.Nil(t, got.Body)
		}
	}
}

// TestConfine_RequestReadsNothing looks at what the whole request reads.
func TestConfine_RequestReadsNothing(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for target, expected := range map[string]bool{
		"/api/v1/query?query=up{namespace%3D%22bank%22}":                                   true,
		"/api/v1/query_range?query=up{namespace%3D%22bank%22}&start=1&end=2&step=1":        true,
		"/api/v1/query_exemplars?query=up{namespace%3D%22bank%22}&start=1&end=2":           true,
		"/api/v1/series?match[]=up{namespace%3D%22bank%22}&match[]={namespace=~%22b.*%22}": true,
		"/api/v1/labels?match[]=up{namespace%3D%22bank%22}":                                true,
		"/api/v1/label/job/values?match[]=up{namespace%3D%22bank%22}":                      true,
		"/api/v1/series?match[]=up{namespace%3D%22bank%22}&match[]=up":                     false,
		"/api/v1/labels": false,
		"/api/v1/format_query?query=up{namespace%3D%22bank%22}": false,
	} {
		t.Run(target, func(t *testing.T) {
			request, err := read(t, http.MethodGet, target, "")
			require.NoError(t, err, target)
			_, confinement, err := shop.Confine(request)
			require.NoError(t, err, target)
			require.Equal(t, expected, confinement.ReadsNothing, target)
		})
	}
}

func TestConfine_RefusesWhatCannotBeConfined(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	for target, status := range map[string]int{
		"/api/v1/targets":                                  403,
		"/api/v1/targets/metadata":                         403,
		"/api/v1/rules":                                    403,
		"/api/v1/alerts":                                   403,
		"/api/v1/alertmanagers":                            403,
		"/api/v1/metadata?metric=up":                       403,
		"/api/v1/stores":                                   403,
		"/api/v1/scrape_pools":                             403,
		"/api/v1/status/config":                            403,
		"/api/v1/status/flags":                             403,
		"/api/v1/status/tsdb":                              403,
		"/api/v1/status/tsdb/blocks":                       403,
		"/api/v1/labels?match=up":                          400,
		"/api/v1/labels?match[0]=up":                       400,
		"/api/v1/series?match[]=up&match[]=":               400,
		"/api/v1/labels?match[]={}":                        400,
		"/api/v1/query":                                    400, // no query
		"/api/v1/query?query=up&extra_label=x":             400,
		"/api/v1/query?query=up&namespace=bank":            400,
		"/api/v1/query?query=up&replicaLabels[]=namespace": 400,
		"/api/v1/query?query=info(up)":                     400,
		"/api/v1/query_exemplars?query=up%20foo":           400,
		"/api/v1/status/buildinfo?x=y":                     400,

		"/api/v1/query?query=up&storeMatch[]={cluster=%22b%22}":                            400,
		"/api/v1/query_range?query=up&start=1&end=2&step=1&storeMatch[]={cluster=%22b%22}": 400,
		"/api/v1/query_exemplars?query=up&storeMatch[]={cluster=%22b%22}":                  400,
		"/api/v1/series?match[]=up&storeMatch[]={cluster=%22b%22}":                         400,
		"/api/v1/labels?storeMatch[]={cluster=%22b%22}":                                    400,
		"/api/v1/label/job/values?storeMatch[]={cluster=%22b%22}":                          400,
	} {
		t.Run(target, func(t *testing.T) {
			request, err := read(t, http.MethodGet, target, "")
			require.NoError(t, err, target)
			_, _, err = shop.Confine(request)
			require.Error(t, err, target)
			require.Equal(t, status, promapi.AsError(err).Status, target)
		})
	}
	// What has two readings, or lacks match[], is refused before.
	for _, target := range []string{"/api/v1/series", "/api/v1/query?query=up&query=down", "/api/v1/query?query=up;query=down", "/api/v1/query?query=%zz"} {
		t.Run(target, func(t *testing.T) {
			_, err := read(t, http.MethodGet, target, "")
			require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status, target)
		})
	}
	_, err := read(t, http.MethodPost, "/api/v1/query?query=up", "query=down")
	require.ErrorContains(t, err, "more than once")
}

// Every endpoint is either known here or refused: a new one is refused until it has a
// rule.
func TestConfine_RefusesUnknownEndpoints(t *testing.T) {
	shop := rule(t, ConflictEmpty, "shop")
	passed := map[promapi.Endpoint]bool{}
	for _, endpoint := range promapi.Endpoints() {
		request := &promapi.Request{Method: http.MethodGet, Endpoint: endpoint, Path: "/x", Parameters: url.Values{}, Header: http.Header{}}
		if _, _, err := shop.Confine(request); err == nil {
			passed[endpoint] = true
		}
	}
	require.Equal(t, map[promapi.Endpoint]bool{
		promapi.Series: true, promapi.Labels: true, promapi.LabelValues: true, promapi.FormatQuery: true, promapi.ParseQuery: true, promapi.Features: true,
		promapi.AlertThresholds: true,
	}, passed, "without parameters; the others want a query, or are refused")
}
