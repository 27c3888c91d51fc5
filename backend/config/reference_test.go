package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the generated documentation anew")

const referenceFile = "../../docs/configuration.md"

// TestConfigurationReference_MatchesTheSettings compares docs/configuration.md with
// the structs and their comments. With -update it writes the page.
func TestConfigurationReference_MatchesTheSettings(t *testing.T) {
	rendered, undocumented := renderReference(t)
	require.Empty(t, undocumented, "each of these fields takes a comment that begins with its name")
	if *update {
		require.NoError(t, os.WriteFile(referenceFile, []byte(rendered), 0o600))
	}
	written, err := os.ReadFile(referenceFile)
	require.NoError(t, err)
	require.Equal(t, string(written), rendered, "docs/configuration.md is stale: run make generate")
}

const referenceHead = `# Configuration of tierproxy

<!-- Written by make generate from the Go structs. Do not edit. -->

Every setting is a key of the YAML file (` + "`--config`" + `) and an environment variable. The environment overrides the file. If a
setting has two variables, the first one overrides the second, unless it is empty. Durations use the Prometheus notation:
500ms, 30s, 15m, 1h30m, 15d.

Variables of lists end in the index of the element: _0, _1 and so on, without a gap. A variable that starts with TIERPROXY_, and that no key
reads, is a mistake, unless Kubernetes has set it for a Service. A variable that ends in ` + "`_*`" + ` stands for one variable
for each key below it, such as ` + "`TIERPROXY_HOT_HTTP_CONFIG_BASIC_AUTH_USERNAME`" + `.

tierproxy does not start with an invalid configuration, and reports all errors. Settings of the process, such as the listen
address (` + "`--web.listen-address`, :9190" + ` by default) and the log level, are flags: see ` + "`tierproxy --help`" + `.
`

// severalHotTiers is the section about a list of hot tiers.
const severalHotTiers = `
### Several hot tiers

` + "`hot`" + ` is either one tier with the keys above, or a list of 1 to 200 tiers. Each entry has the same keys, and exactly one of
` + "`url` and `service`" + `. tierproxy reads the external labels of each entry. Entries whose external labels agree, replica labels aside,
are replicas of one source: an HA pair. All others are sources of their own. This example has two clusters, the first one with an HA pair:

<!-- checked: configuration -->
` + "```yaml" + `
hot:
  - name: eu-1-a
    url: https://prometheus-a.eu-1.example.com
  - name: eu-1-b
    url: https://prometheus-b.eu-1.example.com
  - name: us-1
    url: https://prometheus.us-1.example.com
    retention: 15d
    http_config: {authorization: {credentials_file: /etc/tierproxy/us-1-token}}
cold:
  url: https://thanos-query.example.com
  replica_labels: [replica]
` + "```" + `

Names are unique. An entry without a name has the host and port of its URL as its name, or namespace/name of its Service. An entry with
a selector stands for every Service that matches, in one namespace or in all:

<!-- checked: configuration -->
` + "```yaml" + `
hot:
  - service: {selector: app.kubernetes.io/name=prometheus, all_namespaces: true, port: web}
  - url: https://prometheus.us-1.example.com
` + "```" + `

Without a file, list the URLs:

<!-- checked: environment -->
` + "```sh" + `
PROMETHEUS_URL=https://prometheus.eu-1.example.com,https://prometheus.us-1.example.com
TIERPROXY_HOT_RETENTION=15d
TIERPROXY_HOT_1_NAME=us-1
` + "```" + `

- ` + "`PROMETHEUS_URL` and `TIERPROXY_HOT_URL`" + ` replace the tiers of the file.
- The retention, ` + "`http_config`" + `, tenancy and tenant of the variables and of a file with one tier then apply to each URL.
- Other keys belong to one tier. Their variables have the index of the entry: ` + "`TIERPROXY_HOT_0_EXTERNAL_LABELS`" + ` is
  ` + "`hot[0].external_labels`" + `. Such variables also override and extend a list in the file, or make one.
- With ` + "`PROMETHEUS_URL`" + `, variables below ` + "`TIERPROXY_HOT_0_HTTP_CONFIG_`" + ` replace the common ` + "`http_config`" + ` of this entry.
- Variables of a single tier, such as ` + "`TIERPROXY_HOT_RETENTION`" + `, are an error if the file has a list.
`

// reference is the page of all settings while it is written.
type reference struct {
	comments     map[string]string
	text         strings.Builder
	undocumented []string
}

// renderReference returns the page, with one section for each group of keys, and
// the fields that have no comment.
func renderReference(t *testing.T) (page string, undocumented []string) {
	t.Helper()
	written := &reference{comments: fieldComments(t)}
	written.text.WriteString(referenceHead)
	config := reflect.ValueOf(Default())
	for field, value := range config.Fields() {
		key := yamlKey(field)
		fmt.Fprintf(&written.text, "\n## %s\n\n%s\n\n| key | variable | default | meaning |\n| --- | --- | --- | --- |\n",
			key, written.meaning(config.Type(), field))
		variable := environmentPrefix + "_" + strings.ToUpper(key)
		if isList := value.Kind() == reflect.Slice; isList && value.Type().Elem().Kind() != reflect.Struct {
			fmt.Fprintf(&written.text, "| `%s[]` | `%s_0` and so on | empty | see above |\n", key, variable)
			continue
		}
		written.rows(key, variable, value)
		if key == "hot" {
			written.text.WriteString(severalHotTiers)
		}
	}
	return written.text.String(), written.undocumented
}

// rows writes a row for each key of a struct, or of the elements of a list of
// structs, and for the keys below.
func (r *reference) rows(key, variable string, value reflect.Value) {
	if value.Kind() == reflect.Slice {
		key, variable, value = key+"[]", variable+"_0", reflect.Zero(value.Type().Elem())
	}
	for field, held := range value.Fields() {
		if yamlKey(field) == "-" {
			continue
		}
		key, variable := key+"."+yamlKey(field), variable+"_"+strings.ToUpper(yamlKey(field))
		meaning := r.meaning(value.Type(), field)
		isList := held.Kind() == reflect.Slice
		switch {
		case held.Kind() == reflect.Struct, isList && held.Type().Elem().Kind() == reflect.Struct:
			fmt.Fprintf(&r.text, "| `%s` | | | %s |\n", key, meaning)
			r.rows(key, variable, held)
		case isList:
			fmt.Fprintf(&r.text, "| `%s[]` | `%s_0` and so on | empty | %s |\n", key, variable, meaning)
		case held.Kind() == reflect.Pointer:
			fmt.Fprintf(&r.text, "| `%s` | `%s_*` | empty | %s |\n", key, variable, meaning)
		default:
			variables := "`" + variable + "`"
			if contract := field.Tag.Get("contract"); contract != "" {
				variables = "`" + contract + "`, " + variables
			}
			fmt.Fprintf(&r.text, "| `%s` | %s | %s | %s |\n", key, variables, defaultText(held), meaning)
		}
	}
}

// meaning is the comment of a field, with the key in the place of the Go name.
func (r *reference) meaning(parent reflect.Type, field reflect.StructField) string {
	name := parent.Name() + "." + field.Name
	rest, found := strings.CutPrefix(r.comments[name], field.Name+" ")
	if !found {
		r.undocumented = append(r.undocumented, name)
	}
	return "`" + yamlKey(field) + "` " + rest
}

func yamlKey(field reflect.StructField) string {
	key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return key
}

func defaultText(value reflect.Value) string {
	if text := fmt.Sprint(value.Interface()); text != "" && value.Kind() != reflect.Map {
		return "`" + text + "`"
	}
	return "empty"
}

// fieldComments maps Type.Field to the comment in front of the field, for all
// types of the package.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	comments := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		collectComments(file, comments)
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
