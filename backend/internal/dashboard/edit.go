package dashboard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// editor replaces parts of a text and keeps every other byte.
type editor struct {
	source []byte
	isJSON bool
	// lines holds the offset of each line.
	lines []int
	// edits holds the new text by the start and end offset of the old one. Aliases lead to
	// the same part more than once.
	edits map[[2]int]string
}

var (
	// lineEnd matches the line breaks of the YAML library.
	lineEnd = regexp.MustCompile("\r\n?|[\n\u0085\u2028\u2029]")
	// escape matches an escape of JSON. The YAML library does not support those of a
	// surrogate and of a slash.
	escape = regexp.MustCompile(`\\(u[dD][89a-fA-F][0-9a-fA-F]{2}|.)`)
	// properties matches the anchor and the tag of a YAML node.
	properties = regexp.MustCompile(`^([&!]\S*\s+)*`)
)

// parse returns the documents of a text. It parses JSON as YAML too, because the YAML library
// returns the position of each node.
func parse(source []byte) (*editor, []*yaml.Node, error) {
	e := &editor{source: source, isJSON: json.Valid(source), lines: []int{0}, edits: map[[2]int]string{}}
	for _, end := range lineEnd.FindAllIndex(source, -1) {
		e.lines = append(e.lines, end[1])
	}
	if e.isJSON {
		source = escape.ReplaceAllFunc(source, func(escaped []byte) []byte {
			if len(escaped) > len(`\n`) || escaped[1] == '/' {
				return bytes.Repeat([]byte("x"), len(escaped))
			}
			return escaped
		})
	}
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	var documents []*yaml.Node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return e, documents, nil
		}
		if err == nil {
			err = document.Decode(new(any)) // It returns an error for duplicate keys.
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the document as YAML: %w", err)
		}
		documents = append(documents, document.Content...)
	}
}

// index returns the position of a key in the contents of a mapping, or -1.
func index(mapping *yaml.Node, key string) int {
	if mapping != nil && mapping.Kind == yaml.MappingNode {
		for i := 0; i < len(mapping.Content); i += 2 {
			if mapping.Content[i].Value == key {
				return i
			}
		}
	}
	return -1
}

// get returns the value of a key, or nil.
func get(mapping *yaml.Node, key string) *yaml.Node {
	if i := index(mapping, key); i >= 0 {
		return resolve(mapping.Content[i+1])
	}
	return nil
}

// resolve returns the node of an alias, and other nodes unchanged.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// text returns the value of a string, and an empty string for any other node.
func text(node *yaml.Node) string {
	if node == nil || node.ShortTag() != "!!str" {
		return ""
	}
	return node.Value
}

// offset returns the offset of a node. Columns count characters.
func (e *editor) offset(node *yaml.Node) int {
	if node.Line < 1 || node.Line > len(e.lines) {
		return len(e.source)
	}
	at := e.lines[node.Line-1]
	for column := 1; column < node.Column && at < len(e.source); column++ {
		_, size := utf8.DecodeRune(e.source[at:])
		at += size
	}
	return at
}

// span returns the start and the end of a scalar in the text, and its quote.
func (e *editor) span(node *yaml.Node) (start, end int, quote string, err error) {
	start = e.offset(node)
	start += len(properties.Find(e.source[start:]))
	for _, quote := range []string{"", `"`, "'"} {
		if written := quote + node.Value + quote; bytes.HasPrefix(e.source[start:], []byte(written)) {
			return start, start + len(written), quote, nil
		}
	}
	return 0, 0, "", fmt.Errorf("line %d: %q has a notation that the command does not support: write it in one line, plain or in quotes", node.Line, node.Value)
}

func (e *editor) put(start, end int, text string) { e.edits[[2]int{start, end}] = text }

// result returns the changed text, if it is valid.
func (e *editor) result() ([]byte, error) {
	places := slices.SortedFunc(maps.Keys(e.edits), func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	var out []byte
	at := 0
	for _, place := range places {
		if place[0] < at {
			return nil, fmt.Errorf("line %d: two changes overlap here: make one of them by hand", 1+bytes.Count(e.source[:place[0]], []byte("\n")))
		}
		out = append(append(out, e.source[at:place[0]]...), e.edits[place]...)
		at = place[1]
	}
	out = append(out, e.source[at:]...)
	if _, _, err := parse(out); err != nil {
		return nil, fmt.Errorf("the command does not support this layout: the changed document would be broken: %w", err)
	}
	return out, nil
}

// replace replaces the value of a scalar, and keeps its quotes.
func (e *editor) replace(node *yaml.Node, value string) error {
	start, end, quote, err := e.span(node)
	if err != nil {
		return err
	}
	if quote == "" {
		value = e.scalar(value)
	}
	e.put(start, end, quote+value+quote)
	return nil
}

// scalar returns a name or a kind as a scalar, in quotes if it needs them.
func (e *editor) scalar(value string) string {
	written, _ := yaml.Marshal(value) // It never fails for a string.
	if e.isJSON {
		return `"` + value + `"`
	}
	return strings.TrimSpace(string(written))
}

// field returns an entry of a mapping in one line.
func (e *editor) field(key, value string) string {
	if e.isJSON {
		key = `"` + key + `"`
	}
	return key + ": " + value
}

// remove removes the scalar entry at index i from a mapping, with its line or, in flow style,
// with a comma.
func (e *editor) remove(from *yaml.Node, i int) error {
	start := e.offset(from.Content[i])
	_, end, _, err := e.span(from.Content[i+1])
	if err != nil {
		return err
	}
	line := from.Content[i].Line
	from.Content = slices.Delete(from.Content, i, i+2)
	isBlock := from.Style&yaml.FlowStyle == 0
	switch {
	case isBlock && len(from.Content) > 0:
		start = bytes.LastIndexByte(e.source[:start], '\n') + 1
		rest, _, _ := bytes.Cut(e.source[end:], []byte("\n"))
		end = min(end+len(rest)+1, len(e.source))
	case isBlock:
		return fmt.Errorf("line %d: nothing would be left here: remove it by hand", line)
	case i < len(from.Content):
		end = e.offset(from.Content[i])
	default:
		if before, found := bytes.CutSuffix(bytes.TrimRight(e.source[:start], " \t\r\n"), []byte(",")); found {
			start = len(before)
		}
	}
	e.put(start, end, "")
	return nil
}

// prepend inserts an entry at the start of a mapping: line in flow style, and lines otherwise.
func (e *editor) prepend(to *yaml.Node, line string, lines ...string) {
	if len(to.Content) == 0 { // Only flow style can be empty.
		at := e.offset(to)
		at += len(properties.Find(e.source[at:])) + len("{")
		e.put(at, at, line)
		return
	}
	first := e.offset(to.Content[0])
	if to.Style&yaml.FlowStyle != 0 {
		gap := string(e.source[len(bytes.TrimRight(e.source[:first], " \t\r\n")):first])
		if gap == "" && !e.isJSON {
			gap = " "
		}
		e.put(first, first, line+","+gap)
		return
	}
	indent := "\n" + strings.Repeat(" ", to.Content[0].Column-1)
	if bytes.Contains(e.source, []byte("\r\n")) {
		indent = "\r" + indent
	}
	e.put(first, first, strings.Join(append(lines, ""), indent))
}
