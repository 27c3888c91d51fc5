package schemas_test

import (
	"encoding/json"
	"testing"

	"gopkg.in/yaml.v3"

	documentation "github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
)

// TestDocumentation_DatasourcesAreValid validates the datasources in the
// documentation. Package gateway parses them too.
func TestDocumentation_DatasourcesAreValid(t *testing.T) {
	blocks, err := documentation.Of("..", "datasource")
	if err != nil {
		t.Fatal(err)
	}
	var requests []request
	for _, each := range blocks {
		var read struct {
			Spec struct {
				Plugin map[string]any `yaml:"plugin"`
			} `yaml:"spec"`
		}
		if err := yaml.Unmarshal([]byte(each.Text), &read); err != nil {
			t.Fatalf("%s: %v", each.Place(), err)
		}
		document, err := json.Marshal(read.Spec.Plugin)
		if err != nil {
			t.Fatalf("%s: %v", each.Place(), err)
		}
		requests = append(requests, request{Name: each.Place(), Schema: models[0].dir, Document: document})
	}
	forEachRelease(t, func(t *testing.T, r release) {
		for place, answer := range r.check(t, requests) {
			if len(answer.Errors) > 0 {
				t.Errorf("%s: %v", place, answer.messages())
			}
		}
	})
}
