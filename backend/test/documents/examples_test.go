package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestExcerpts_AreInTheirFiles compares excerpts with their files: word by word or,
// in YAML, as a part of the whole.
func TestExcerpts_AreInTheirFiles(t *testing.T) {
	blocks, err := Of(root, "part-of")
	require.NoError(t, err)
	for _, each := range blocks {
		file, err := os.ReadFile(filepath.Join(root, each.Argument()))
		require.NoError(t, err, each.Place())
		if strings.Contains(string(file), each.Text) {
			continue
		}
		var part, whole any
		if each.Language == "yaml" {
			require.NoError(t, yaml.Unmarshal([]byte(each.Text), &part), each.Place())
			require.NoError(t, yaml.Unmarshal(file, &whole), each.Place())
		}
		assert.True(t, part != nil && contains(whole, part), "%s: it is not in %s", each.Place(), each.Argument())
	}
}

// contains reports whether a value has all that a part of it says. Lists are
// equal in their order.
func contains(whole, part any) bool {
	switch part := part.(type) {
	case map[string]any:
		object, isObject := whole.(map[string]any)
		for name, value := range part {
			if !isObject || !contains(object[name], value) {
				return false
			}
		}
		return isObject
	case []any:
		list, isList := whole.([]any)
		if !isList || len(list) != len(part) {
			return false
		}
		for i := range part {
			if !contains(list[i], part[i]) {
				return false
			}
		}
		return true
	}
	return whole == part
}

func TestContains_ComparesPartsOfYAML(t *testing.T) {
	var whole any
	require.NoError(t, yaml.Unmarshal([]byte(`{a: {b: [1, {c: x}], d: true}, e: 2}`), &whole))
	for text, expected := range map[string]bool{
		"{}": true, "{e: 2}": true, "{a: {b: [1, {}]}}": true, "{a: {d: false}}": false, "{a: {b: [1]}}": false, "{f: 1}": false, "[]": false,
	} {
		var part any
		require.NoError(t, yaml.Unmarshal([]byte(text), &part))
		assert.Equal(t, expected, contains(whole, part), text)
	}
}

// TestCI_RunsDocumentedTargets checks that CI runs each target of make that the
// documentation tells newcomers to run.
func TestCI_RunsDocumentedTargets(t *testing.T) {
	blocks, err := Of(root, "ci")
	require.NoError(t, err)
	ci, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for line := range strings.Lines(Script(blocks)) {
		target, found := strings.CutPrefix(strings.TrimSpace(line), "make ")
		require.True(t, found, "CI runs targets of make, not %q", line)
		inCI := regexp.MustCompile(`(?m)^step (?:env PATH=\S+ )?make ` + regexp.QuoteMeta(target) + `( |$)`).Match(ci)
		inMakefile := regexp.MustCompile(`(?m)^\t.*\bmake ` + regexp.QuoteMeta(target) + `( |$)`).Match(makefile)
		assert.True(t, inCI || inMakefile, "CI does not run make %s", target)
	}
}
