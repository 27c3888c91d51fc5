//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goModule is a Go module with CUE of Perses, pinned by its checksum. None of its Go is built.
type goModule struct{ path, version, sum string }

// migrated are the plugin modules of Perses 0.53.1 with migration scripts, as far as the Go module proxy has them. Those of
// 0.54 it lacks.
var migrated = map[string]goModule{
	"BarChart":           {"github.com/perses/plugins/barchart", "v0.11.1", "h1:sQj89iZjy2uf5Hzql+Z392AqdgM0zNsDRMdvmvTOhzw="},
	"GaugeChart":         {"github.com/perses/plugins/gaugechart", "v0.12.1", "h1:VGIKrK3y5Omz1saOanXXsoXKlgd4AUbr1RhV47+XpPc="},
	"Markdown":           {"github.com/perses/plugins/markdown", "v0.11.1", "h1:5rtUlCi0uBwT+K26ZJKZV8/nnzb5jWWh2zWH8BF64/M="},
	"Prometheus":         {"github.com/perses/plugins/prometheus", "v0.57.1", "h1:/axcuH29Gmi7cHydJPqmpFp+MWJsKMS6oD5Ql7LQM3Y="},
	"StatChart":          {"github.com/perses/plugins/statchart", "v0.12.1", "h1:C1/WjA5jmvU8h+vWvOy4M0BAAncKflSDoy1uiW6p4Qg="},
	"StaticListVariable": {"github.com/perses/plugins/staticlistvariable", "v0.8.1", "h1:0Xb8TbcjjOsqS3qEXdrGymmffLqP3dNC9gCgJW9skG8="},
	"TimeSeriesChart":    {"github.com/perses/plugins/timeserieschart", "v0.12.1", "h1:3OxNZw8FROg2oJKgP0lLMjsG/olU27K1ppeTLX9k+CY="},
}

// imported are the modules whose CUE those modules import, and the directory in it.
var imported = []goModule{
	{"github.com/perses/perses", "v0.54.0", "h1:zfq0wkyjRPs1Em76PdTfWyzdPZKGyJDzo7QqxiBTkz0="},
	{"github.com/perses/shared", "v0.54.0", "h1:qOG9CUb/dp9KoxROJYPApMik5k2bdCPOtbvW3M2UXcg="},
	{"github.com/perses/spec", "v0.2.0", "h1:m/cdXVErAfjDft+dfxkfL+63Z+ggJ0sY08Wg7Q9Ruzk="},
}

// tableMigration stands for the script of Perses' table panel, which the Go module proxy lacks. The true one also migrates
// columns and transformations.
const tableMigration = `package migrate

#grafanaType: "table"
#panel:       _

kind: "Table"
spec: {}
`

// download returns the directories of modules in the module cache, by their paths.
func download(t *testing.T, modules []goModule) map[string]string {
	t.Helper()
	arguments, sums := []string{"mod", "download", "-json"}, map[string]string{}
	for _, module := range modules {
		arguments = append(arguments, module.path+"@"+module.version)
		sums[module.path] = module.sum
	}
	command := exec.CommandContext(t.Context(), "go", arguments...)
	command.Dir = "../../tools/cue" // This keeps the downloads out of the go.mod of the gateway.
	command.Env = append(os.Environ(), "GOWORK=off")
	output, failure := command.Output()
	directories := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var module struct{ Path, Dir, Sum, Error string }
		require.NoError(t, decoder.Decode(&module))
		require.Empty(t, module.Error, module.Path)
		require.Equal(t, sums[module.Path], module.Sum, module.Path)
		directories[module.Path] = module.Dir
	}
	require.NoError(t, failure)
	require.Len(t, directories, len(modules))
	return directories
}

// migrationModules writes plugin modules with their migration scripts into a directory: the true ones where they can be had,
// and the others as all tests have them. A Perses server and percli read it.
func migrationModules(t *testing.T) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "plugins")
	require.NoError(t, os.CopyFS(directory, os.DirFS(shared.path("modules"))))
	downloaded := download(t, slices.Concat(imported, slices.Collect(maps.Values(migrated))))
	for name, module := range migrated {
		source, target := downloaded[module.path], filepath.Join(directory, name)
		require.NoError(t, os.RemoveAll(target))
		require.NoError(t, os.CopyFS(filepath.Join(target, "schemas"), os.DirFS(filepath.Join(source, "schemas"))))
		for _, each := range imported {
			require.NoError(t, copyWithoutModule(filepath.Join(target, "cue.mod/pkg", each.path, "cue"), filepath.Join(downloaded[each.path], "cue")))
		}
		description, err := os.ReadFile(filepath.Join(source, "package.json"))
		require.NoError(t, err)
		writeFiles(t, target, map[string]string{
			"package.json":       string(description),
			"mf-manifest.json":   fmt.Sprintf(`{"id": %[1]q, "name": %[1]q, "metaData": {"buildInfo": {"buildVersion": %[2]q}}}`, name, strings.TrimPrefix(module.version, "v")),
			"cue.mod/module.cue": fmt.Sprintf("module: %q\nlanguage: version: %q\n", module.path+"@v0", "v0.15.1"),
		})
	}
	writeFiles(t, filepath.Join(directory, "Table"), map[string]string{"schemas/table/migrate/migrate.cue": tableMigration})
	return directory
}

// copyWithoutModule copies a directory of CUE without its module file, since the copy is part of another module.
func copyWithoutModule(to, from string) error {
	return errors.Join(os.CopyFS(to, os.DirFS(from)), os.RemoveAll(filepath.Join(to, "cue.mod")))
}

func writeFiles(t *testing.T, directory string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(directory, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
}
