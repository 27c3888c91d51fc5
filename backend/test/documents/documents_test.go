package documents

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the checkout.
const root = "../../.."

// TestBlocks_SayHowTheyAreChecked lists what is not checked, and looks for a test of
// each way to check.
func TestBlocks_SayHowTheyAreChecked(t *testing.T) {
	blocks, err := Read(root)
	require.NoError(t, err)
	used := map[string]int{}
	for _, each := range blocks {
		name, _, _ := strings.Cut(each.Check, " ")
		used[name]++
		if each.Reason != "" {
			t.Logf("not checked: %s (%s): %s", each.Place(), each.Language, each.Reason)
		}
	}
	for name, file := range Checks {
		require.NotZero(t, used[name], "no block is checked as %q any more", name)
		test, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.True(t, strings.Contains(string(test), `"`+name+`"`), "%s does not check %q", file, name)
	}
	t.Logf("%d blocks: %v", len(blocks), used)
}

func TestParse_ReadsBlocks(t *testing.T) {
	const text = "Text.\n\n" +
		"<!-- checked: part-of README.md -->\n```yaml\na: 1\n```\n\n" +
		"1. In a list:\n\n   <!-- not checked: it takes a moon -->\n   ```sh\n   launch \\\n     --now\n   ```\n\n" +
		"```\nprinted\n```\n\n" +
		"<!-- checked: ci -->\n````console\n$ make test\n```\nok\n$ make e2e\n````\n"
	blocks, err := Parse("a.md", text)
	require.NoError(t, err)
	require.Equal(t, []Block{
		{File: "a.md", Line: 4, Language: "yaml", Text: "a: 1\n", Check: "part-of README.md"},
		{File: "a.md", Line: 11, Language: "sh", Text: "launch \\\n  --now\n", Reason: "it takes a moon"},
		{File: "a.md", Line: 16, Text: "printed\n"},
		{File: "a.md", Line: 21, Language: "console", Text: "$ make test\n```\nok\n$ make e2e\n", Check: "ci"},
	}, blocks)
	require.Equal(t, "README.md", blocks[0].Argument())
	require.Equal(t, "make test\nmake e2e\n", Script(blocks[3:]))
}

func TestParse_ReportsMistakes(t *testing.T) {
	for name, test := range map[string]struct{ text, expected string }{
		"no comment":     {"```sh\ntrue\n```\n", "a.md:1: nothing tells how this sh is checked"},
		"comment above":  {"<!-- checked: ci -->\n\n```sh\ntrue\n```\n", "a.md:3: nothing tells how this sh is checked"},
		"unknown way":    {"<!-- checked: by-hand -->\n```sh\ntrue\n```\n", `a.md:2: nobody checks "by-hand"`},
		"no reason":      {"<!-- not checked: -->\n```sh\ntrue\n```\n", "a.md:2: nothing tells"},
		"hidden command": {"```\n$ true\n```\n", "a.md:1: it has commands"},
		"no end":         {"<!-- checked: ci -->\n```sh\ntrue\n", "a.md:2: the block does not end"},
	} {
		_, err := Parse("a.md", test.text)
		require.ErrorContains(t, err, test.expected, name)
	}
}
