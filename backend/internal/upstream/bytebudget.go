package upstream

import "sync"

// ByteBudget bounds memory that the queries of several datasources hold at a
// time. One datasource may hold as much as it leaves free for others: half of
// the budget while no other holds anything, a third while one other holds as
// much, and so on. So the queries of one datasource never take all of it. It is
// safe for concurrent use.
type ByteBudget struct {
	limit int64

	mutex sync.Mutex
	held  int64
	// byOwner has an entry for each owner that holds something.
	byOwner map[string]int64
}

// NewByteBudget returns a budget of that many bytes.
func NewByteBudget(limit int64) *ByteBudget {
	return &ByteBudget{limit: limit, byOwner: map[string]int64{}}
}

// Of returns the budget as one owner sees it. It takes no memory until
// something is acquired. That of a nil budget is nil, which has no bound.
func (b *ByteBudget) Of(owner string) *BudgetShare {
	if b == nil {
		return nil
	}
	return &BudgetShare{of: b, owner: owner}
}

// Held returns how many bytes are held, and by how many owners.
func (b *ByteBudget) Held() (bytes int64, owners int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.held, len(b.byOwner)
}

// BudgetShare is a ByteBudget as one owner sees it. nil has no bound. It is safe
// for concurrent use.
type BudgetShare struct {
	of    *ByteBudget
	owner string
}

// Acquire holds that many bytes more. It returns false, and holds nothing more,
// where the owner would then hold more than is left for others.
func (s *BudgetShare) Acquire(bytes int64) bool {
	if s == nil || bytes <= 0 {
		return true
	}
	b := s.of
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if bytes > b.limit || b.byOwner[s.owner]+bytes > b.limit-b.held-bytes {
		return false
	}
	b.held += bytes
	b.byOwner[s.owner] += bytes
	return true
}

// Release gives back what was acquired.
func (s *BudgetShare) Release(bytes int64) {
	if s == nil || bytes <= 0 {
		return
	}
	b := s.of
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.held -= bytes
	if b.byOwner[s.owner] -= bytes; b.byOwner[s.owner] <= 0 {
		delete(b.byOwner, s.owner)
	}
}
