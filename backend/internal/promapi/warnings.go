package promapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// AddWarnings returns a reader of the same JSON answer with the given warnings
// added to its top-level "warnings", ours first. The answer is neither decoded
// nor buffered: bytes pass through as they come in, so that memory does not
// grow with the answer. The reader returns an error for what is no JSON object:
// the warnings would be lost.
//
// The answer must not be compressed. An answer that ends early stays cut off:
// the reader returns what it was given, then the error of body, and never
// closes the object itself.
func AddWarnings(body io.Reader, warnings []string) (io.Reader, error) {
	var list bytes.Buffer
	for i, warning := range warnings {
		text, err := json.Marshal(warning)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			list.WriteByte(',')
		}
		list.Write(text)
	}
	if list.Len() == 0 {
		return body, nil
	}
	return &warningAdder{source: body, list: list.Bytes(), chunk: make([]byte, 32<<10)}, nil
}

// errNoObject is returned for an answer that is no JSON object, or that more
// than white space follows.
var errNoObject = errors.New("the answer is not a JSON object")

// position is where in the top-level object the scanner stands.
type position int

const (
	beforeObject position = iota // nothing but white space so far
	beforeKey                    // after { or , at the top level
	inKey                        // within a key of the top level
	beforeColon                  // after such a key
	beforeValue                  // after the colon
	inValue                      // within a value
	inWarnings                   // after the [ of the list of warnings
	inReplaced                   // within a value of "warnings" that is no list, which is dropped
	afterObject                  // after the closing brace
	noObject                     // in what is no object, or in what follows one
)

// warningAdder scans JSON just far enough to know the keys of the top level.
type warningAdder struct {
	source io.Reader
	list   []byte // our warnings as JSON, without brackets
	chunk  []byte // read buffer
	made   []byte // what was produced from the last chunk
	out    []byte // the part of it that was not read yet
	err    error  // error of source, returned once out is empty

	position position
	depth    int    // nesting within a value
	inString bool   // within a string of a value
	escaped  bool   // after a backslash
	key      []byte // the key being read, raw
	empty    bool   // the top-level object has no member yet
	done     bool   // our warnings are in
}

// Read implements io.Reader.
func (a *warningAdder) Read(p []byte) (int, error) {
	for len(a.out) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		n, err := a.source.Read(a.chunk)
		a.err = err
		a.made = a.made[:0]
		for _, c := range a.chunk[:n] {
			a.scan(c)
		}
		a.out = a.made
		switch {
		case a.position == noObject, errors.Is(err, io.EOF) && a.position == beforeObject:
			a.err = errNoObject
		case errors.Is(err, io.EOF) && a.position != afterObject:
			a.err = io.ErrUnexpectedEOF
		}
	}
	n := copy(p, a.out)
	a.out = a.out[n:]
	return n, nil
}

func (a *warningAdder) emit(c byte) { a.made = append(a.made, c) }

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// scan consumes one byte and emits what stands for it.
func (a *warningAdder) scan(c byte) {
	switch a.position {
	case beforeObject:
		a.emit(c)
		if c == '{' {
			a.position, a.empty = beforeKey, true
		} else if !isSpace(c) {
			a.position = noObject
		}
	case beforeKey:
		a.scanBeforeKey(c)
	case inKey:
		a.scanKey(c)
	case beforeColon:
		a.emit(c)
		if c == ':' {
			a.position = beforeValue
		}
	case beforeValue:
		a.scanBeforeValue(c)
	case inValue:
		a.scanValue(c)
	case inWarnings:
		a.scanInWarnings(c)
	case inReplaced:
		a.scanReplaced(c)
	case afterObject:
		if !isSpace(c) {
			a.position = noObject
			return
		}
		a.emit(c)
	case noObject:
	}
}

func (a *warningAdder) scanBeforeKey(c byte) {
	switch c {
	case '"':
		a.position, a.key, a.empty, a.escaped = inKey, a.key[:0], false, false
		a.emit(c)
	case '}':
		a.closeObject()
	default:
		a.emit(c)
	}
}

func (a *warningAdder) scanKey(c byte) {
	a.emit(c)
	switch {
	case a.escaped:
		a.escaped = false
	case c == '\\':
		a.escaped = true
	case c == '"':
		a.position = beforeColon
		return
	}
	// Longer keys are none of ours, and a hostile one must not cost memory.
	if len(a.key) <= len("warnings") {
		a.key = append(a.key, c)
	}
}

func (a *warningAdder) scanBeforeValue(c byte) {
	if isSpace(c) {
		a.emit(c)
		return
	}
	a.position, a.depth, a.inString, a.escaped = inValue, 0, false, false
	if string(a.key) != "warnings" || a.done {
		a.scanValue(c)
		return
	}
	a.done = true
	a.emit('[')
	a.made = append(a.made, a.list...)
	if c == '[' {
		a.position = inWarnings
		return
	}
	// null, or something that no server sends: a list takes its place.
	a.emit(']')
	a.position = inReplaced
	a.scanReplaced(c)
}

// scanInWarnings stands after the bracket of the server's own list.
func (a *warningAdder) scanInWarnings(c byte) {
	if isSpace(c) {
		return
	}
	if c != ']' {
		a.emit(',')
	}
	a.position, a.depth = inValue, 1
	a.scanValue(c)
}

func (a *warningAdder) scanValue(c byte) {
	if a.inString {
		a.emit(c)
		a.scanString(c)
		return
	}
	switch c {
	case '"':
		a.inString = true
	case '[', '{':
		a.depth++
	case ']', '}':
		if a.depth == 0 {
			a.endMember(c)
			return
		}
		a.depth--
	case ',':
		if a.depth == 0 {
			a.endMember(c)
			return
		}
	}
	a.emit(c)
}

func (a *warningAdder) scanString(c byte) {
	switch {
	case a.escaped:
		a.escaped = false
	case c == '\\':
		a.escaped = true
	case c == '"':
		a.inString = false
	}
}

// scanReplaced drops a value of "warnings" that is no list.
func (a *warningAdder) scanReplaced(c byte) {
	if a.inString {
		a.scanString(c)
		return
	}
	switch c {
	case '"':
		a.inString = true
	case '[', '{':
		a.depth++
	case ']', '}', ',':
		if a.depth == 0 {
			a.endMember(c)
			return
		}
		if c != ',' {
			a.depth--
		}
	}
}

// endMember handles the byte after a member of the top level.
func (a *warningAdder) endMember(c byte) {
	if c == '}' {
		a.closeObject()
		return
	}
	a.position = beforeKey
	a.emit(c)
}

func (a *warningAdder) closeObject() {
	if !a.done {
		a.done = true
		if !a.empty {
			a.emit(',')
		}
		a.made = append(a.made, `"warnings":[`...)
		a.made = append(a.made, a.list...)
		a.emit(']')
	}
	a.emit('}')
	a.position = afterObject
}
