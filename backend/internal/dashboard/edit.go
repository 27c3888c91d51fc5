package dashboard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// editor changes places of a text and leaves every other byte as it is.
type editor struct {
	source  []byte
	isJSON  bool
	newline string
	edits   map[place]string
}

// place is what a text is put in place of: all between two offsets. An alias
// leads to the same place again.
type place struct{ start, end int }

func newEditor(source []byte, isJSON bool) *editor {
	newline := "\n"
	if bytes.Contains(source, []byte("\r\n")) {
		newline = "\r\n"
	}
	return &editor{source: source, isJSON: isJSON, newline: newline, edits: map[place]string{}}
}

func (e *editor) put(start, end int, text string) { e.edits[place{start, end}] = text }

// result returns the changed text.
func (e *editor) result() ([]byte, error) {
	all := slices.SortedFunc(maps.Keys(e.edits), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	var out bytes.Buffer
	at := 0
	for _, each := range all {
		if each.start < at {
			return nil, fmt.Errorf("line %d: two changes meet here: change one of them by hand", e.line(each.start))
		}
		out.Write(e.source[at:each.start])
		out.WriteString(e.edits[each])
		at = each.end
	}
	out.Write(e.source[at:])
	return out.Bytes(), nil
}

// line returns the number of the line that an offset is in, for people.
func (e *editor) line(at int) int { return 1 + bytes.Count(e.source[:at], []byte("\n")) }

// span returns where a scalar stands in the text, with its quotes.
func (e *editor) span(n *node) (start, end int, err error) {
	if e.isJSON {
		decoder := json.NewDecoder(bytes.NewReader(e.source[n.start:]))
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return 0, 0, fmt.Errorf("line %d: %w", e.line(n.start), err)
		}
		return n.start, n.start + len(raw), nil
	}
	start = n.start
	// An anchor or a tag comes first.
	for start < len(e.source) && (e.source[start] == '&' || e.source[start] == '!') {
		word := bytes.IndexAny(e.source[start:], " \t")
		if word < 0 {
			break
		}
		start += word
		start += len(e.source[start:]) - len(bytes.TrimLeft(e.source[start:], " \t"))
	}
	for _, quote := range []string{"", `"`, "'"} {
		if bytes.HasPrefix(e.source[start:], []byte(quote+n.value+quote)) {
			return start, start + len(n.value) + 2*len(quote), nil
		}
	}
	return 0, 0, fmt.Errorf("line %d: %q is written in a way that is not followed here: write it in one line, plain or in quotes", e.line(min(n.start, len(e.source))), n.value)
}

// replace writes another string in place of a scalar, within its quotes.
func (e *editor) replace(n *node, value string) error {
	start, end, err := e.span(n)
	if err != nil {
		return err
	}
	written := e.encode(value)
	if quote := e.source[start]; !e.isJSON && (quote == '"' || quote == '\'') && written == value {
		written = string(quote) + value + string(quote)
	}
	e.put(start, end, written)
	return nil
}

// encode writes a string as a scalar.
func (e *editor) encode(value string) string {
	var text []byte
	if e.isJSON {
		text, _ = json.Marshal(value) // A string can always be written.
	} else {
		text, _ = yaml.Marshal(value)
	}
	return strings.TrimSuffix(string(text), "\n")
}

// remove takes an entry with a scalar out of an object.
func (e *editor) remove(from *node, key string) error {
	index := slices.IndexFunc(from.entries, func(each entry) bool { return each.key == key })
	start := from.entries[index].start
	_, end, err := e.span(from.entries[index].value)
	if err != nil {
		return err
	}
	switch {
	case from.block && len(from.entries) == 1:
		e.put(start, end, "{}")
	case from.block && strings.TrimLeft(e.before(start), " ") != "":
		// The object begins in the middle of a line, after the dash of a list.
		if index > 0 {
			return fmt.Errorf("line %d: the key %q does not begin its line: remove it by hand", e.line(start), key)
		}
		e.put(start, from.entries[1].start, "")
	case from.block:
		lineEnd := len(e.source)
		if length := bytes.IndexByte(e.source[end:], '\n'); length >= 0 {
			lineEnd = end + length + 1
		}
		e.put(start-len(e.before(start)), lineEnd, "")
	case index+1 < len(from.entries):
		e.put(start, from.entries[index+1].start, "")
	case index > 0:
		comma := len(bytes.TrimRight(e.source[:start], " \t\r\n")) - 1
		if comma < 0 || e.source[comma] != ',' {
			return fmt.Errorf("line %d: there is something between the comma and the key %q: remove it", e.line(start), key)
		}
		e.put(comma, end, "")
	default:
		e.put(start, end, "")
	}
	return nil
}

// before returns what stands before an offset in its line.
func (e *editor) before(at int) string {
	return string(e.source[bytes.LastIndexByte(e.source[:at], '\n')+1 : at])
}

// member is an entry that is put into an object: a string, or an object of
// strings.
type member struct {
	key     string
	value   string
	members []member
}

// flow writes a member as it stands between brackets.
func (e *editor) flow(m member) string {
	key := m.key
	if e.isJSON {
		key = e.encode(key)
	}
	if m.members == nil {
		return key + ": " + e.encode(m.value)
	}
	var parts []string
	for _, each := range m.members {
		parts = append(parts, e.flow(each))
	}
	return key + ": {" + strings.Join(parts, ", ") + "}"
}

// prepend puts a member in front of the entries of an object, of which one may
// be about to be removed.
func (e *editor) prepend(to *node, m member, removed string) error {
	if len(to.entries) == 0 {
		bracket := bytes.IndexByte(e.source[to.start:], '{')
		if bracket < 0 {
			return fmt.Errorf("line %d: there is no place for the field %s: add it by hand", e.line(to.start), m.key)
		}
		at := to.start + bracket + 1
		e.put(at, at, e.flow(m))
		return nil
	}
	index := slices.IndexFunc(to.entries, func(each entry) bool { return each.key != removed })
	if index < 0 {
		return fmt.Errorf("line %d: there is no place for the field %s: add it by hand", e.line(to.start), m.key)
	}
	first := to.entries[index].start
	if !to.block {
		gap := e.source[len(bytes.TrimRight(e.source[:first], " \t\r\n")):first]
		if len(gap) == 0 && !e.isJSON {
			gap = []byte(" ")
		}
		e.put(first, first, e.flow(m)+","+string(gap))
		return nil
	}
	indent := e.newline + strings.Repeat(" ", len([]rune(e.before(first))))
	text := m.key + ":"
	if m.members == nil {
		text += " " + e.encode(m.value)
	}
	for _, each := range m.members {
		text += indent + "  " + e.flow(each)
	}
	e.put(first, first, text+indent)
	return nil
}
