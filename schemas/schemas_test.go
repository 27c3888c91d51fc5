// Package schemas_test holds the CUE models of the plugin module to their examples, in every version of CUE that a
// supported release of Perses validates with.
//
// Beside each model there is a folder of examples, where percli looks for them too. tests/valid holds documents that
// must pass. tests/invalid holds documents with one mistake each; the file of the same name that ends in .error is
// what their author must read, whole and without anything else.
package schemas_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// model is one kind of the plugin module.
type model struct {
	kind string
	dir  string
}

// models are the kinds of this module that have a spec: the datasource first, then those that select one. A folder with
// CUE that is missing here fails TestModels_AreAllTested.
var models = []model{
	{kind: "TieredPrometheusDatasource", dir: "datasources/tiered-prometheus-datasource"},
	{kind: "TieredPrometheusTimeSeriesQuery", dir: "queries/tiered-prometheus-time-series-query"},
	{kind: "TieredPrometheusAlertThresholdQuery", dir: "queries/tiered-prometheus-alert-threshold-query"},
	{kind: "TieredPrometheusLabelNamesVariable", dir: "variables/tiered-prometheus-label-names-variable"},
	{kind: "TieredPrometheusLabelValuesVariable", dir: "variables/tiered-prometheus-label-values-variable"},
	{kind: "TieredPrometheusPromQLVariable", dir: "variables/tiered-prometheus-promql-variable"},
	{kind: "TieredPrometheusPromQLAnnotation", dir: "annotations/tiered-prometheus-promql-annotation"},
}

// examples reads the valid or the invalid examples of a model, by file name.
func (m model) examples(t *testing.T, folder string) map[string]json.RawMessage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "tests", folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s/tests/%s holds no examples", m.dir, folder)
	}
	documents := make(map[string]json.RawMessage, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(content) {
			t.Fatalf("%s is not JSON", file)
		}
		documents[filepath.Base(file)] = content
	}
	return documents
}

// requests asks for every document to be checked against the model.
func (m model) requests(documents map[string]json.RawMessage) []request {
	requests := make([]request, 0, len(documents))
	for name, document := range documents {
		requests = append(requests, request{Name: name, Schema: m.dir, Document: document})
	}
	return requests
}

// forEachModel runs a test once for every release of Perses and every model.
func forEachModel(t *testing.T, test func(t *testing.T, r release, m model)) {
	t.Helper()
	forEachRelease(t, func(t *testing.T, r release) {
		for _, m := range models {
			t.Run(m.kind, func(t *testing.T) { test(t, r, m) })
		}
	})
}

func TestModels_ValidExamplesPass(t *testing.T) {
	forEachModel(t, func(t *testing.T, r release, m model) {
		for name, a := range r.check(t, m.requests(m.examples(t, "valid"))) {
			if len(a.Errors) > 0 {
				t.Errorf("%s was refused:\n%s", name, a.Details)
			}
		}
	})
}

func TestModels_InvalidExamplesSayWhatToChange(t *testing.T) {
	forEachModel(t, func(t *testing.T, r release, m model) {
		for name, a := range r.check(t, m.requests(m.examples(t, "invalid"))) {
			want := expectedMessage(t, m, name)
			if len(a.Errors) == 0 {
				t.Errorf("%s passed", name)
				continue
			}
			if got := strings.Join(a.messages(), "\n"); got != want {
				t.Errorf("%s says\n%s\nwant\n%s", name, got, want)
			}
			assertShort(t, name, a)
		}
	})
}

// assertShort fails when an author would have to search for the message: among file positions, among alternatives
// that CUE tried, or in a line that does not end.
func assertShort(t *testing.T, name string, a answer) {
	t.Helper()
	const maxLines, maxColumns = 16, 220
	if lines := strings.Count(a.Details, "\n"); lines > maxLines {
		t.Errorf("%s says it in %d lines, want at most %d:\n%s", name, lines, maxLines, a.Details)
	}
	for _, message := range a.messages() {
		if len(message) > maxColumns {
			t.Errorf("%s says it in a line of %d columns, want at most %d:\n%s", name, len(message), maxColumns, message)
		}
		if strings.Contains(message, "disjunction") {
			t.Errorf("%s lists the alternatives that CUE tried:\n%s", name, a.Details)
		}
	}
}

func TestExamples_EveryMessageHasOne(t *testing.T) {
	for _, m := range models {
		examples := m.examples(t, "invalid")
		messages, err := filepath.Glob(filepath.Join(m.dir, "tests", "invalid", "*.error"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range messages {
			if name := strings.TrimSuffix(filepath.Base(file), ".error") + ".json"; examples[name] == nil {
				t.Errorf("%s belongs to no example: remove it or add %s", file, name)
			}
		}
	}
}

// TestModels_AreAllTested follows Perses, which takes every folder below schemas/
// with CUE in it for a model, and finds the kind of the module by its field kind.
func TestModels_AreAllTested(t *testing.T) {
	var found []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".cue" {
			found = append(found, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Compact(found) {
		if !slices.ContainsFunc(models, func(m model) bool { return m.dir == dir }) {
			t.Errorf("%s holds CUE but no model that is tested: add it to models, or move it out of schemas/", dir)
		}
	}
	for _, m := range models {
		if !slices.Contains(found, m.dir) {
			t.Errorf("%s holds no CUE", m.dir)
		}
		for name, document := range m.examples(t, "valid") {
			var plugin struct {
				Kind string `json:"kind"`
			}
			if err := json.Unmarshal(document, &plugin); err != nil || plugin.Kind != m.kind {
				t.Errorf("%s/tests/valid/%s is of kind %q, want %q (%v)", m.dir, name, plugin.Kind, m.kind, err)
			}
		}
	}
}

func TestModels_EveryDefinitionIsExplained(t *testing.T) {
	for _, m := range models {
		files, err := filepath.Glob(filepath.Join(m.dir, "*.cue"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			comment := "" // the first line of the comment above the current line
			for line := range strings.Lines(string(content)) {
				if strings.HasPrefix(line, "//") {
					if comment == "" {
						comment = line
					}
					continue
				}
				name, _, _ := strings.Cut(line, ":")
				if strings.HasPrefix(name, "#") && !strings.HasPrefix(comment, "// "+name[1:]+" ") {
					t.Errorf("%s: %s needs a comment above it that begins with %q", file, name, name[1:])
				}
				comment = ""
			}
		}
	}
}
