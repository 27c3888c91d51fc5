package gateway

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
)

// checkout is the root of the checkout.
const checkout = "../../.."

// blocks are those of the documentation that are checked in one way.
func blocks(t *testing.T, check string) []documents.Block {
	t.Helper()
	found, err := documents.Of(checkout, check)
	require.NoError(t, err)
	return found
}

// TestDocumentation_AnswersHaveOurFields decodes the JSON in the documentation into
// the types that tierproxy reads and writes.
func TestDocumentation_AnswersHaveOurFields(t *testing.T) {
	data := func(into any) any {
		return &struct {
			Status string `json:"status"`
			Data   any    `json:"data"`
		}{Data: into}
	}
	shapes := map[string]any{
		"health": &resolve.Health{}, "explain": data(&Explanation{}), "check": data(&report{}), "metrics-query-request": &metricsQueryBody{},
		"alert-thresholds": data(&struct {
			Thresholds []Threshold   `json:"thresholds"`
			Skipped    []SkippedRule `json:"skipped"`
		}{}),
		"metrics-query-error": &struct {
			Status    string               `json:"status"`
			ErrorType string               `json:"errorType"`
			Error     string               `json:"error"`
			Mistakes  []datasource.Mistake `json:"mistakes"`
		}{},
	}
	left := slices.Collect(maps.Keys(shapes))
	for _, each := range blocks(t, "answer") {
		shape := shapes[each.Argument()]
		require.NotNil(t, shape, "%s: there is no answer %q", each.Place(), each.Argument())
		decoder := json.NewDecoder(strings.NewReader(each.Text))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(shape), each.Place())
		left = slices.DeleteFunc(left, func(name string) bool { return name == each.Argument() })
		if each.Argument() == "metrics-query-request" {
			var mistakes datasource.ValidationErrors
			readMetricQuery([]byte(each.Text), &mistakes)
			require.Empty(t, mistakes, each.Place())
		}
	}
	require.Empty(t, left, "not shown any more")
}

// TestDocumentation_ProgramsBuild builds the program that the documentation shows.
func TestDocumentation_ProgramsBuild(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(checkout)
	require.NoError(t, err)
	for _, each := range blocks(t, "library") {
		const head = `package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

func main() { fmt.Println(run(context.Background())) }

func run(ctx context.Context) error {
`
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, []byte(head+each.Text+"\treturn nil\n}\n"), 0o600))
		// It stands in the checkout for the compiler alone.
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "backend", "documented", "main.go"): file}})
		require.NoError(t, err)
		overlayFile := filepath.Join(t.TempDir(), "overlay.json")
		require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))
		command := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlayFile, "-o", os.DevNull, "./backend/documented")
		command.Dir = root
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		require.NoError(t, command.Run(), "%s: %s", each.Place(), &output)
	}
}

// TestDocumentation_DatasourcesAreValid parses the datasources in the documentation
// as the gateway does. Package schemas checks them against the models.
func TestDocumentation_DatasourcesAreValid(t *testing.T) {
	for _, each := range blocks(t, "datasource") {
		var read struct {
			Spec struct {
				Plugin struct {
					Spec map[string]any `yaml:"spec"`
				} `yaml:"plugin"`
			} `yaml:"spec"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(each.Text), &read), each.Place())
		spec, err := json.Marshal(read.Spec.Plugin.Spec)
		require.NoError(t, err)
		_, err = perses.ParseSpec(spec, nil)
		require.NoError(t, err, each.Place())
	}
}
