package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// release is a release of Perses whose CUE library the schemas are held to.
type release struct {
	perses string // such as "0.54"
	cue    string // such as "v0.16.1"
}

// releases are those that the plugin module supports.
var releases = []release{
	{perses: "0.52", cue: "v0.14.1"},
	{perses: "0.53", cue: "v0.15.4"},
	{perses: "0.54", cue: "v0.16.1"},
}

// request and answer mirror those of tools/cue/validate.go.
type request struct {
	Name       string          `json:"name"`
	Schema     string          `json:"schema"`
	Package    string          `json:"package,omitempty"`
	Definition string          `json:"definition,omitempty"`
	Document   json.RawMessage `json:"document"`
}

type answer struct {
	Errors  []string `json:"errors"`
	Details string   `json:"details"`
}

// messages returns what an author reads, one line each: the details without the file positions, which stand indented
// below the message they belong to.
func (a answer) messages() []string {
	var lines []string
	for line := range strings.Lines(a.Details) {
		line = strings.TrimRight(line, "\n")
		if line != "" && !strings.HasPrefix(line, "    ") {
			lines = append(lines, strings.TrimSuffix(line, ":"))
		}
	}
	return lines
}

// forEachRelease runs a test once for every release of Perses.
func forEachRelease(t *testing.T, test func(t *testing.T, r release)) {
	t.Helper()
	for _, r := range releases {
		t.Run("perses-"+r.perses, func(t *testing.T) { test(t, r) })
	}
}

// check validates documents the way the Perses server of the release does.
func (r release) check(t *testing.T, requests []request) map[string]answer {
	t.Helper()
	input, err := json.Marshal(requests)
	if err != nil {
		t.Fatalf("write the requests: %v", err)
	}
	output, err := r.cuecheck(t, input, "validate")
	if err != nil {
		t.Fatalf("validate: %v", err)
	}
	var answers map[string]answer
	if err := json.Unmarshal(output, &answers); err != nil {
		t.Fatalf("read the answers: %v", err)
	}
	if len(answers) != len(requests) {
		t.Fatalf("%d requests got %d answers", len(requests), len(answers))
	}
	return answers
}

// cuecheck runs the program of tools/cue and returns what it printed. An exit status other than 0 is an error that
// holds the standard error of the program.
func (r release) cuecheck(t *testing.T, input []byte, args ...string) ([]byte, error) {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return execute(input, append([]string{"../tools/cue/run", r.perses}, args...)...)
}

// buildOnce builds the programs that are not in the cache yet. One after the other is the fastest, because they share
// most of the standard library.
var buildOnce = sync.OnceValue(func() error {
	if err := readWhatProgramsRead(); err != nil {
		return err
	}
	for _, r := range releases {
		if _, err := execute(nil, "../tools/cue/run", "--build-only", r.perses); err != nil {
			return fmt.Errorf("build the validator of Perses %s: %w", r.perses, err)
		}
	}
	return nil
})

// readWhatProgramsRead opens the files that only the child processes would open otherwise. The go command looks at the
// files a test opened to tell whether its last result still holds: without this, a changed schema would go unnoticed.
func readWhatProgramsRead() error {
	for _, root := range []string{".", "../cue.mod", "../tools/cue"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			_, err = os.ReadFile(path)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func execute(input []byte, command ...string) ([]byte, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, stderr.String())
	}
	return stdout.Bytes(), nil
}

func TestValidators_HoldTheVersionsOfPerses(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		output, err := r.cuecheck(t, nil, "version")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(output)); got != r.cue {
			t.Errorf("tools/cue/run %s was built with CUE %s, want %s", r.perses, got, r.cue)
		}
	})
}

func TestFormat_ShowsAndRemovesDifferences(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.cue")
	if err := os.WriteFile(file, []byte("package a\nx:    1\nlonger: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := releases[len(releases)-1]

	output, err := r.cuecheck(t, nil, "format", dir)
	if err == nil {
		t.Error("format of an unformatted file succeeded, want exit status 1")
	}
	for _, line := range []string{"-x:    1", "+x:      1"} {
		if !strings.Contains(string(output), line+"\n") {
			t.Errorf("format printed\n%s\nwithout %q", output, line)
		}
	}
	if _, err := r.cuecheck(t, nil, "format", "-w", dir); err != nil {
		t.Errorf("format -w: %v", err)
	}
	if output, err := r.cuecheck(t, nil, "format", dir); err != nil || len(output) > 0 {
		t.Errorf("format after format -w: %v, printed\n%s", err, output)
	}
	if _, err := r.cuecheck(t, nil, "format", t.TempDir()); err == nil || !strings.Contains(err.Error(), "no .cue file found") {
		t.Errorf("format of a directory without CUE: error %v, want one that says so", err)
	}
}
