package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// kindOf tells what a node is.
type kindOf int

const (
	scalar kindOf = iota
	object
	list
)

// node is a part of a document, and where it stands in the text.
type node struct {
	kind kindOf
	// value of a scalar, decoded; isString tells whether it is a string.
	value    string
	isString bool
	// start is the offset of the first byte: of a scalar, of a bracket, or of
	// the first key or item of what has no brackets.
	start int
	// block tells that an object is written without brackets, one entry in each
	// line or more.
	block   bool
	entries []entry
	items   []*node
}

// entry is a member of an object.
type entry struct {
	key   string
	start int // offset of the key
	value *node
}

// get returns the value of a key; nil where there is none, or the node is no
// object.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, each := range n.entries {
		if each.key == key {
			return each.value
		}
	}
	return nil
}

// text returns the value of a string; the empty one where it is none.
func (n *node) text() string {
	if n == nil || !n.isString {
		return ""
	}
	return n.value
}

// parse reads the documents of a text: one of JSON, or those of YAML.
func parse(source []byte) (documents []*node, isJSON bool, err error) {
	if json.Valid(source) {
		root, err := parseJSON(source)
		return []*node{root}, true, err
	}
	documents, err = parseYAML(source)
	return documents, false, err
}

// jsonReader reads JSON token by token, because only this tells where each of
// them is.
type jsonReader struct {
	source  []byte
	decoder *json.Decoder
}

func parseJSON(source []byte) (*node, error) {
	decoder := json.NewDecoder(bytes.NewReader(source))
	decoder.UseNumber()
	return (&jsonReader{source, decoder}).value()
}

// next returns the next token and where it starts.
func (r *jsonReader) next() (token json.Token, start int, err error) {
	start = int(r.decoder.InputOffset())
	for start < len(r.source) && strings.IndexByte(" \t\r\n,:", r.source[start]) >= 0 {
		start++
	}
	token, err = r.decoder.Token()
	return token, start, err
}

func (r *jsonReader) value() (*node, error) {
	token, start, err := r.next()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case string:
		return &node{value: token, isString: true, start: start}, nil
	case json.Delim:
		if token == '[' {
			return r.list(start)
		}
		return r.object(start)
	default:
		return &node{value: fmt.Sprint(token), start: start}, nil
	}
}

func (r *jsonReader) list(start int) (*node, error) {
	all := &node{kind: list, start: start}
	for r.decoder.More() {
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		all.items = append(all.items, item)
	}
	_, err := r.decoder.Token()
	return all, err
}

func (r *jsonReader) object(start int) (*node, error) {
	all := &node{kind: object, start: start}
	for r.decoder.More() {
		token, keyStart, err := r.next()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		if all.get(key) != nil {
			line := 1 + bytes.Count(r.source[:keyStart], []byte("\n"))
			return nil, fmt.Errorf("line %d: the key %q is there twice: remove one of them", line, key)
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		all.entries = append(all.entries, entry{key, keyStart, value})
	}
	_, err := r.decoder.Token()
	return all, err
}

// yamlReader turns the nodes of the YAML library into ours.
type yamlReader struct {
	source []byte
	lines  []int // offset of each line
	known  map[*yaml.Node]*node
}

func parseYAML(source []byte) ([]*node, error) {
	reader := &yamlReader{source: source, lines: yamlLines(source), known: map[*yaml.Node]*node{}}
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	var documents []*node
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the document as YAML: %w", err)
		}
		for _, each := range document.Content {
			root, err := reader.node(each)
			if err != nil {
				return nil, err
			}
			documents = append(documents, root)
		}
	}
}

// yamlLines returns the offset of each line, by what the YAML library takes for
// the end of a line.
func yamlLines(source []byte) []int {
	text, lines := string(source), []int{0}
	for at, each := range text {
		switch each {
		case '\r':
			if strings.HasPrefix(text[at+1:], "\n") {
				continue
			}
			fallthrough
		case '\n', '\u0085', '\u2028', '\u2029':
			lines = append(lines, at+utf8.RuneLen(each))
		}
	}
	return lines
}

// offset returns where a node starts. Columns count characters.
func (r *yamlReader) offset(from *yaml.Node) int {
	if from.Line < 1 || from.Line > len(r.lines) {
		return len(r.source)
	}
	at := r.lines[from.Line-1]
	for column := 1; column < from.Column && at < len(r.source); column++ {
		_, size := utf8.DecodeRune(r.source[at:])
		at += size
	}
	return at
}

func (r *yamlReader) node(from *yaml.Node) (*node, error) {
	if from.Kind == yaml.AliasNode {
		from = from.Alias
	}
	if known, found := r.known[from]; found {
		return known, nil
	}
	to := &node{value: from.Value, isString: from.ShortTag() == "!!str", start: r.offset(from)}
	r.known[from] = to
	switch from.Kind {
	case yaml.MappingNode:
		to.kind, to.block = object, from.Style&yaml.FlowStyle == 0
		for i := 0; i+1 < len(from.Content); i += 2 {
			key := from.Content[i]
			if to.get(key.Value) != nil {
				return nil, fmt.Errorf("line %d: the key %q is there twice: remove one of them", key.Line, key.Value)
			}
			value, err := r.node(from.Content[i+1])
			if err != nil {
				return nil, err
			}
			to.entries = append(to.entries, entry{key.Value, r.offset(key), value})
		}
	case yaml.SequenceNode:
		to.kind, to.block = list, from.Style&yaml.FlowStyle == 0
		for _, each := range from.Content {
			item, err := r.node(each)
			if err != nil {
				return nil, err
			}
			to.items = append(to.items, item)
		}
	default: // A scalar; what an alias stands for is already in its place.
	}
	return to, nil
}
