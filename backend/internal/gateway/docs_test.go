package gateway_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documents are the texts for users, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../../docs/*.md")
	require.NoError(t, err)
	below, err := filepath.Glob("../../../docs/*/*.md")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, file := range append(append(files, below...), "../../../README.md", "../../../CONTRIBUTING.md", "../../../SECURITY.md", "../../../CHANGELOG.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	require.Greater(t, len(texts), 30)
	return texts
}

// anchors are the fragments that headings of a document can be linked by.
func anchors(text string) []string {
	var list []string
	unwanted := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		plain := unwanted.ReplaceAllString(strings.ToLower(heading[1]), "")
		list = append(list, strings.ReplaceAll(plain, " ", "-"))
	}
	return list
}

func TestDocumentation_LinksHaveTargets(t *testing.T) {
	texts := documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for file, text := range texts {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
				_, err := os.Stat(path)
				require.NoError(t, err, "%s links to %s", file, found[1])
			}
			if fragment != "" {
				require.Contains(t, anchors(texts[path]), fragment, "%s links to %s", file, found[1])
			}
		}
	}
}

// TestDocumentation_MessagesExist checks that the messages in
// docs/troubleshooting.md are those of the code.
func TestDocumentation_MessagesExist(t *testing.T) {
	var sources strings.Builder
	require.NoError(t, filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		sources.Write(text)
		return err
	}))
	// Formats stand for names, tiers and durations.
	known := regexp.MustCompile(`%[sqd]`).ReplaceAllString(sources.String(), "…")
	text := documents(t)["../../../docs/troubleshooting.md"]
	rows := 0
	for line := range strings.Lines(text) {
		message := regexp.MustCompile("^\\| `([^`]+)`(?: [^|]*)? \\|").FindStringSubmatch(line)
		if message == nil || strings.Contains(message[1], "X-Tier") {
			continue
		}
		rows++
		for part := range strings.SplitSeq(message[1], "…") {
			assert.True(t, strings.Contains(known, strings.TrimSpace(part)), "no message has %q of %q", part, message[1])
		}
	}
	require.Greater(t, rows, 15)
}
