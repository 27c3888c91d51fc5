package documents

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// packageVersion returns the version of the file package.json in a directory of the checkout.
func packageVersion(t *testing.T, directory string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, directory, "package.json"))
	require.NoError(t, err)
	var read struct{ Version string }
	require.NoError(t, json.Unmarshal(text, &read))
	require.NotEmpty(t, read.Version)
	return read.Version
}

// TestVersion_IsOneEverywhere compares the version in package.json, which program, plugin modules and chart
// are built with, with all names of archives, images and charts in the repository.
func TestVersion_IsOneEverywhere(t *testing.T) {
	version := packageVersion(t, ".")
	assert.Equal(t, version, packageVersion(t, "demo/ui"))
	listed, err := exec.Command("git", "-C", root, "ls-files", "--", "*.md", "*.yaml", "*.yml", "*.go", "deploy", ".github", "demo").Output()
	require.NoError(t, err)
	named := regexp.MustCompile(`(?:(?:tierproxy|TieredPrometheus(?:Annotations)?\*?|tiered-prometheus-plugin)[-: ]|plugin module, version |newTag: |(?m:^(?:version|appVersion): "?))(\d+\.\d+\.\d+)`)
	found := 0
	for _, file := range strings.Fields(string(listed)) {
		if file == "CHANGELOG.md" || strings.HasPrefix(file, "docs/decisions/") || strings.HasPrefix(file, "docs/quality/") {
			continue // They name older versions, too.
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			found++
			assert.Equal(t, version, match[1], "%s: %q", file, match[0])
		}
	}
	require.Greater(t, found, 15, "the names of archives and images")
}
