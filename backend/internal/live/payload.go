package live

import (
	"bytes"
	"encoding/json"
	"math"
	"sync/atomic"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

// payload is the body of an update. Several streams may send it at a time. Its memory is released
// when nobody needs it any more.
type payload struct {
	body []byte
	// about is the member live of the body.
	about About
	// id is the last step that can no longer change, in milliseconds since the Unix epoch.
	id int64

	memory  *admission.BudgetShare
	holders atomic.Int64
}

// hold keeps the payload until release.
func (p *payload) hold() { p.holders.Add(1) }

func (p *payload) release() {
	if p.holders.Add(-1) == 0 {
		p.memory.Release(int64(len(p.body)))
	}
}

// About is the member live of a body.
type About struct {
	// Start and End are the first and the last step that the body replaces, and Step their distance,
	// in seconds.
	Start  Seconds `json:"start"`
	End    Seconds `json:"end"`
	Step   Seconds `json:"step"`
	Tier   string  `json:"tier"`
	Reason string  `json:"reason"`
	Source string  `json:"source,omitempty"`
}

// Seconds are milliseconds that are written as seconds.
type Seconds int64

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(s) / 1000)
}

// encode returns a payload with the steps from a time to another, held once. parts are the matrices
// that hold them, in the order of time. It returns ErrNoMemory without memory for it.
func (t *topic) encode(parts []*splice.Matrix, said About) (*payload, error) {
	joined := splice.Join(parts, 0)
	suffix, err := json.Marshal(said)
	if err != nil {
		return nil, err
	}
	size := joined.Size() + int64(len(suffix)) + int64(len(liveMember))
	if size > math.MaxInt32 || !t.memory.Acquire(size) {
		return nil, ErrNoMemory
	}
	text := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := text.ReadFrom(joined.Reader()); err != nil {
		t.memory.Release(size)
		return nil, err
	}
	text.Truncate(text.Len() - 1) // The end of the object.
	text.WriteString(liveMember)
	text.Write(suffix)
	text.WriteByte('}')
	made := &payload{body: oneLine(text.Bytes()), about: said, memory: t.memory}
	t.memory.Release(size - int64(len(made.body)))
	made.holders.Store(1)
	return made, nil
}

const liveMember = `,"live":`

// oneLine returns JSON without line breaks.
func oneLine(text []byte) []byte {
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return text
	}
	var compacted bytes.Buffer
	if json.Compact(&compacted, text) != nil {
		return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n"), nil), []byte("\r"), nil)
	}
	return compacted.Bytes()
}
