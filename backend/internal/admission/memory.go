package admission

import "sync/atomic"

// Memory is a bounded amount of memory that several hold parts of. It is safe
// for concurrent use; nil has no bound.
type Memory struct {
	bound int64
	held  atomic.Int64
}

// NewMemory returns an amount of that many bytes.
func NewMemory(bound int64) *Memory { return &Memory{bound: bound} }

// Take holds that many bytes more; false where they are not there.
func (m *Memory) Take(bytes int) bool {
	if m == nil {
		return true
	}
	if m.held.Add(int64(bytes)) <= m.bound {
		return true
	}
	m.held.Add(-int64(bytes))
	return false
}

// Give returns what was taken.
func (m *Memory) Give(bytes int) {
	if m != nil {
		m.held.Add(-int64(bytes))
	}
}
