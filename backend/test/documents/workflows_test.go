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

// workflow is the part of a GitHub workflow that the tests read.
type workflow struct {
	Jobs map[string]struct {
		Uses  string `yaml:"uses"`
		Steps []struct {
			Uses string `yaml:"uses"`
			Run  string `yaml:"run"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// readWorkflow returns the workflow in .github/workflows with that name.
func readWorkflow(t *testing.T, name string) workflow {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".github", "workflows", name))
	require.NoError(t, err)
	var read workflow
	require.NoError(t, yaml.Unmarshal(text, &read), name)
	return read
}

// targets returns the targets of make that a workflow runs.
func (w workflow) targets() []string {
	var list []string
	for _, job := range w.Jobs {
		for _, step := range job.Steps {
			for _, found := range regexp.MustCompile(`(?m)^make (\S+)`).FindAllStringSubmatch(step.Run, -1) {
				list = append(list, found[1])
			}
		}
	}
	return list
}

func TestWorkflows_RunTargetsOfMake(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for name, needed := range map[string][]string{"ci.yml": {"test", "check", "e2e"}, "release.yml": {"release"}} {
		run := readWorkflow(t, name).targets()
		assert.Subset(t, run, needed, name)
		for _, target := range run {
			assert.Contains(t, string(makefile), "\n"+target+":", "%s: make has no such target", name)
		}
	}
}

func TestWorkflows_PinActionsByVersion(t *testing.T) {
	for _, name := range []string{"ci.yml", "release.yml"} {
		for _, job := range readWorkflow(t, name).Jobs {
			for _, step := range job.Steps {
				if step.Uses != "" && !strings.HasPrefix(step.Uses, "./") {
					assert.Regexp(t, `^actions/[a-z-]+@v\d+\.\d+\.\d+$`, step.Uses, name)
				}
			}
		}
	}
}

func TestIssueTemplates_AreForms(t *testing.T) {
	for _, name := range []string{"bug.yml", "feature.yml"} {
		text, err := os.ReadFile(filepath.Join(root, ".github", "ISSUE_TEMPLATE", name))
		require.NoError(t, err)
		var form struct {
			Name, Description string
			Body              []map[string]any
		}
		require.NoError(t, yaml.Unmarshal(text, &form), name)
		assert.NotEmpty(t, form.Name, name)
		assert.NotEmpty(t, form.Description, name)
		assert.NotEmpty(t, form.Body, name)
	}
}
