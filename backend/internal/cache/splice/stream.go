package splice

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/jsonscan"
)

const (
	// streamChunk is how much of a streamed answer is in memory, in bytes.
	streamChunk = 32 << 10
	// longestElement bounds an element that is read as a whole, in bytes, such as the
	// labels of a series.
	longestElement = 1 << 20
)

// Stream is an answer that is written while what it is made of comes in. Close ends that.
type Stream struct {
	next func() ([]byte, error, bool)
	stop func()
	rest []byte
	err  error
}

// errStopped ends what writes a stream that nobody reads any more.
var errStopped = errors.New("the stream was closed")

// newStream returns what write writes.
func newStream(write func(out *streamWriter) error) *Stream {
	s := &Stream{}
	s.next, s.stop = iter.Pull2(func(yield func([]byte, error) bool) {
		out := &streamWriter{yield: yield, buffer: make([]byte, 0, streamChunk)}
		if err := write(out); err != nil {
			yield(nil, err)
			return
		}
		yield(out.buffer, io.EOF)
	})
	return s
}

// Read implements io.Reader. Its error is that of reading what the answer is made of, or
// wraps ErrNoMatrix where that is no answer: what was read until then is only a part.
func (s *Stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		var more bool
		if s.rest, s.err, more = s.next(); !more {
			s.err = io.EOF
		}
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) > 0 {
		return n, nil
	}
	return n, s.err
}

// Close ends writing. It may be called more than once, and never fails.
func (s *Stream) Close() error {
	s.stop()
	return nil
}

// streamWriter hands on what is written in chunks.
type streamWriter struct {
	yield  func([]byte, error) bool
	buffer []byte
}

// write writes texts. It returns errStopped once nobody reads any more.
func (w *streamWriter) write(texts ...[]byte) error {
	for _, text := range texts {
		for len(text) > 0 {
			n := min(len(text), cap(w.buffer)-len(w.buffer))
			w.buffer, text = append(w.buffer, text[:n]...), text[n:]
			if len(w.buffer) < cap(w.buffer) {
				continue
			}
			if !w.yield(w.buffer, nil) {
				return errStopped
			}
			w.buffer = w.buffer[:0]
		}
	}
	return nil
}

// walker reads JSON as it comes in.
type walker struct {
	source *bufio.Reader
	buffer []byte // the value that was read last
}

func newWalker(source io.Reader) *walker {
	return &walker{source: bufio.NewReaderSize(source, streamChunk)}
}

// peek returns the next byte that is no white space.
func (w *walker) peek() (byte, error) {
	for {
		next, err := w.source.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case !isSpace(next):
			return next, w.source.UnreadByte()
		}
	}
}

// expect reads one of two bytes, and returns which one.
func (w *walker) expect(one, other byte) (byte, error) {
	next, err := w.peek()
	if err == nil && next != one && next != other {
		return next, malformed("expected %q or %q, not %q", one, other, next)
	}
	if err == nil {
		_, err = w.source.Discard(1)
	}
	return next, err
}

// value reads any value, and hands it on in parts.
func (w *walker) value(take func(part []byte) error) error {
	if _, err := w.peek(); err != nil {
		return err
	}
	var nesting jsonscan.Nesting
	for isFirst := true; ; isFirst = false {
		if _, err := w.source.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		chunk, _ := w.source.Peek(w.source.Buffered()) // It is there.
		length, isDone := valueIn(chunk, &nesting)
		if isFirst && length == 0 {
			return malformed("a value is missing")
		}
		if err := take(chunk[:length]); err != nil {
			return err
		}
		_, _ = w.source.Discard(length) // It is buffered.
		if isDone {
			return nil
		}
	}
}

// valueIn follows a value through a chunk. It returns how many bytes of the chunk belong to the
// value, and whether it ends with them.
func valueIn(chunk []byte, nesting *jsonscan.Nesting) (length int, isDone bool) {
	for length < len(chunk) {
		if nesting.Depth > 0 {
			if length += nesting.SkipBelow(chunk[length:], 1); length == len(chunk) {
				break
			}
		}
		c := chunk[length]
		if nesting.Depth == 0 && !nesting.InString && (c == ',' || c == '}' || c == ']' || c == ':' || isSpace(c)) {
			return length, true // It follows a number or a literal.
		}
		length++
		nesting.Follow(c)
		if nesting.Depth == 0 && !nesting.InString && (c == '"' || c == '}' || c == ']') {
			return length, true
		}
	}
	return length, false
}

// whole reads any value of at most longestElement bytes, which is valid until the next call.
func (w *walker) whole() ([]byte, error) {
	w.buffer = w.buffer[:0]
	err := w.value(func(part []byte) error {
		if w.buffer = append(w.buffer, part...); len(w.buffer) > longestElement {
			return malformed("an element is longer than %d bytes", longestElement)
		}
		return nil
	})
	return w.buffer, err
}

// skip reads any value.
func (w *walker) skip() error { return w.value(func([]byte) error { return nil }) }

// sequence reads what stands between two brackets, and calls element for each part. null is
// taken for an empty sequence.
func (w *walker) sequence(begin, end byte, element func() error) error {
	next, err := w.peek()
	if err == nil && next == 'n' {
		return w.skip()
	}
	if err == nil {
		_, err = w.expect(begin, begin)
	}
	if err == nil {
		next, err = w.peek()
	}
	if err == nil && next == end {
		_, err = w.source.Discard(1)
		return err
	}
	for ; err == nil && next != end; next, err = w.expect(',', end) {
		if err = element(); err != nil {
			return err
		}
	}
	return err
}

// object reads an object, and calls member with each name; member has to read the value.
func (w *walker) object(member func(name string) error) error {
	return w.sequence('{', '}', func() error {
		raw, err := w.whole()
		if err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return malformed("%s", err)
		}
		if _, err := w.expect(':', ':'); err != nil {
			return err
		}
		return member(name)
	})
}

// end expects that nothing follows.
func (w *walker) end() error {
	next, err := w.peek()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	case err == nil:
		return malformed("%q follows", next)
	}
	return err
}

// texts reads a list of texts.
func (w *walker) texts(into *[]string) error {
	raw, err := w.whole()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed("%s", err)
	}
	return nil
}

// envelope reads an answer, and calls data for its data; data has to read them. The Data of
// what it returns are empty.
func (w *walker) envelope(data func() error) (*Envelope, error) {
	envelope := &Envelope{}
	status, isPartial := "", false
	err := w.object(func(name string) error {
		switch name {
		case "data":
			return data()
		case "warnings":
			return w.texts(&envelope.Warnings)
		case "infos":
			return w.texts(&envelope.Infos)
		case "status", "isPartial":
			raw, err := w.whole()
			if name == "isPartial" {
				isPartial = string(raw) == "true"
			} else {
				status = string(raw)
			}
			return err
		}
		return w.skip()
	})
	if err == nil {
		err = w.end()
	}
	if err == nil && status != `"success"` {
		err = malformed("its status is %s", status)
	}
	if isPartial {
		envelope.Warnings = union(envelope.Warnings, []string{partialWarning})
	}
	return envelope, err
}
