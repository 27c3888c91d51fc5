package datasource

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the generated documentation anew")

const referenceFile = "../../docs/configuration.md"

// TestConfigurationReference holds docs/configuration.md to the structs and
// their comments, or writes it with -update.
func TestConfigurationReference(t *testing.T) {
	rendered := renderReference(t)
	if *update {
		require.NoError(t, os.WriteFile(referenceFile, []byte(rendered), 0o600))
	}
	written, err := os.ReadFile(referenceFile)
	require.NoError(t, err)
	require.Equal(t, string(written), rendered, "docs/configuration.md is stale: run make generate")
}

const referenceHead = `# Configuration of tierproxy

<!-- Written by make generate from the Go structs. Do not edit. -->

Every setting is a key of the YAML file that ` + "`--config`" + ` names, and an environment variable. The environment wins over the
file. Where a setting has two variables, the first one wins; set but empty, the first one counts as not set. Durations are
written as Prometheus writes them: 500ms, 30s, 15m, 1h30m, 15d.

tierproxy does not start with a configuration that has mistakes, and lists all of them. What is about the process, such as
the address to listen on (` + "`--web.listen-address`, :9190" + ` by default) and the log level, is in ` + "`tierproxy --help`" + `.
`

// renderReference writes one section for each group of keys.
func renderReference(t *testing.T) string {
	t.Helper()
	comments := fieldComments(t)
	var text strings.Builder
	text.WriteString(referenceHead)
	config := DefaultConfig()
	group := ""
	for _, setting := range settings(&config) {
		name, _, _ := strings.Cut(setting.key, ".")
		if name != group {
			group = name
			field := topField(name)
			fmt.Fprintf(&text, "\n## %s\n\n%s\n\n| key | variable | default | meaning |\n| --- | --- | --- | --- |\n",
				group, sentence(comments["Config."+field.Name], field.Name, name))
		}
		variables := "`" + setting.prefixed + "`"
		if setting.contract != "" {
			variables = "`" + setting.contract + "`, " + variables
		}
		kind := setting.field.Type
		if kind.Kind() == reflect.Slice {
			element := kind.Elem()
			if element.Kind() == reflect.String {
				last := setting.key[strings.LastIndex(setting.key, ".")+1:]
				fmt.Fprintf(&text, "| `%s[]` | `%s_0` and so on | | %s |\n", setting.key, setting.prefixed,
					sentence(comments[setting.parent.Name()+"."+setting.field.Name], setting.field.Name, last))
				continue
			}
			for i := range element.NumField() {
				key, _, _ := strings.Cut(element.Field(i).Tag.Get("yaml"), ",")
				variable := strings.ToUpper(key)
				if element.Field(i).Type.Kind() == reflect.Slice {
					key, variable = key+"[]", variable+"_0"
				}
				fmt.Fprintf(&text, "| `%s[].%s` | `%s_0_%s` and so on | | %s |\n", setting.key, key, setting.prefixed, variable,
					sentence(comments[element.Name()+"."+element.Field(i).Name], element.Field(i).Name, strings.TrimSuffix(key, "[]")))
			}
			continue
		}
		_, last, _ := strings.Cut(setting.key, ".")
		last = last[strings.LastIndex(last, ".")+1:]
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", setting.key, variables, defaultText(setting),
			sentence(comments[setting.parent.Name()+"."+setting.field.Name], setting.field.Name, last))
	}
	return text.String()
}

func topField(key string) reflect.StructField {
	for field := range reflect.TypeFor[Config]().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name == key {
			return field
		}
	}
	return reflect.StructField{}
}

func defaultText(setting setting) string {
	if value := fmt.Sprint(setting.value.Interface()); value != "" && setting.value.Kind() != reflect.Map && setting.value.Kind() != reflect.Pointer {
		return "`" + value + "`"
	}
	return "empty"
}

// sentence is a comment with the key in the place of the Go name.
func sentence(comment, name, key string) string {
	if rest, found := strings.CutPrefix(comment, name+" "); found {
		return "`" + key + "` " + rest
	}
	return comment
}

// fieldComments maps Type.Field to the comment in front of the field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, name := range []string{"config.go", "config_security.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		collectComments(file, comments)
	}
	require.NotEmpty(t, comments)
	for name, comment := range comments {
		require.NotEmpty(t, comment, "the field %s has no comment", name)
	}
	return comments
}

func collectComments(file *ast.File, comments map[string]string) {
	ast.Inspect(file, func(node ast.Node) bool {
		declared, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		body, ok := declared.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, field := range body.Fields.List {
			for _, name := range field.Names {
				comments[declared.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
			}
		}
		return false
	})
}
