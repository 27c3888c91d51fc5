// Package helm holds the tests of the chart that need no helm. Those that render and
// install it are in backend/test/cluster.
package helm

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

var update = flag.Bool("update", false, "write the generated files of the chart anew")

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// hold compares a generated file with what it should be, or writes it.
func hold(t *testing.T, file, expected string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(expected), 0o600))
	}
	require.Equal(t, expected, read(t, file), "%s is stale: run make generate", file)
}

type chart struct {
	Name, Description, Version string
	AppVersion                 string `yaml:"appVersion"`
}

func readChart(t *testing.T) (found chart) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "tierproxy/Chart.yaml")), &found))
	return found
}

// TestChart_HasTheVersionOfTheProject compares the versions of chart, image and plugin.
func TestChart_HasTheVersionOfTheProject(t *testing.T) {
	var project struct{ Version string }
	require.NoError(t, json.Unmarshal([]byte(read(t, "../../package.json")), &project))
	found := readChart(t)
	require.Equal(t, project.Version, found.Version)
	require.Equal(t, project.Version, found.AppVersion)
	// The kustomizations name the same images.
	for _, file := range []string{"kubernetes/tierproxy", "openshift/tierproxy", "sidecar/perses"} {
		tags := regexp.MustCompile(`(?m)^    newName: (tierproxy|tiered-prometheus-plugin)\n    newTag: (.*)$`).
			FindAllStringSubmatch(read(t, "../overlays/"+file+"/kustomization.yaml"), -1)
		require.NotEmpty(t, tags, file)
		for _, each := range tags {
			require.Equal(t, project.Version, each[2], "%s of %s", each[1], file)
		}
	}
}

// TestChart_HasTheDashboardAndTheRules compares the copies in the chart, which cannot read files
// outside of it, with the sources.
func TestChart_HasTheDashboardAndTheRules(t *testing.T) {
	for _, name := range []string{"dashboard.json", "rules.yaml"} {
		hold(t, filepath.Join("tierproxy/files", name), read(t, filepath.Join("../monitoring", name)))
	}
}

// TestChartSchema_HasTheSettings compares config in values.schema.json with the settings of
// tierproxy, so that a typo in one of them is an error of helm.
func TestChartSchema_HasTheSettings(t *testing.T) {
	const file = "tierproxy/values.schema.json"
	var schema map[string]any
	require.NoError(t, json.Unmarshal([]byte(read(t, file)), &schema))
	tier := schemaOf(reflect.TypeFor[config.HotConfig]())
	settings := schemaOf(reflect.TypeFor[config.Config]())
	settings["properties"].(map[string]any)["hot"] = map[string]any{
		"if":   map[string]any{"type": "array"},
		"then": map[string]any{"items": map[string]any{"$ref": "#/definitions/hotTier"}, "minItems": 1, "maxItems": 200},
		"else": map[string]any{"$ref": "#/definitions/hotTier"},
	}
	schema["definitions"] = map[string]any{"config": settings, "hotTier": tier}
	written, err := json.MarshalIndent(schema, "", "  ")
	require.NoError(t, err)
	hold(t, file, string(written)+"\n")
}

// schemaOf returns the JSON schema of a setting. It knows keys and rough types; tierproxy checks the rest.
func schemaOf(of reflect.Type) map[string]any {
	switch {
	case of.Kind() == reflect.Struct:
		properties := map[string]any{}
		for field := range of.Fields() {
			if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key == "strategy" {
				properties[key] = map[string]any{"enum": []string{config.StrategyRoute, config.StrategySplit}}
			} else if key != "-" {
				properties[key] = schemaOf(field.Type)
			}
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	case of.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(of.Elem())}
	case of.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case of.Kind() == reflect.Map, of.Kind() == reflect.Pointer:
		return map[string]any{"type": "object"}
	case of == reflect.TypeFor[config.Duration]():
		// Without a unit, only 0 is a duration.
		return map[string]any{"type": []string{"string", "number"}, "pattern": durationPattern, "minLength": 1, "minimum": 0, "maximum": 0}
	case of.Kind() != reflect.String:
		return map[string]any{"type": "number"}
	}
	// A port may look like a number.
	return map[string]any{"type": []string{"string", "number"}}
}

// durationPattern is the notation of Prometheus: units from the largest to the smallest.
const durationPattern = "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"

// TestChartSchema_KnowsDurations compares the pattern of durations with what tierproxy reads.
func TestChartSchema_KnowsDurations(t *testing.T) {
	pattern := regexp.MustCompile(durationPattern)
	for _, text := range []string{"0", "0s", "500ms", "30s", "15m", "1h30m", "1y2w3d4h5m6s7ms", "", "30", "1m1h", "1.5h", "-1s", "1 h", "h", "1us"} {
		var parsed config.Duration
		require.Equal(t, parsed.UnmarshalText([]byte(text)) == nil, text != "" && pattern.MatchString(text), "%q", text)
	}
}

// TestChartSchema_HasEveryValue compares the keys of values.yaml with those of the schema.
func TestChartSchema_HasEveryValue(t *testing.T) {
	var values map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "tierproxy/values.yaml")), &values))
	var schema map[string]any
	require.NoError(t, json.Unmarshal([]byte(read(t, "tierproxy/values.schema.json")), &schema))
	delete(schema["properties"].(map[string]any), "global") // helm sets it if the chart is part of another one.
	requireSameKeys(t, "", values, schema)
}

func requireSameKeys(t *testing.T, at string, values, schema map[string]any) {
	t.Helper()
	require.Equal(t, false, schema["additionalProperties"], at)
	properties := schema["properties"].(map[string]any)
	for key := range properties {
		require.Contains(t, values, key, "values.yaml lacks %s.%s", at, key)
	}
	for key, value := range values {
		require.Contains(t, properties, key, "the schema lacks %s.%s", at, key)
		property := properties[key].(map[string]any)
		if nested, isMap := value.(map[string]any); isMap && property["properties"] != nil {
			requireSameKeys(t, at+"."+key, nested, property)
		}
	}
}

// TestChartReadme_HasTheValues compares the README of the chart with the comments in values.yaml.
func TestChartReadme_HasTheValues(t *testing.T) {
	var document yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "tierproxy/values.yaml")), &document))
	var rows strings.Builder
	writeRows(t, &rows, "", document.Content[0])
	found := readChart(t)
	head := strings.Replace(read(t, "tierproxy/README.md.gotmpl"), "DESCRIPTION", found.Description, 1)
	hold(t, "tierproxy/README.md", head+"\n| key | default | meaning |\n| --- | --- | --- |\n"+rows.String())
}

// writeRows writes a row for each value that has a comment, and looks for more in maps that have none.
func writeRows(t *testing.T, rows *strings.Builder, at string, values *yaml.Node) {
	t.Helper()
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := strings.TrimPrefix(at+"."+key.Value, ".")
		meaning, isDocumented := strings.CutPrefix(key.HeadComment, "# -- ")
		if !isDocumented {
			require.True(t, value.Kind == yaml.MappingNode && len(value.Content) > 0, "%s has no comment that begins with # --", name)
			writeRows(t, rows, name, value)
			continue
		}
		var held any
		require.NoError(t, value.Decode(&held))
		text, err := json.Marshal(held)
		require.NoError(t, err)
		standard := "`" + string(text) + "`"
		if word, isText := held.(string); isText {
			standard = "`" + word + "`"
		}
		if held == nil || held == "" || string(text) == "[]" || string(text) == "{}" {
			standard = "empty"
		}
		fmt.Fprintf(rows, "| `%s` | %s | %s |\n", name, standard, strings.ReplaceAll(meaning, "\n# ", " "))
	}
}
