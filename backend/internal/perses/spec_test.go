package perses

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

const fixtures = "../../../schemas/datasources/tiered-prometheus-datasource/tests"

func readFixtures(t *testing.T, kind string) map[string]json.RawMessage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fixtures, kind, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	specs := map[string]json.RawMessage{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var plugin struct {
			Kind string          `json:"kind"`
			Spec json.RawMessage `json:"spec"`
		}
		require.NoError(t, json.Unmarshal(text, &plugin))
		if plugin.Kind == Kind {
			specs[strings.TrimSuffix(filepath.Base(file), ".json")] = plugin.Spec
		}
	}
	return specs
}

// TestRules_AreThoseOfTheModel checks that the gateway accepts and refuses the same
// specs as the CUE model, in its words, except for what CUE itself says of fields.
// CUE may not have run.
func TestRules_AreThoseOfTheModel(t *testing.T) {
	for name, spec := range readFixtures(t, "valid") {
		_, err := ParseSpec(spec, nil)
		require.NoError(t, err, name)
	}
	missing := regexp.MustCompile(`^(.*)\."?([a-zA-Z ]+)"?: field is required but not present$`)
	listIndex := regexp.MustCompile(`\.([0-9]+)\b`)
	conflict := regexp.MustCompile(`: conflicting values .*$`)
	for name, spec := range readFixtures(t, "invalid") {
		text, err := os.ReadFile(filepath.Join(fixtures, "invalid", name+".error"))
		require.NoError(t, err)
		words := missing.ReplaceAllString(strings.TrimSpace(string(text)), "$1: the field $2 is required")
		words = strings.ReplaceAll(conflict.ReplaceAllString(words, ": must be an object"), ": field not allowed", ": unknown field: ")
		words = listIndex.ReplaceAllString(strings.Replace(words, "spec._hot", "spec.hot", 1), "[$1]") // The model checks a copy.
		_, err = ParseSpec(spec, nil)
		mistakes, _ := errors.AsType[SpecErrors](err)
		if name == "cold-url-or-service-as-one-field" { // Here it is an unknown field like any other.
			require.Len(t, mistakes, 2)
			continue
		}
		require.Len(t, mistakes, 1, name)
		require.ErrorContains(t, err, words, name)
	}
}

func TestRules_PatternsAreThoseOfTheModel(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(fixtures, "../tiered-prometheus-datasource.cue"))
	require.NoError(t, err)
	for _, pattern := range []string{hostPattern, portPattern, plainPattern, namePattern, labelPattern, tierPattern} {
		require.Contains(t, string(text), `"`+strings.ReplaceAll(pattern, `\`, `\\`)+`"`)
	}
}

func TestParseSpec_ReadsEveryField(t *testing.T) {
	spec, err := ParseSpec(json.RawMessage(`{
		"threshold": "20m", "scrapeInterval": "30s", "queryParams": {"dedup": "true"},
		"hot": {"service": {"namespace": "monitoring", "name": "prometheus", "port": 9091, "scheme": "https"}, "retention": "15d"},
		"cold": {"url": "https://thanos:9091/prefix", "lag": "2h"},
		"proxy": {"kind": "HTTPProxy", "spec": {
			"url": "http://tierproxy:9190/proxy/globaldatasources/metrics",
			"headers": {"X-Scope-OrgID": "a"},
			"allowedEndpoints": [{"endpointPattern": "/api/v1/query", "method": "POST"}]
		}}
	}`), nil)
	require.NoError(t, err)
	require.EqualValues(t, 20*time.Minute, spec.Threshold)
	require.EqualValues(t, 30*time.Second, spec.ScrapeInterval)
	require.Equal(t, map[string]string{"dedup": "true"}, spec.QueryParams)
	require.Equal(t, TierList{{Service: &Service{Namespace: "monitoring", Name: "prometheus", Port: "9091", Scheme: "https"}, Retention: model.Duration(15 * 24 * time.Hour)}}, spec.Hot)
	require.Equal(t, "https://thanos:9091/prefix", spec.Cold.URL.String())
	require.EqualValues(t, 2*time.Hour, spec.Cold.Lag)
	require.Equal(t, map[string]string{"X-Scope-OrgID": "a"}, spec.Proxy.Spec.Headers)

	saved := &Datasource{Reference: Reference{Name: "metrics"}, Spec: *spec}
	require.NoError(t, saved.CheckEndpoint(http.MethodPost, "/api/v1/query"))
	require.NoError(t, saved.CheckEndpoint(http.MethodPost, "/api/v1/query_range"), "patterns match anywhere, as in Perses")
	require.ErrorContains(t, saved.CheckEndpoint(http.MethodGet, "/api/v1/query"), `allowedEndpoints of global datasource "metrics"`)
	require.ErrorContains(t, saved.CheckEndpoint(http.MethodPost, "/api/v1/labels"), "do not include POST /api/v1/labels")
}

func TestParseSpec_NamesAllMistakes(t *testing.T) {
	_, err := ParseSpec(json.RawMessage(`{"threshold": "soon", "hot": {"url": "ftp://x", "service": {"name": "A"}}, "cold": {}, "colder": 1, "cache": null,
		"proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy/metrics", "allowedEndpoints": [{"endpointPattern": "("}]}}}`), nil)
	for _, expected := range []string{
		`spec.threshold: must be a duration longer than zero, such as 90s, 15m or 1h30m`,
		`spec.hot.url: must be http(s)://host[:port][/path]`,
		`spec.hot.service.name: must be 1 to 63 lower-case letters`,
		`spec.hot.service: the field namespace is required`,
		`spec.hot.service: remove either url or service: a tier has one of them, not both`,
		`spec.cold: the field url or service is required`,
		`spec.colder: unknown field: remove it, or use one of cache, cold, hot, proxy, queryParams, scrapeInterval, splitAcrossReplicas, strategy, threshold`,
		`spec.cache: must be true or false, without quotes`,
		`spec.proxy.spec.url: must name this datasource`,
		`spec.proxy.spec.allowedEndpoints[0].endpointPattern: must be a regular expression: error parsing`,
	} {
		require.ErrorContains(t, err, expected)
	}
}

func parseHot(hot string) (*Spec, error) {
	return ParseSpec(json.RawMessage(`{"hot": `+hot+`, "proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy:9190/proxy/globaldatasources/metrics"}}}`), nil)
}

func TestParseSpec_ReadsHotTiers(t *testing.T) {
	retention := model.Duration(15 * 24 * time.Hour)
	for name, test := range map[string]struct {
		hot      string
		expected TierList
	}{
		"one tier of the gateway":    {`{"name": "eu-1"}`, TierList{{Name: "eu-1"}}},
		"a list of one":              {` [{"name": "eu-1", "retention": "15d"}]`, TierList{{Name: "eu-1", Retention: retention}}},
		"a list, some without names": {`[{"service": {"namespace": "a", "name": "b"}}, {"name": "10.0.0.1:9090"}, {"service": {"namespace": "c", "name": "d"}, "name": "e/f"}]`, TierList{{Service: &Service{Namespace: "a", Name: "b"}}, {Name: "10.0.0.1:9090"}, {Name: "e/f", Service: &Service{Namespace: "c", Name: "d"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := parseHot(test.hot)
			require.NoError(t, err)
			require.Equal(t, test.expected, spec.Hot)
		})
	}
	spec, err := parseHot(`[{"url": "http://a:9090"}, {"url": "http://b:9090"}]`)
	require.NoError(t, err)
	require.Equal(t, "http://b:9090", spec.Hot[1].URL.String())
	spec, err = ParseSpec(json.RawMessage(`{"proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy:9190/proxy/globaldatasources/metrics"}}}`), nil)
	require.NoError(t, err)
	require.Nil(t, spec.Hot)
}

func TestParseSpec_NamesAllMistakesOfHotTiers(t *testing.T) {
	_, err := parseHot(`[{"url": "ftp://x"}, {}, "http://a", {"name": "a"}, {"name": "a", "lag": "1h"}, {"name": "", "url": "http://b", "service": {"namespace": "c", "name": "d"}}]`)
	require.EqualError(t, err, strings.Join([]string{
		"spec.hot[0].url: must be http(s)://host[:port][/path], with a port from 1 to 65535 and without user, parameters (use queryParams) or fragment",
		"spec.hot[1]: the field url, service or name is required",
		"spec.hot[2]: must be an object",
		"spec.hot[4].lag: unknown field: remove it, or use one of name, retention, service, url",
		"spec.hot[4].name: must differ from the names of the other hot tiers",
		"spec.hot[5].name: must be 1 to 253 letters, digits or characters of . _ - : / [ ]",
		"spec.hot[5].service: remove either url or service: a tier has one of them, not both",
	}, "\n"))
	many := func(count int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"url": "http://a"},`, count), ",") + "]"
	}
	for count, isValid := range map[int]bool{0: false, 1: true, maxHotTiers: true, maxHotTiers + 1: false} {
		_, err := parseHot(many(count))
		if isValid {
			require.NoError(t, err, count)
			continue
		}
		require.EqualError(t, err, "spec.hot: must be one tier, or a list of 1 to 200 tiers", count)
	}
}
