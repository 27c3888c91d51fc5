package datasource_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	persesdatasource "github.com/perses/perses/go-sdk/datasource"
	"github.com/perses/perses/go-sdk/http"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

const fixtures = "../../../schemas/datasources/tiered-prometheus-datasource/tests/"

// looser are the invalid fixtures that this package cannot tell from valid ones: an empty duration is what the field
// holds when nobody set it.
var looser = map[string]bool{"threshold-empty": true}

// read reads the spec of a fixture with the types of this package.
func read(t *testing.T, file string) (datasource.PluginSpec, []byte, error) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var plugin struct {
		Spec json.RawMessage `json:"spec"`
	}
	require.NoError(t, json.Unmarshal(text, &plugin))
	if plugin.Spec == nil {
		plugin.Spec = json.RawMessage("{}")
	}
	var spec datasource.PluginSpec
	err = json.Unmarshal(plugin.Spec, &spec)
	return spec, plugin.Spec, err
}

// TestSpec_RulesAreThoseOfTheModel checks the examples of the CUE model.
func TestSpec_RulesAreThoseOfTheModel(t *testing.T) {
	valid, err := filepath.Glob(fixtures + "valid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(valid), 5)
	for _, file := range valid {
		spec, text, err := read(t, file)
		require.NoError(t, err, file)
		written, err := json.Marshal(spec)
		require.NoError(t, err)
		switch filepath.Base(file) {
		case "proxy-perses-0.55-fields.json": // The SDK of Perses 0.54 does not know them.
		case "query-params-empty.json": // No parameters are the same as none.
		case "hot-list-of-one.json": // It is written as one tier, which every release reads.
		default:
			require.JSONEq(t, string(text), string(written), file)
		}
	}
	invalid, err := filepath.Glob(fixtures + "invalid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(invalid), 40)
	for _, file := range invalid {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		_, _, err := read(t, file)
		if looser[name] {
			require.NoError(t, err, "%s is told by now: take it off the list", name)
			continue
		}
		words, readErr := os.ReadFile(strings.TrimSuffix(file, ".json") + ".error")
		require.NoError(t, readErr)
		field, rule, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(string(words), "spec.")), ": ")
		field = strings.TrimPrefix(field, "_") // The model checks a copy of hot.
		last := field[strings.LastIndexByte(field, '.')+1:]
		if err == nil || !strings.Contains(err.Error(), last) || !strings.HasSuffix(err.Error(), rule) {
			// What the types of this package cannot hold is refused by their decoders, a field that is not set by name.
			require.ErrorContains(t, err, refused(field, rule), name)
		}
	}
}

// refused is what this package says where it does not say what the model says.
func refused(field, rule string) string {
	tier, _, _ := strings.Cut(field, ".")
	switch {
	case strings.HasPrefix(rule, "the field url, service or name"):
		return ": set URL, InCluster or TierName"
	case rule == "field not allowed" || strings.HasPrefix(rule, "set url or service"):
		return "json: unknown field"
	case strings.HasPrefix(rule, "remove either url or service"):
		return ": remove either URL or InCluster: a tier has one of them, not both"
	case strings.Contains(field, "url or service"):
		return tier + ": set URL or InCluster"
	case field == "proxy.spec.url":
		return "url cannot be empty" // The type of Perses says it.
	}
	return tier
}

func TestSpec_PatternsAreThoseOfTheModel(t *testing.T) {
	model, err := os.ReadFile(fixtures + "../tiered-prometheus-datasource.cue")
	require.NoError(t, err)
	for _, pattern := range datasource.Patterns {
		require.Contains(t, string(model), `"`+strings.ReplaceAll(pattern, `\`, `\\`)+`"`)
	}
}

func TestTieredPrometheus_EveryOption(t *testing.T) {
	built, err := persesdatasource.New("metrics", persesdatasource.Default(true), datasource.TieredPrometheus(
		datasource.Threshold(15*time.Minute),
		datasource.Hot(
			datasource.InCluster("openshift-monitoring", "prometheus-k8s", datasource.PortNumber(9091), datasource.Scheme("https")),
			datasource.Retention(15*24*time.Hour),
		),
		datasource.Cold(datasource.URL("https://thanos-querier:9091"), datasource.Lag(0)),
		datasource.Strategy(datasource.StrategySplit), datasource.SplitAcrossReplicas(false), datasource.Cache(true),
		datasource.ScrapeInterval(30*time.Second),
		datasource.QueryParams(map[string]string{"dedup": "true"}), datasource.AddQueryParam("partial_response", "false"),
		datasource.HTTPProxy(datasource.GlobalURL("http://tierproxy:9190/", "metrics"), http.AddHeader("X-Scope-OrgID", "shop")),
	))
	require.NoError(t, err)
	const expected = `
		"threshold": "15m", "strategy": "split", "splitAcrossReplicas": false, "cache": true,
		"hot": {
			"service": {"namespace": "openshift-monitoring", "name": "prometheus-k8s", "port": 9091, "scheme": "https"},
			"retention": "15d"
		},
		"cold": {"url": "https://thanos-querier:9091", "lag": "0s"},
		"scrapeInterval": "30s",
		"queryParams": {"dedup": "true", "partial_response": "false"},
		"proxy": {"kind": "HTTPProxy", "spec": {
			"url": "http://tierproxy:9190/proxy/globaldatasources/metrics", "headers": {"X-Scope-OrgID": "shop"}
		}}`
	written, err := json.Marshal(built.Spec)
	require.NoError(t, err)
	require.JSONEq(t, `{"default": true, "plugin": {"kind": "TieredPrometheusDatasource", "spec": {`+expected+`}}}`, string(written))
	inYAML, err := yaml.Marshal(built.Spec.Plugin.Spec)
	require.NoError(t, err)
	var document any
	require.NoError(t, yaml.Unmarshal(inYAML, &document))
	again, err := json.Marshal(document)
	require.NoError(t, err)
	require.JSONEq(t, `{`+expected+`}`, string(again), "the default format of percli dac build")
}

func TestTieredPrometheus_ReportsAllMistakes(t *testing.T) {
	_, err := persesdatasource.New("metrics", datasource.TieredPrometheus(
		datasource.Threshold(-time.Minute), datasource.ScrapeInterval(0),
		datasource.Hot(
			datasource.URL("http://hot"), datasource.InCluster("monitoring", "hot"), datasource.Lag(time.Minute)),
		datasource.Cold(datasource.InCluster("Monitoring", "", datasource.PortName("443"), datasource.Scheme("ftp"))),
		datasource.HTTPProxy("http://prometheus:9090"),
	))
	require.EqualError(t, err, strings.TrimSpace(`
TieredPrometheusDatasource:
threshold: -1m0s: must be a number of milliseconds, not negative
hot: lag is for cold
scrapeInterval: "0s": must be a duration longer than zero, such as 90s, 15m or 1h30m
hot: remove either URL or InCluster: a tier has one of them, not both
cold.service.namespace: "Monitoring": must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends
cold.service.name: "": must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends
cold.service.port: "443": must be a number from 1 to 65535, without quotes, or the name of a port of the service
cold.service.scheme: "ftp": must be http or https
proxy.spec.url: "http://prometheus:9090": must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or /proxy/projects/PROJECT/datasources/NAME
`))
	_, err = persesdatasource.New("metrics", datasource.TieredPrometheus())
	require.ErrorContains(t, err, "set it with HTTPProxy")
	_, err = persesdatasource.New("metrics", datasource.TieredPrometheus(
		datasource.Cold(datasource.URL("http://user:password@cold")), datasource.HTTPProxy("http://user:password@cold/")))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "password@")
}

func TestURLs_AreAccepted(t *testing.T) {
	for _, address := range []string{
		datasource.GlobalURL("http://tierproxy:9190", "metrics"),
		datasource.ProjectURL("https://gateway/tiers", "shop", "metrics"),
		datasource.DashboardURL("http://tierproxy:9190", "shop", "carts", "metrics"),
	} {
		_, err := persesdatasource.New("metrics", datasource.TieredPrometheus(datasource.HTTPProxy(address)))
		require.NoError(t, err)
	}
}

func TestTieredPrometheus_SeveralHotTiers(t *testing.T) {
	proxy := datasource.HTTPProxy(datasource.GlobalURL("http://tierproxy:9190", "metrics"))
	built, err := persesdatasource.New("metrics", datasource.TieredPrometheus(
		datasource.AddHot(datasource.TierName("eu-1"), datasource.URL("https://prometheus.eu-1.example.com"), datasource.Retention(24*time.Hour)),
		datasource.AddHot(datasource.InCluster("monitoring", "prometheus")),
		datasource.AddHot(datasource.TierName("us-1")), proxy))
	require.NoError(t, err)
	const expected = `[{"name": "eu-1", "url": "https://prometheus.eu-1.example.com", "retention": "1d"},
		{"service": {"namespace": "monitoring", "name": "prometheus"}}, {"name": "us-1"}]`
	inYAML, err := yaml.Marshal(built.Spec.Plugin.Spec)
	require.NoError(t, err)
	var document struct{ Hot any }
	require.NoError(t, yaml.Unmarshal(inYAML, &document))
	inJSON, err := json.Marshal(document.Hot)
	require.NoError(t, err)
	require.JSONEq(t, expected, string(inJSON))
	spec, isSpec := built.Spec.Plugin.Spec.(datasource.PluginSpec)
	require.True(t, isSpec)
	inJSON, err = json.Marshal(spec.Hot)
	require.NoError(t, err)
	require.JSONEq(t, expected, string(inJSON))

	_, err = persesdatasource.New("metrics", datasource.TieredPrometheus(
		datasource.AddHot(datasource.TierName("eu 1"), datasource.Lag(0)), datasource.AddHot(datasource.TierName("a")), datasource.AddHot(datasource.TierName("a")),
		datasource.AddHot(), datasource.Cold(datasource.TierName("cold"), datasource.URL("http://cold")), proxy))
	require.EqualError(t, err, strings.TrimSpace(`
TieredPrometheusDatasource:
hot: lag is for cold
cold: a name is for hot
hot[0].name: "eu 1": must be 1 to 253 letters, digits or characters of . _ - : / [ ]
hot[2].name: "a": must differ from the names of the other hot tiers
hot[3]: set URL, InCluster or TierName
`))
}
