package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
)

// checkout is the root of the checkout.
const checkout = "../.."

// blocks are those of the documentation that are checked in one way.
func blocks(t *testing.T, check string) []documents.Block {
	t.Helper()
	found, err := documents.Of(checkout, check)
	require.NoError(t, err)
	return found
}

// TestDocumentation_ConfigurationsAreValid loads every configuration in the
// documentation.
func TestDocumentation_ConfigurationsAreValid(t *testing.T) {
	clearEnvironment(t)
	for _, each := range blocks(t, "configuration") {
		file := filepath.Join(t.TempDir(), "tierproxy.yaml")
		text := each.Text
		for _, needed := range []struct{ section, text string }{
			{"perses:", "perses: {url: http://perses:8080}\n"}, {"cold:", "cold: {url: http://thanos:9090}\n"},
		} {
			if !strings.Contains("\n"+text, "\n"+needed.section) {
				text += needed.text // What other parts of the same file say.
			}
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := Load(file)
		assert.NoError(t, err, "%s\n%s", each.Place(), text)
	}
}

// TestDocumentation_VariablesHaveAnEffect sets the variables that the documentation
// shows.
func TestDocumentation_VariablesHaveAnEffect(t *testing.T) {
	for _, each := range blocks(t, "environment") {
		clearEnvironment(t)
		shown := regexp.MustCompile(`(?m)^([A-Z0-9_]+)=(\S+)$`).FindAllStringSubmatch(each.Text, -1)
		require.Len(t, shown, strings.Count(each.Text, "\n"), each.Place())
		for _, setting := range shown {
			t.Setenv(setting[1], setting[2])
		}
		read, err := FromEnvironment()
		require.NoError(t, err)
		rendered, err := yaml.Marshal(read)
		require.NoError(t, err)
		for _, setting := range shown {
			for _, value := range splitURLs(setting[2]) {
				require.Contains(t, string(rendered), ": "+value+"\n", "%s: %s has no effect", each.Place(), setting[1])
			}
		}
	}
}
