// Package documents reads the documentation for users, so that tests can run
// the commands in it and parse its examples: what is not tried out rots.
//
// Each fenced block in a language that can be tried out has a comment above it
// that says how that is done, or why it is not:
//
//	<!-- checked: configuration -->
//	<!-- not checked: it takes a registry of images -->
//
// Blocks without a language, and those of mermaid, show what is printed or drawn.
package documents

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Block is a fenced block of a document.
type Block struct {
	// File is the path of the document in the checkout, Line that of the fence.
	File string
	Line int
	// Language is the word behind the fence, such as sh, or empty.
	Language string
	// Text is what stands between the fences.
	Text string
	// Check names how the block is checked: one of Checks, with an argument
	// behind it where there is one. Empty where it is not checked.
	Check string
	// Reason says why it is not checked.
	Reason string
}

// Place is where the block is, for messages.
func (b Block) Place() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// Argument is what stands behind the name of the check.
func (b Block) Argument() string {
	_, argument, _ := strings.Cut(b.Check, " ")
	return argument
}

// Checks are the ways in which blocks are checked, each with the test that does
// it.
var Checks = map[string]string{
	"configuration":      "backend/config/documents_test.go",           // a configuration of tierproxy, read as the server reads it
	"environment":        "backend/config/documents_test.go",           // settings of tierproxy in variables
	"answer":             "backend/internal/gateway/documents_test.go", // JSON of tierproxy's API, with its name
	"library":            "backend/internal/gateway/documents_test.go", // a Go program that builds
	"datasource":         "schemas/documents_test.go",                  // a datasource that the models and the gateway accept
	"part-of":            "backend/test/documents/examples_test.go",    // an excerpt of a file of the checkout
	"ci":                 "backend/test/documents/examples_test.go",    // targets of make that CI runs
	"dashboards-as-code": "backend/test/dac_test.go",                   // commands with percli and cue, in order
	"perses":             "backend/test/documents_test.go",             // commands beside a Perses and a tierproxy
	"grafana":            "backend/test/grafana_test.go",               // commands beside a Perses that move a dashboard of Grafana
	"machine":            "backend/test/documents_test.go",             // commands of the installation on one machine, in order
	"kubernetes":         "backend/test/cluster/install_test.go",       // commands of the installation in a cluster, in order
	"openshift":          "backend/test/cluster/install_test.go",
	"helm":               "backend/test/cluster/chart_install_test.go", // commands with the chart, those of the installation first
	"helm-openshift":     "backend/test/cluster/chart_install_test.go",
	"helm-template":      "backend/test/cluster/chart_install_test.go",
}

// shown are languages of blocks that nobody can try out.
var shown = []string{"", "mermaid"}

// Read returns the blocks of all documents below the root of the checkout, except
// for those of docs/decisions and docs/quality, which record the past. It joins
// all mistakes in the documents into one error.
func Read(root string) ([]Block, error) {
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("look for the documents: %w", err)
		}
		files = append(files, found...)
	}
	for _, directory := range []string{"deploy", "sdk", "cue", "schemas"} {
		err := filepath.WalkDir(filepath.Join(root, directory), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".md") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for the documents: %w", err)
		}
	}
	var (
		blocks   []Block
		mistakes []error
	)
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // Of our own checkout.
		if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		found, err := Parse(name, string(text))
		blocks = append(blocks, found...)
		mistakes = append(mistakes, err)
	}
	return blocks, errors.Join(mistakes...)
}

// Of returns the blocks that are checked in that way, in the order of the
// documents. That there are none is an error.
func Of(root, check string) ([]Block, error) {
	blocks, err := Read(root)
	if err != nil {
		return nil, err
	}
	blocks = slices.DeleteFunc(blocks, func(each Block) bool {
		name, _, _ := strings.Cut(each.Check, " ")
		return name != check
	})
	if len(blocks) == 0 {
		return nil, fmt.Errorf("no block of the documentation is checked as %q", check)
	}
	return blocks, nil
}

// Script joins the commands of blocks, in their order, as one script. A line of
// a console starts with a dollar sign; what else stands there is printed.
func Script(blocks []Block) string {
	var script strings.Builder
	for _, each := range blocks {
		if each.Language != "console" {
			script.WriteString(each.Text)
			continue
		}
		for line := range strings.Lines(each.Text) {
			if command, found := strings.CutPrefix(line, "$ "); found {
				script.WriteString(command)
			}
		}
	}
	return script.String()
}

var (
	fence      = regexp.MustCompile("^( *)(`{3,})\\s*([^`\\s]*)\\s*$")
	annotation = regexp.MustCompile(`^ *<!-- (not checked|checked): (\S.*?) -->$`)
)

// Parse returns the blocks of one document.
func Parse(file, text string) ([]Block, error) {
	var (
		blocks   []Block
		mistakes []error
		open     *Block
		indent   string
		closing  string
		before   string
		content  strings.Builder
	)
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		mark := fence.FindStringSubmatch(line)
		switch {
		case open == nil && mark != nil:
			open = &Block{File: file, Line: number, Language: mark[3]}
			indent, closing = mark[1], mark[2]
			mistakes = append(mistakes, open.classify(before))
		case open != nil && mark != nil && mark[2] == closing && mark[3] == "":
			open.Text = content.String()
			blocks = append(blocks, *open)
			if open.Language == "" && strings.HasPrefix(open.Text, "$ ") {
				mistakes = append(mistakes, fmt.Errorf("%s: it has commands: make it a block of console", open.Place()))
			}
			open = nil
			content.Reset()
		case open != nil:
			content.WriteString(strings.TrimPrefix(line, indent) + "\n")
		}
		before = line
	}
	if open != nil {
		mistakes = append(mistakes, fmt.Errorf("%s: the block does not end", open.Place()))
	}
	return blocks, errors.Join(mistakes...)
}

// classify reads the comment above a block.
func (b *Block) classify(comment string) error {
	found := annotation.FindStringSubmatch(comment)
	switch {
	case found == nil && slices.Contains(shown, b.Language):
		return nil
	case found == nil:
		return fmt.Errorf("%s: nothing tells how this %s is checked: put <!-- checked: HOW --> or <!-- not checked: WHY --> in the line above it", b.Place(), b.Language)
	case found[1] == "not checked":
		b.Reason = found[2]
		return nil
	}
	b.Check = found[2]
	name, _, _ := strings.Cut(b.Check, " ")
	if Checks[name] == "" {
		return fmt.Errorf("%s: nobody checks %q: the ways are in backend/test/documents", b.Place(), name)
	}
	return nil
}
