package admission

// ByteBudget bounds memory that the queries of several datasources hold at a
// time. One datasource may hold as much as it leaves free for others: half of
// the budget while no other holds anything, a third while one other holds as
// much, and so on. So the queries of one datasource never take all of it. It is
// safe for concurrent use.
type ByteBudget struct {
	shares *Shares[string]
}

// NewByteBudget returns a budget of that many bytes.
func NewByteBudget(limit int64) *ByteBudget {
	return &ByteBudget{shares: NewShares[string](limit, 1)}
}

// Of returns the budget as one owner sees it. It takes no memory until
// something is acquired. That of a nil budget is nil, which has no bound.
func (b *ByteBudget) Of(owner string) *BudgetShare {
	if b == nil {
		return nil
	}
	return &BudgetShare{of: b.shares, owner: owner}
}

// Held returns how many bytes are held, and by how many owners.
func (b *ByteBudget) Held() (bytes int64, owners int) { return b.shares.state() }

// BudgetShare is a ByteBudget as one owner sees it. nil has no bound. It is safe
// for concurrent use.
type BudgetShare struct {
	of    *Shares[string]
	owner string
}

// Acquire holds that many bytes more. It returns false, and holds nothing more,
// where the owner would then hold more than is left for others.
func (s *BudgetShare) Acquire(bytes int64) bool {
	return s == nil || bytes <= 0 || s.of.Acquire(s.owner, bytes)
}

// Release gives back what was acquired.
func (s *BudgetShare) Release(bytes int64) {
	if s != nil && bytes > 0 {
		s.of.Release(s.owner, bytes)
	}
}
