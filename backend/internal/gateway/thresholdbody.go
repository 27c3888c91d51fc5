package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
)

// thresholdBody is the body of an answer with thresholds. It encodes one element at a time: the
// expression of a rule is in each of its thresholds, so the JSON may be much larger than
// the rules.
type thresholdBody struct {
	pending bytes.Buffer
	next    func() (piece any, more bool)
	stop    func()
	release func()
}

// newThresholdBody returns the body of an answer. Its Close calls release.
func newThresholdBody(list *thresholdList, release func()) io.ReadCloser {
	body := &thresholdBody{release: release}
	body.next, body.stop = iter.Pull(list.pieces())
	return body
}

// Read implements io.Reader.
func (b *thresholdBody) Read(p []byte) (int, error) {
	for b.pending.Len() < len(p) {
		piece, more := b.next()
		if !more {
			break
		}
		if punctuation, is := piece.(string); is {
			b.pending.WriteString(punctuation)
			continue
		}
		encoder := json.NewEncoder(&b.pending)
		encoder.SetEscapeHTML(false) // PromQL has < and >.
		if err := encoder.Encode(piece); err != nil {
			return 0, err
		}
	}
	return b.pending.Read(p)
}

// Close implements io.Closer.
func (b *thresholdBody) Close() error {
	b.stop()
	b.release()
	return nil
}

// pieces returns the JSON of the answer in pieces: texts that are JSON, and values to encode.
func (l *thresholdList) pieces() iter.Seq[any] {
	return func(yield func(any) bool) {
		complete := yield(`{"status":"success","data":{"thresholds":[`) && yieldList(yield, l.thresholds, func(t *threshold) any { return t.view() }) &&
			yield(`],"skipped":[`) && yieldList(yield, l.skipped, func(s *SkippedRule) any { return s }) && yield(`]}`)
		if complete && len(l.warnings) > 0 {
			complete = yield(`,"warnings":`) && yield(l.warnings)
		}
		if complete {
			yield(`}`)
		}
	}
}

func yieldList[V any](yield func(any) bool, list []V, view func(*V) any) bool {
	for i := range list {
		if (i > 0 && !yield(",")) || !yield(view(&list[i])) {
			return false
		}
	}
	return true
}
