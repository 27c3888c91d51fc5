package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// roomsOfContributing returns the row of each room in the picture of
// CONTRIBUTING.md, counted from the top.
func roomsOfContributing(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	require.NoError(t, err)
	_, picture, found := strings.Cut(string(text), "┌")
	require.True(t, found, "CONTRIBUTING.md has no picture of the rooms")
	picture, _, _ = strings.Cut(picture, "└")
	rooms, row := map[string]int{}, 0
	for line := range strings.Lines(picture) {
		if strings.HasPrefix(line, "├") {
			row++
		}
		for _, room := range regexp.MustCompile(`│  (\S+) {2,}`).FindAllStringSubmatch(line, -1) {
			rooms[room[1]] = row
		}
	}
	require.Greater(t, len(rooms), 12)
	return rooms
}

// TestRooms_ImportOnlyRowsBelow compares the picture of CONTRIBUTING.md with what
// the packages import.
func TestRooms_ImportOnlyRowsBelow(t *testing.T) {
	const backend = "github.com/tiered-prometheus/tiered-prometheus/backend/"
	rooms := roomsOfContributing(t)
	command := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./backend/...")
	command.Dir = root
	output, err := command.Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(output)) {
		paths := strings.Fields(strings.ReplaceAll(line, backend, ""))
		row, drawn := rooms[paths[0]]
		for _, imported := range paths[1:] {
			if below, known := rooms[imported]; drawn && known {
				assert.Greater(t, below, row, "%s imports %s, which CONTRIBUTING.md draws beside or above it", paths[0], imported)
			}
		}
	}
}
