// Package conventions checks how the code is written, where no linter does.
package conventions

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the checkout.
const root = "../../.."

// longestTest is how many lines a test may have. A longer one becomes a table with
// subtests, or several tests.
const longestTest = 80

// test is a test function.
type test struct {
	directory, name string
	position        token.Position
	lines           int
}

// tests returns all test functions in Go files below a directory.
func tests(t *testing.T, directory string) []test {
	t.Helper()
	var list []test
	require.NoError(t, filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != directory) {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			function, is := declaration.(*ast.FuncDecl)
			if !is || function.Recv != nil || !strings.HasPrefix(function.Name.Name, "Test") || function.Name.Name == "TestMain" {
				continue
			}
			below, err := filepath.Rel(directory, filepath.Dir(path))
			if err != nil {
				return err
			}
			from, to := files.Position(function.Pos()), files.Position(function.End())
			list = append(list, test{filepath.ToSlash(below), function.Name.Name, from, to.Line - from.Line + 1})
		}
		return nil
	}))
	return list
}

func TestTests_AreNamedForUnitAndBehaviour(t *testing.T) {
	all := tests(t, root)
	require.Greater(t, len(all), 500)
	for _, each := range all {
		assert.Regexp(t, regexp.MustCompile(`^Test[A-Z][A-Za-z0-9]*_[A-Z0-9][A-Za-z0-9]*$`), each.name, "%s: name it TestUnit_Behaviour", each.position)
	}
}

func TestTests_AreShort(t *testing.T) {
	for _, each := range tests(t, root) {
		assert.LessOrEqual(t, each.lines, longestTest, "%s: %s has too many lines: make it a table with subtests, or several tests", each.position, each.name)
	}
}
