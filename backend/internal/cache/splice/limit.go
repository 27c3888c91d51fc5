package splice

import (
	"errors"
	"io"
)

// Limited returns the answer to a query with its result cut to the first series, as
// Prometheus does for the parameter limit. It reads body, which must not be compressed,
// while it is read itself. warning is added if the result is cut.
func Limited(body io.Reader, limit int, warning string) *Stream {
	return newStream(func(out *streamWriter) error {
		l := &limiter{walker: newWalker(body), out: out, limit: limit}
		if err := l.answer(); err != nil {
			return err
		}
		if l.isCut {
			l.warnings = append(l.warnings, warning)
		}
		return out.write(append(annotations(`,"warnings":`, l.warnings, nil), textObjectEnd)...)
	})
}

// limiter copies an answer.
type limiter struct {
	*walker

	out      *streamWriter
	limit    int
	isCut    bool
	warnings []string
}

// answer copies all but the warnings and the end of the answer.
func (l *limiter) answer() error {
	err := l.copyObject(func(name string) (copied func() error) {
		switch name {
		case "warnings":
			return nil
		case "data":
			return l.data
		case "isPartial":
			return l.partial
		}
		return l.copyValue
	})
	if err != nil {
		return err
	}
	return l.end()
}

// partial copies a mark of a partial answer, and adds a warning.
func (l *limiter) partial() error {
	raw, err := l.whole()
	if string(raw) == "true" {
		l.warnings = union(l.warnings, []string{partialWarning})
	}
	return errors.Join(err, l.out.write(raw))
}

// copyValue copies any value.
func (l *limiter) copyValue() error {
	return l.value(func(part []byte) error { return l.out.write(part) })
}

// copyObject copies an object without its end. copierOf returns what copies a member; nil
// for the warnings, which are left out.
func (l *limiter) copyObject(copierOf func(name string) func() error) error {
	isEmpty := true
	if err := l.out.write(textObjectBegin); err != nil {
		return err
	}
	return l.object(func(name string) error {
		copyMember := copierOf(name)
		if copyMember == nil {
			var texts []string
			err := l.texts(&texts)
			l.warnings = union(l.warnings, texts)
			return err
		}
		separator := textComma
		if isEmpty {
			separator, isEmpty = nil, false
		}
		if err := l.out.write(separator, quoted([]byte(name)), []byte(`:`)); err != nil {
			return err
		}
		return copyMember()
	})
}

// data copies the data of a query with its result cut.
func (l *limiter) data() error {
	switch next, err := l.peek(); {
	case err != nil:
		return err
	case next != '{':
		return malformed("its data is no object")
	}
	err := l.copyObject(func(name string) func() error {
		if name == "result" {
			return l.result
		}
		return l.copyValue
	})
	if err != nil {
		return err
	}
	return l.out.write(textObjectEnd)
}

// result copies a result, cut if it is a list of series: one that is a number or a text is
// a list, too.
func (l *limiter) result() error {
	switch next, err := l.peek(); {
	case err != nil:
		return err
	case next != '[':
		return l.copyValue()
	}
	count := 0
	if err := l.out.write(textListBegin); err != nil {
		return err
	}
	err := l.sequence('[', ']', func() error {
		next, err := l.peek()
		if err != nil {
			return err
		}
		if count++; count > l.limit && next == '{' {
			l.isCut = true
			return l.skip()
		}
		if count > 1 {
			if err := l.out.write(textComma); err != nil {
				return err
			}
		}
		return l.copyValue()
	})
	if err != nil {
		return err
	}
	return l.out.write(textListEnd)
}
