package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What our models share with those of Perses is written anew here, without importing theirs. These tests hold the copy
// to the original.

// module is a Go module that holds CUE of Perses, pinned by its checksum. None of its Go is built.
type module struct {
	path, version, sum string
}

var (
	perses052     = module{"github.com/perses/perses", "v0.52.0", "h1:pives1Ky15uGxBPqiggHabmnxH3S849Vse7qYGOgcig="}
	persesSpec    = module{"github.com/perses/spec", "v0.2.0", "h1:m/cdXVErAfjDft+dfxkfL+63Z+ggJ0sY08Wg7Q9Ruzk="}
	prometheus054 = module{"github.com/perses/plugins/prometheus", "v0.54.0", "h1:LP7T7nxlqUd4mmkwRMLNL8V3/AWIbLnyPXaCC3VkCCo="}
)

// dir downloads the module, unless it is in the module cache, and returns its directory there.
func (m module) dir(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", m.path+"@"+m.version)
	cmd.Dir = "../tools/cue" // keeps the download out of the go.mod of the gateway
	cmd.Env = append(os.Environ(), "GOWORK=off")
	output, err := cmd.Output()
	var downloaded struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(output, &downloaded); jsonErr != nil || err != nil || downloaded.Error != "" {
		t.Fatalf("download %s@%s: %v %v %s", m.path, m.version, err, jsonErr, downloaded.Error)
	}
	if downloaded.Sum != m.sum {
		t.Fatalf("%s@%s has the checksum %s, want %s", m.path, m.version, downloaded.Sum, m.sum)
	}
	return downloaded.Dir
}

// proxyDefinition returns where a release of Perses defines HTTPProxy. Its own module moved the definition to a module
// of its own in 0.53, which it reaches through a registry of CUE modules.
func (r release) proxyDefinition(t *testing.T) request {
	if r.perses == "0.52" {
		return request{Schema: filepath.Join(perses052.dir(t), "cue/common/proxy"), Package: "proxy", Definition: "#HTTPProxy"}
	}
	return request{Schema: filepath.Join(persesSpec.dir(t), "cue/datasource/proxy/http"), Package: "http", Definition: "#Proxy"}
}

func TestProxy_PersesAcceptsOurs(t *testing.T) {
	// These use what releases after the tested ones add. The day Perses accepts them here, they are ordinary examples.
	ahead := []string{"proxy-perses-0.55-fields.json"}

	forEachRelease(t, func(t *testing.T, r release) {
		definition := r.proxyDefinition(t)
		var requests []request
		for name, document := range models[0].examples(t, "valid") {
			var plugin struct {
				Spec struct {
					Proxy json.RawMessage `json:"proxy"`
				} `json:"spec"`
			}
			if err := json.Unmarshal(document, &plugin); err != nil || plugin.Spec.Proxy == nil {
				t.Fatalf("%s has no proxy: %v", name, err)
			}
			definition.Name, definition.Document = name, plugin.Spec.Proxy
			requests = append(requests, definition)
		}
		var refused []string
		for name, a := range r.check(t, requests) {
			if len(a.Errors) == 0 {
				continue
			}
			refused = append(refused, name)
			if !slices.Contains(ahead, name) {
				t.Errorf("Perses refuses the proxy of %s:\n%s", name, a.Details)
			} else if !strings.Contains(a.Details, "field not allowed") {
				t.Errorf("Perses refuses the proxy of %s for more than a field it does not know:\n%s", name, a.Details)
			}
		}
		for _, name := range ahead {
			if !slices.Contains(refused, name) {
				t.Errorf("Perses accepts %s: take it off the list", name)
			}
		}
	})
}

func TestProxy_PersesRefusesOthers(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		definition := r.proxyDefinition(t)
		var requests []request
		for name, proxy := range map[string]string{
			"another kind": `{"kind": "SQLProxy", "spec": {"url": "http://tierproxy:9190/proxy/globaldatasources/metrics"}}`,
			"no url":       `{"kind": "HTTPProxy", "spec": {}}`,
			"no http url":  `{"kind": "HTTPProxy", "spec": {"url": "tcp://tierproxy:9190/proxy/globaldatasources/metrics"}}`,
		} {
			definition.Name, definition.Document = name, json.RawMessage(proxy)
			requests = append(requests, definition)
		}
		for name, a := range r.check(t, requests) {
			if len(a.Errors) == 0 {
				t.Errorf("the definition of Perses accepts a proxy with %s: it is not the one to compare with", name)
			}
		}
	})
}

// prometheusSchemas returns the directory with the models of the Prometheus plugin, in a copy of its CUE module where
// the imports are vendored, since a registry of CUE modules is not needed to run the tests.
func prometheusSchemas(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{
		filepath.Join(perses052.dir(t), "cue/common"):  "cue.mod/pkg/github.com/perses/perses/cue/common",
		filepath.Join(prometheus054.dir(t), "schemas"): "schemas",
	} {
		if err := os.CopyFS(filepath.Join(root, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	moduleFile := fmt.Sprintf("module: %q\nlanguage: version: %q\n", prometheus054.path+"@v0", "v0.14.0")
	if err := os.WriteFile(filepath.Join(root, "cue.mod/module.cue"), []byte(moduleFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "schemas")
}

// changeOver swaps our kinds and those of the Prometheus plugin, so that what is right for one is right for the other.
func changeOver(document json.RawMessage) json.RawMessage {
	var swaps []string
	for _, m := range models {
		ours, theirs := `"`+m.kind+`"`, `"`+strings.TrimPrefix(m.kind, "Tiered")+`"`
		swaps = append(swaps, ours, theirs, theirs, ours)
	}
	return json.RawMessage(strings.NewReplacer(swaps...).Replace(string(document)))
}

// TestModels_JudgeLikeThePrometheusPlugin compares all models that have a counterpart
// with those of the Prometheus plugin. Exceptions are the field tier, which only our
// query has, instant, which theirs has from 0.58 on, and what the test lists.
func TestModels_JudgeLikeThePrometheusPlugin(t *testing.T) {
	onlyOursRefuses := []string{"datasource-kind-missing.json"} // theirs fills it in, and does not store it
	root := prometheusSchemas(t)
	theirFolders := map[string]string{
		"TieredPrometheusTimeSeriesQuery":     "prometheus-time-series-query",
		"TieredPrometheusLabelNamesVariable":  "prometheus-label-names",
		"TieredPrometheusLabelValuesVariable": "prometheus-label-values",
		"TieredPrometheusPromQLVariable":      "prometheus-promql",
	}

	forEachModel(t, func(t *testing.T, r release, m model) {
		if theirFolders[m.kind] == "" {
			return // a kind of its own, or of a later release of the Prometheus plugin than the Go module proxy has
		}
		theirs := filepath.Join(root, theirFolders[m.kind])
		judge := func(schema string, documents map[string]json.RawMessage) map[string]answer {
			var requests []request
			for name, document := range documents {
				requests = append(requests, request{Name: name, Schema: schema, Document: changeOver(document)})
			}
			return r.check(t, requests)
		}
		shared := func(folder string) map[string]json.RawMessage {
			documents := maps.Clone(m.examples(t, folder))
			maps.DeleteFunc(documents, func(_ string, document json.RawMessage) bool {
				return strings.Contains(string(document), `"tier"`) || strings.Contains(string(document), `"instant"`)
			})
			if len(documents) == 0 {
				t.Fatalf("every example in %s has a tier or is instant", folder)
			}
			return documents
		}
		for name, a := range judge(theirs, shared("valid")) {
			if len(a.Errors) > 0 {
				t.Errorf("the Prometheus plugin refuses valid/%s:\n%s", name, a.Details)
			}
		}
		for name, a := range judge(theirs, shared("invalid")) {
			if accepted := len(a.Errors) == 0; accepted != slices.Contains(onlyOursRefuses, name) {
				t.Errorf("the Prometheus plugin on invalid/%s: accepted %t", name, accepted)
			}
		}
		for name, a := range judge(m.dir, model{dir: theirs}.examples(t, "valid")) {
			if len(a.Errors) > 0 {
				t.Errorf("ours refuses the Prometheus plugin's valid/%s:\n%s", name, a.Details)
			}
		}
	})
}
