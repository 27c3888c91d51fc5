package splice

import "encoding/json"

// Envelope is a successful answer of any endpoint. Its data is not
// decoded: it refers to the bytes that it was read from.
type Envelope struct {
	// Data is the JSON of the data; empty where there is none.
	Data []byte
	// Warnings and Infos are the annotations of the answer. Those of a partial answer
	// include a warning that says so.
	Warnings, Infos []string
}

// partialWarning is the warning for an answer whose member isPartial is true.
const partialWarning = "the answer says of itself that it is partial (isPartial): what some servers of the tier hold may be missing"

// ParseEnvelope finds the data of an answer. It returns an error that wraps
// ErrNoMatrix where the text is not a success of the Prometheus API, and the
// error of acquire.
func ParseEnvelope(text []byte, acquire Acquire) (*Envelope, error) {
	if !json.Valid(text) {
		return nil, malformed("it is not JSON")
	}
	s := &scanner{data: text, acquire: acquire}
	var data []byte
	envelope, err := s.envelope(func() (err error) {
		data, err = s.value()
		return err
	})
	envelope.Data = data
	return envelope, err
}

// envelope reads an answer and calls data for its data; data has to read them.
func (s *scanner) envelope(data func() error) (*Envelope, error) {
	envelope := &Envelope{}
	status, isPartial := "", false
	err := s.object(func(name []byte) error {
		switch string(name) {
		case "status":
			return s.text(&status)
		case "data":
			return data()
		case "warnings":
			return s.texts(&envelope.Warnings)
		case "infos":
			return s.texts(&envelope.Infos)
		case "isPartial":
			value, err := s.value()
			isPartial = string(value) == "true"
			return err
		}
		return s.skip()
	})
	if err == nil {
		err = s.end()
	}
	if isPartial {
		envelope.Warnings = union(envelope.Warnings, []string{partialWarning})
	}
	if err == nil && status != "success" {
		err = malformed("its status is %q", status)
	}
	return envelope, err
}

// result reads the data of a query and returns the type of its result. It calls
// result for the result itself, which has to read that.
func (s *scanner) result(result func() error) (kind string, err error) {
	err = s.object(func(name []byte) error {
		switch string(name) {
		case "resultType":
			return s.text(&kind)
		case "result":
			return result()
		}
		return s.skip()
	})
	return kind, err
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
	cut, end, count := 0, 0, 0
	s := &scanner{data: envelope.Data}
	kind, err := s.result(func() error {
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
	elements, samples := int64(0), int64(0)
	s := &scanner{data: data}
	count := func(into *int64, element func() error) error {
		if s.peek() != '[' {
			return s.skip()
		}
		return s.list(func() error {
			*into++
			return element()
		})
	}
	kind, err := s.result(func() error {
		return count(&elements, func() error {
			if s.peek() != '{' {
				return s.skip() // A scalar is a list of two.
			}
			return s.object(func(name []byte) error {
				if string(name) == "values" || string(name) == "histograms" {
					return count(&samples, s.skip)
				}
				return s.skip()
			})
		})
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
