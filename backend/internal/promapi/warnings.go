package promapi

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/jsonscan"
)

// AddWarnings returns a reader of the same JSON answer, which must not be compressed,
// with the given warnings first in its top-level "warnings". It neither decodes nor
// buffers the answer: what is below its top level passes at the speed of jsonscan.Nesting. The reader returns an error for what is no JSON object, because
// the warnings would be lost. A truncated answer stays truncated.
func AddWarnings(body io.Reader, warnings []string) (io.Reader, error) {
	if len(warnings) == 0 {
		return body, nil
	}
	list, err := json.Marshal(warnings)
	if err != nil {
		return nil, err
	}
	return &warningAdder{source: body, list: list[1 : len(list)-1], chunk: make([]byte, 32<<10)}, nil
}

// errNoObject is returned for an answer that is no JSON object, or that more
// than white space follows.
var errNoObject = errors.New("the answer is not a JSON object")

// warningAdder scans JSON just far enough to know the keys of the top level.
type warningAdder struct {
	source io.Reader
	list   []byte // our warnings as JSON, without brackets
	chunk  []byte // read buffer
	made   []byte // what was produced from the last chunk
	out    []byte // the part of it that was not read yet
	err    error  // error of source, returned once out is empty

	jsonscan.Nesting // its Depth is 1 at the top level of the object

	at        place
	key       []byte // the last key of the top level, raw
	hasMember bool   // there is one, at least
	isDone    bool   // our warnings are in
}

// topLevel is the Depth within the object.
const topLevel = 1

// place is where a warningAdder is at the top level of an object.
type place int

const (
	atBegin    place = iota // before the object
	atKey                   // a key comes next
	atValue                 // the value of a key comes next
	inValue                 // behind its first byte
	inWarnings              // our list has begun, and its first element comes next
	inDropped               // in the value of our key, which is no list
	atEnd                   // behind the object
	isWrong                 // it is no object, or something follows it
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
		for chunk := a.chunk[:n]; len(chunk) > 0; chunk = chunk[1:] {
			if chunk = a.skip(chunk); len(chunk) == 0 {
				break
			}
			a.scan(chunk[0])
		}
		a.out = a.made
		switch {
		case a.at == isWrong, errors.Is(err, io.EOF) && a.at == atBegin:
			a.err = errNoObject
		case errors.Is(err, io.EOF) && a.at != atEnd:
			a.err = io.ErrUnexpectedEOF
		}
	}
	n := copy(p, a.out)
	a.out = a.out[n:]
	return n, nil
}

// skip passes over the start of a chunk that is below the top level, and returns the rest.
func (a *warningAdder) skip(chunk []byte) []byte {
	if a.at != inValue && a.at != inDropped {
		return chunk
	}
	n := a.SkipBelow(chunk, topLevel+1)
	if a.at == inValue {
		a.made = append(a.made, chunk[:n]...)
	}
	return chunk[n:]
}

func (a *warningAdder) emit(c byte) {
	if a.at != inDropped {
		a.made = append(a.made, c)
	}
}

// scan consumes one byte and emits what stands for it.
func (a *warningAdder) scan(c byte) {
	switch {
	case a.at == isWrong:
		return
	case a.InString:
		a.scanString(c)
		return
	case c == ' ' || c == '\n' || c == '\t' || c == '\r':
		if a.at != inWarnings {
			a.emit(c)
		}
		return
	case a.at == atEnd, a.at == atBegin && c != '{':
		a.at = isWrong
		return
	case a.at == inWarnings:
		a.at = inValue
		if c != ']' {
			a.emit(',')
		}
	case a.at == atValue:
		a.at = inValue
		if a.isDone || string(a.key) != "warnings" {
			break
		}
		a.isDone = true
		a.made = append(append(a.made, '['), a.list...)
		if c == '[' {
			a.at = inWarnings
			a.Depth++
			return
		}
		// null, or something that no server sends: a list takes its place.
		a.emit(']')
		a.at = inDropped
	}
	a.scanToken(c)
}

// scanToken consumes a byte outside of strings and white space.
func (a *warningAdder) scanToken(c byte) {
	isTop := a.Depth == topLevel
	switch c {
	case '"':
		a.InString = true
		if a.at == atKey {
			a.key, a.hasMember = a.key[:0], true
		}
	case '[', '{':
		a.Depth++
		if a.at == atBegin {
			a.at = atKey
		}
	case ':':
		if isTop {
			a.at = atValue
		}
	case ',':
		if isTop {
			a.at = atKey
		}
	case ']', '}':
		if a.Depth--; isTop {
			a.at = atEnd
			a.addMember()
		}
	}
	a.emit(c)
}

// scanString consumes a byte of a string.
func (a *warningAdder) scanString(c byte) {
	a.emit(c)
	switch {
	case a.IsEscaped:
		a.IsEscaped = false
	case c == '\\':
		a.IsEscaped = true
	case c == '"':
		a.InString = false
		return
	}
	// Longer keys are none of ours, and a hostile one must not cost memory.
	if a.at == atKey && len(a.key) <= len("warnings") {
		a.key = append(a.key, c)
	}
}

// addMember adds the warnings at the end of an object that has none.
func (a *warningAdder) addMember() {
	if a.isDone {
		return
	}
	a.isDone = true
	if a.hasMember {
		a.emit(',')
	}
	a.made = append(append(append(a.made, `"warnings":[`...), a.list...), ']')
}
