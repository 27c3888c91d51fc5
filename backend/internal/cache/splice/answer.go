package splice

import (
	"encoding/json"
	"io"
)

// Answer is an answer that is put together while it is read. It refers to the
// bytes of the answers that it was made of.
type Answer struct {
	// Warnings and Infos are the annotations of the answer.
	Warnings, Infos []string
	// Truncated reports whether a limit cut the answer.
	Truncated bool

	open, end string // around the elements
	count     int
	element   func(i int, parts [][]byte) [][]byte
}

// Reader returns a reader of the answer.
func (a *Answer) Reader() io.Reader { return &reader{from: a, next: -1} }

// Size returns the number of bytes of the answer.
func (a *Answer) Size() int64 {
	var parts [][]byte
	size := int64(0)
	for i := -1; i <= a.count; i++ {
		parts = a.part(i, parts[:0])
		for _, part := range parts {
			size += int64(len(part))
		}
	}
	return size
}

// part returns what comes before the first element, for -1, an element, or what
// comes after the last one.
func (a *Answer) part(i int, parts [][]byte) [][]byte {
	switch {
	case i < 0:
		return append(parts, []byte(`{"status":"success","data":`+a.open))
	case i < a.count:
		if i > 0 {
			parts = append(parts, textComma)
		}
		return a.element(i, parts)
	}
	parts = append(parts, []byte(a.end))
	parts = annotations(`,"warnings":`, a.Warnings, parts)
	parts = annotations(`,"infos":`, a.Infos, parts)
	return append(parts, textObjectEnd)
}

func annotations(name string, list []string, parts [][]byte) [][]byte {
	if len(list) == 0 {
		return parts
	}
	encoded, _ := json.Marshal(list) // A list of texts has a JSON form.
	return append(parts, []byte(name), encoded)
}

// reader copies an answer part by part.
type reader struct {
	from  *Answer
	next  int
	parts [][]byte // of the part at hand
	at    int      // which of them is read
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	read := 0
	for read < len(p) {
		if r.at == len(r.parts) {
			if r.next > r.from.count {
				break
			}
			r.parts, r.at = r.from.part(r.next, r.parts[:0]), 0
			r.next++
		}
		n := copy(p[read:], r.parts[r.at])
		read += n
		if n == len(r.parts[r.at]) {
			r.at++
		} else {
			r.parts[r.at] = r.parts[r.at][n:]
		}
	}
	if read == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return read, nil
}
