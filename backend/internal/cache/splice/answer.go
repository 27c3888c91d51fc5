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
	// sections is set in place of element where some of the answer is compressed.
	sections func(i int, list []section) []section
}

// section is a text of an answer, or a chunk of it.
type section struct {
	text  []byte
	chunk *chunk
}

// Reader returns a reader of the answer.
func (a *Answer) Reader() io.Reader { return &reader{sections: sections{from: a, next: -1}} }

// Size returns the number of bytes of the answer.
func (a *Answer) Size() int64 {
	size, _ := a.sizes()
	return size
}

// sizes returns the number of bytes of the answer, and how many of them are in chunks.
func (a *Answer) sizes() (all, chunked int64) {
	for list := (&sections{from: a, next: -1}); ; {
		next, ok := list.read()
		switch {
		case !ok:
			return all, chunked
		case next.chunk != nil:
			all, chunked = all+int64(next.chunk.size), chunked+int64(next.chunk.size)
		default:
			all += int64(len(next.text))
		}
	}
}

// sections reads an answer section by section.
type sections struct {
	from  *Answer
	next  int // see Answer.part
	parts [][]byte
	list  []section // of the part at hand
	at    int       // which of them is next
}

// read returns the next section. It returns false at the end.
func (s *sections) read() (section, bool) {
	for s.at == len(s.list) {
		if s.next > s.from.count {
			return section{}, false
		}
		s.list, s.at = s.list[:0], 0
		if isElement := s.next >= 0 && s.next < s.from.count; isElement && s.from.sections != nil {
			if s.next > 0 {
				s.list = append(s.list, section{text: textComma})
			}
			s.list = s.from.sections(s.next, s.list)
		} else {
			s.parts = s.from.part(s.next, s.parts[:0])
			for _, part := range s.parts {
				s.list = append(s.list, section{text: part})
			}
		}
		s.next++
	}
	s.at++
	return s.list[s.at-1], true
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

// reader copies an answer section by section.
type reader struct {
	sections

	text         []byte // what is left of the section at hand
	decompressed []byte
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (read int, err error) {
	for read < len(p) {
		if len(r.text) == 0 {
			next, ok := r.read()
			if !ok {
				break
			}
			if r.text = next.text; next.chunk != nil {
				if r.decompressed, err = next.chunk.appendText(r.decompressed[:0]); err != nil {
					return read, err
				}
				r.text = r.decompressed
			}
		}
		n := copy(p[read:], r.text)
		read, r.text = read+n, r.text[n:]
	}
	if read == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return read, nil
}
