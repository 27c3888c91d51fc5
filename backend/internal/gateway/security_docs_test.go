package gateway

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentation_SecurityNamesExistingTests looks for the tests that
// docs/security.md names.
func TestDocumentation_SecurityNamesExistingTests(t *testing.T) {
	text, err := os.ReadFile("../../../docs/security.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(named), 20)
	var tests strings.Builder
	for _, folder := range []string{"../..", "../../../deploy"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			tests.Write(content)
			return err
		}))
	}
	for _, each := range named {
		require.Contains(t, tests.String(), "\nfunc "+each[1]+"(", "docs/security.md names a test that does not exist")
	}
}
