//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	require.NoError(t, os.Symlink(cue, filepath.Join(s.programs, "cue")))
	require.NoError(t, os.Symlink(shared.percliPath, filepath.Join(s.programs, "percli")))
	return s
}

// run runs a script; it stops at the first command that fails.
func (s shell) run(script string) (string, error) {
	s.t.Helper()
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

// commands returns what a document tells its reader to run.
func commands(t *testing.T, document string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(block[1])
	}
	require.NotEmpty(t, script.String())
	return script.String()
}

// The way of docs/dashboards-as-code.md, from an empty directory to a panel
// that draws.
func TestDashboardsAsCode(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	shell := newShell(t, s.perses.URL)
	const document = "../../docs/dashboards-as-code.md"
	output, err := shell.run(commands(t, document))
	require.NoError(t, err, output)

	shown, err := os.ReadFile(document)
	require.NoError(t, err)
	example, err := os.ReadFile("../../deploy/examples/dashboards-as-code/datasource.cue")
	require.NoError(t, err)
	require.Contains(t, string(shown), "```cue\n"+string(example)+"```\n")

	var kinds = map[string]int{
		"TieredPrometheusTimeSeriesQuery": 2, "TieredPrometheusLabelValuesVariable": 1,
		"TieredPrometheusLabelNamesVariable": 1, "TieredPrometheusPromQLVariable": 1,
	}
	for _, name := range []string{"shop", "shop-in-go"} {
		saved := s.saved("/api/v1/projects/dashboards-as-code/dashboards/" + name)
		for kind, count := range kinds {
			require.Equal(t, count, strings.Count(saved, `"kind":"`+kind+`"`), "%s of %s", kind, saved)
		}
	}
	require.Equal(t, expressions(t, s, "shop"), expressions(t, s, "shop-in-go"), "CUE and Go build the same queries")

	// What its reader changes: where the gateway is.
	output, err = shell.run(`cd dashboards
sed -i "s#http://tierproxy:9190#` + s.tierproxy.URL + `#" datasource.cue
percli dac build -f datasource.cue -m stdout -ojson | percli apply -f -`)
	require.NoError(t, err, output)
	require.Contains(t, s.saved("/api/v1/globaldatasources/metrics"), s.tierproxy.URL+"/proxy/globaldatasources/metrics")
	status, body, err := stack.Get(t.Context(), s.perses.URL+"/proxy/globaldatasources/metrics/api/v1/query?query=count(http_requests_total)", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", body)
	require.Contains(t, string(body), `"value":[`)

	// What is wrong shows at the build.
	for file, wrong := range map[string]struct{ script, expected string }{
		"shop.cue": {`cd dashboards; sed -i 's/"cold"/"warm"/' shop.cue; percli dac build -f shop.cue -m stdout`, "must be auto, hot or cold"},
		"main.go":  {`cd dashboards-in-go; sed -i 's/query.Cold/"warm"/' main.go; percli dac build -f main.go -m stdout`, "must be auto, hot or cold"},
	} {
		output, err = shell.run(wrong.script)
		require.Error(t, err, file)
		require.Contains(t, output, wrong.expected)
	}
}

// saved returns a resource as Perses keeps it.
func (s *site) saved(path string) string {
	s.t.Helper()
	status, body, err := stack.Get(s.t.Context(), s.perses.URL+path, nil)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, status, "%s", body)
	return string(body)
}

// expressions are those of the queries of all panels.
func expressions(t *testing.T, s *site, dashboard string) []string {
	t.Helper()
	var read struct {
		Spec struct {
			Panels map[string]struct {
				Spec struct {
					Queries []struct {
						Spec struct {
							Plugin struct {
								Spec struct {
									Query string `json:"query"`
								} `json:"spec"`
							} `json:"plugin"`
						} `json:"spec"`
					} `json:"queries"`
				} `json:"spec"`
			} `json:"panels"`
		} `json:"spec"`
	}
	require.NoError(t, json.Unmarshal([]byte(s.saved("/api/v1/projects/dashboards-as-code/dashboards/"+dashboard)), &read))
	var found []string
	for _, panel := range []string{"0_0", "0_1"} {
		for _, query := range read.Spec.Panels[panel].Spec.Queries {
			found = append(found, query.Spec.Plugin.Spec.Query)
		}
	}
	require.Len(t, found, 2)
	return found
}
