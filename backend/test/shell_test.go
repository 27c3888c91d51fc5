//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// shell runs the commands of a document as somebody would who has the programs
// on the path, a home and a checkout of this project.
type shell struct {
	t                *testing.T
	directory        string
	checkout, perses string
	programs, home   string
}

// newShell makes a directory to work in and one with the programs.
func newShell(t *testing.T, perses string) shell {
	t.Helper()
	checkout, err := stack.Root()
	require.NoError(t, err)
	s := shell{t: t, checkout: checkout, perses: perses, directory: t.TempDir(), programs: t.TempDir(), home: t.TempDir()}
	cue, err := stack.Tool(t.Context(), os.Stderr, "cue")
	require.NoError(t, err)
	for name, path := range map[string]string{"cue": cue, "percli": shared.percliPath, "tierproxy": shared.tierproxyPath} {
		require.NoError(t, os.Symlink(path, filepath.Join(s.programs, name)))
	}
	return s
}

// run runs a script; it stops at the first command that fails, and what it left
// in the background stops with it.
func (s shell) run(script string) (string, error) {
	s.t.Helper()
	script = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + script
	command := exec.CommandContext(s.t.Context(), "bash", "-euo", "pipefail", "-c", script)
	command.Dir = s.directory
	command.Env = append(os.Environ(),
		"PATH="+s.programs+":"+os.Getenv("PATH"), "HOME="+s.home, "TIERED_PROMETHEUS="+s.checkout, "PERSES="+s.perses)
	for _, variable := range []string{"GOCACHE", "GOMODCACHE"} { // They are below the home that this replaces.
		value, err := exec.CommandContext(s.t.Context(), "go", "env", variable).Output()
		require.NoError(s.t, err)
		command.Env = append(command.Env, variable+"="+strings.TrimSpace(string(value)))
	}
	output, err := command.CombinedOutput()
	return string(output), err
}

// write writes a file that the commands expect.
func (s shell) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.directory, name), []byte(text), 0o600))
}

// commands returns what the documentation tells its reader to run in one
// surrounding.
func commands(t *testing.T, check string) string {
	t.Helper()
	blocks, err := documents.Of("../..", check)
	require.NoError(t, err)
	return documents.Script(blocks)
}
