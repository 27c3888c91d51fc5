package promapi

import (
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
	if len(warnings) == 0 {
		return body, nil
	}
	list, err := json.Marshal(warnings)
	if err != nil {
		return nil, err
	}
	list = list[1 : len(list)-1]
	return &warningAdder{source: body, list: list, chunk: make([]byte, 32<<10)}, nil
}

// errNoObject is returned for an answer that is no JSON object, or that more
// than white space follows.
var errNoObject = errors.New("the answer is not a JSON object")

// warningAdder scans JSON just far enough to know the names of the top level.
type warningAdder struct {
	source io.Reader
	list   []byte // our warnings as JSON, without brackets
	chunk  []byte // read buffer
	made   []byte // what was produced from the last chunk
	out    []byte // the part of it that was not read yet
	err    error  // error of source, returned once out is empty

	depth    int    // how many brackets are open
	inString bool   // within a string
	escaped  bool   // after a backslash in it
	inName   bool   // a name of the top level comes next, or is read
	name     []byte // the name that was read last, raw
	empty    bool   // the top-level object has no member yet
	done     bool   // our warnings are in
	closed   bool   // the top-level object has ended
	invalid  bool   // it is no object, or something follows it
	own      ownWarnings
}

// ownWarnings is how far the value of the server's own "warnings" has been read.
type ownWarnings int

const (
	notInOwn    ownWarnings = iota
	ownAwaited              // after the colon
	ownOpened               // after the bracket of the list
	ownReplaced             // within a value that is no list, which is dropped
)

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
		case a.invalid, errors.Is(err, io.EOF) && a.depth == 0 && !a.closed:
			a.err = errNoObject
		case errors.Is(err, io.EOF) && !a.closed:
			a.err = io.ErrUnexpectedEOF
		}
	}
	n := copy(p, a.out)
	a.out = a.out[n:]
	return n, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// scan consumes one byte and makes what stands for it.
func (a *warningAdder) scan(c byte) {
	switch {
	case a.inString:
		a.scanString(c)
	case a.depth == 0 && !isSpace(c):
		a.invalid = a.invalid || a.closed || c != '{'
		a.depth, a.inName, a.empty = 1, true, true
	case a.own == ownAwaited && !isSpace(c):
		a.made = append(append(a.made, '['), a.list...)
		if c == '[' {
			a.own, a.depth = ownOpened, 2
			return
		}
		// null, or something that no server sends: a list takes its place.
		a.made, a.own = append(a.made, ']'), ownReplaced
		a.scanValue(c)
	case a.own == ownOpened:
		if isSpace(c) {
			return
		}
		if c != ']' {
			a.made = append(a.made, ',')
		}
		a.own = notInOwn
		a.scanValue(c)
	default:
		a.scanValue(c)
	}
	if a.own != ownReplaced && !a.invalid {
		a.made = append(a.made, c)
	}
}

func (a *warningAdder) scanString(c byte) {
	switch {
	case a.escaped:
		a.escaped = false
	case c == '\\':
		a.escaped = true
	case c == '"':
		a.inString = false
		return
	}
	// Longer names are none of ours, and a hostile one must not cost memory.
	if a.inName && len(a.name) <= len("warnings") {
		a.name = append(a.name, c)
	}
}

// scanValue notes what a byte outside of a string means.
func (a *warningAdder) scanValue(c byte) {
	switch c {
	case '"':
		a.inString = true
		if a.inName {
			a.name, a.empty = a.name[:0], false
		}
	case '[', '{':
		a.depth++
	case ']', '}':
		if a.depth--; a.depth == 0 {
			a.own, a.closed = notInOwn, true
			a.addMember()
		}
	case ':':
		if a.inName && !a.done && string(a.name) == "warnings" {
			a.done, a.own = true, ownAwaited
		}
		a.inName = false
	case ',':
		if a.depth == 1 {
			a.inName, a.own = true, notInOwn
		}
	}
}

// addMember adds our warnings as the last member, if they are not in yet.
func (a *warningAdder) addMember() {
	if a.done {
		return
	}
	a.done = true
	if !a.empty {
		a.made = append(a.made, ',')
	}
	a.made = append(append(append(a.made, `"warnings":[`...), a.list...), ']')
}
