package splice

import (
	"encoding/json"
	"io"
)

// Envelope is a successful answer of any endpoint. Its data is found, not
// decoded: it refers to the bytes that it was read from.
type Envelope struct {
	// Data is the JSON of the data; empty where there is none.
	Data []byte
	// Warnings and Infos are the annotations of the answer.
	Warnings, Infos []string
}

// textFactor is how much more memory a list of short texts takes than its JSON.
const textFactor = 16

// ParseEnvelope finds the data of an answer. It returns an error that wraps
// ErrNoMatrix where the text is not a success of the Prometheus API, and the
// error of acquire.
func ParseEnvelope(text []byte, acquire Acquire) (*Envelope, error) {
	if !json.Valid(text) {
		return nil, malformed("it is not JSON")
	}
	s := &scanner{data: text}
	found := &Envelope{}
	var status string
	list := func(into *[]string) error {
		start := s.here()
		if err := s.skip(); err != nil {
			return err
		}
		if err := acquire(textFactor * int64(s.position-start)); err != nil {
			return err
		}
		s.position = start
		return s.texts(into)
	}
	if s.peek() != '{' {
		return nil, malformed("it is not an object")
	}
	err := s.eachMember(func(name []byte) error {
		switch string(name) {
		case "status":
			return s.text(&status)
		case "data":
			start := s.here()
			err := s.skip()
			found.Data = text[start:s.position]
			return err
		case "warnings":
			return list(&found.Warnings)
		case "infos":
			return list(&found.Infos)
		}
		return s.skip()
	})
	if err != nil {
		return nil, err
	}
	if status != "success" {
		return nil, malformed("its status is %q", status)
	}
	return found, nil
}

// eachMember calls member for each member of an object with its name; member
// has to read the value. null is taken for an empty object.
func (s *scanner) eachMember(member func(name []byte) error) error {
	if s.peek() == 'n' {
		return s.skip()
	}
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.position++
		return nil
	}
	for {
		raw, err := s.string()
		if err != nil {
			return err
		}
		name, err := unquoted(raw)
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if s.peek() == '}' {
			s.position++
			return nil
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
}

// value skips a value and returns its JSON.
func (s *scanner) value() ([]byte, error) {
	start := s.here()
	err := s.skip()
	return s.data[start:s.position], err
}

// unquoted returns what a string says, without copying it where nothing in it
// is escaped.
func unquoted(raw []byte) ([]byte, error) {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, malformed("%s", err)
			}
			return []byte(text), nil
		}
	}
	return inner, nil
}

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

// Len returns the number of elements.
func (a *Answer) Len() int { return a.count }

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
	parts = texts(textWarnings, a.Warnings, parts)
	parts = texts(textInfos, a.Infos, parts)
	return append(parts, textObjectEnd)
}

// Whole returns an answer with the data of an envelope as it is.
func Whole(envelope *Envelope) *Answer {
	data := envelope.Data
	if len(data) == 0 {
		data = []byte("null")
	}
	return &Answer{
		Warnings: envelope.Warnings, Infos: envelope.Infos, count: 1,
		element: func(_ int, parts [][]byte) [][]byte { return append(parts, data) },
	}
}

// LimitResult returns the answer to a query with its result cut to the first
// series, as Prometheus does for the parameter limit.
func LimitResult(envelope *Envelope, limit int) (*Answer, error) {
	var kind string
	cut, end, count := 0, 0, 0
	s := &scanner{data: envelope.Data}
	if s.peek() != '{' {
		return nil, malformed("its data is not a result")
	}
	err := s.eachMember(func(name []byte) error {
		switch string(name) {
		case "resultType":
			return s.text(&kind)
		case "result":
			cut, end, count = 0, 0, 0
			if s.peek() != '[' {
				return s.skip()
			}
			err := s.list(func() error {
				err := s.skip()
				if count++; count == limit {
					cut = s.position
				}
				return err
			})
			end = s.position - 1
			return err
		}
		return s.skip()
	})
	if err != nil {
		return nil, err
	}
	if kind == "" {
		return nil, malformed("its result has no type")
	}
	answer := Whole(envelope)
	if (kind == "vector" || kind == "matrix") && count > limit {
		answer.Truncated = true
		answer.element = func(_ int, parts [][]byte) [][]byte {
			return append(parts, envelope.Data[:cut], envelope.Data[end:])
		}
	}
	return answer, nil
}

// CountSamples returns the number of samples in the data of the answer to an
// instant query.
func CountSamples(data []byte) int64 {
	var kind string
	elements, samples := int64(0), int64(0)
	count := func(s *scanner, into *int64, element func() error) error {
		if s.peek() != '[' {
			return s.skip()
		}
		return s.list(func() error {
			*into++
			return element()
		})
	}
	s := &scanner{data: data}
	err := s.eachMember(func(name []byte) error {
		switch string(name) {
		case "resultType":
			return s.text(&kind)
		case "result":
			return count(s, &elements, func() error {
				if s.peek() != '{' {
					return s.skip() // A scalar is a list of two.
				}
				return s.eachMember(func(name []byte) error {
					if string(name) == "values" || string(name) == "histograms" {
						return count(s, &samples, s.skip)
					}
					return s.skip()
				})
			})
		}
		return s.skip()
	})
	switch {
	case err != nil:
		return 0
	case kind == "vector":
		return elements
	case kind == "matrix":
		return samples
	}
	return 1
}
