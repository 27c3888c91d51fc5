package admission

import "sync"

// Budget divides a bounded amount among holders: the slots of a tier among callers, or memory
// among datasources. Each holder gets at most a fixed multiple of what it leaves free, so there
// is always something left for a new holder. It is safe for concurrent use. nil has no bound.
type Budget[K comparable] struct {
	total, multiple int64

	mutex sync.Mutex
	used  int64
	by    map[K]int64 // holders that hold something
}

// NewBudget returns a budget of the given total. One holder gets at most multiple times what it
// leaves free: at most half with 1, at most two thirds with 2, and everything with 0.
func NewBudget[K comparable](total, multiple int64) *Budget[K] {
	return &Budget[K]{total: total, multiple: multiple, by: map[K]int64{}}
}

// ByteBudget limits the bytes of memory that the queries of several datasources hold at a time.
type ByteBudget = Budget[string]

// NewByteBudget returns a budget of limit bytes. One datasource may hold as much as it leaves free
// for others.
func NewByteBudget(limit int64) *ByteBudget { return NewBudget[string](limit, 1) }

// Acquire takes an amount for a holder. It reports whether the amount was free and within the
// holder's share. Otherwise nothing changes.
func (b *Budget[K]) Acquire(holder K, amount int64) bool {
	if b == nil || amount <= 0 {
		return true
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	// The holder's last unit counts as free, so that a total of 1 can be used.
	rest := b.total - b.used - amount
	if rest < 0 || (b.multiple > 0 && b.by[holder]+amount > b.multiple*(rest+1)) {
		return false
	}
	b.add(holder, amount)
	return true
}

// room returns the largest amount that a holder can acquire now.
func (b *Budget[K]) room(holder K) int64 {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	free := b.total - b.used
	if b.multiple > 0 {
		free = min(free, (b.multiple*(free+1)-b.by[holder])/(1+b.multiple))
	}
	return max(free, 0)
}

// fits reports whether a holder could have an amount if nobody held anything.
func (b *Budget[K]) fits(amount int64) bool {
	rest := b.total - amount
	return rest >= 0 && (b.multiple == 0 || amount <= b.multiple*(rest+1))
}

// Release returns what a holder acquired.
func (b *Budget[K]) Release(holder K, amount int64) {
	if b == nil || amount <= 0 {
		return
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.add(holder, -amount)
}

// add changes what a holder has. The mutex is held.
func (b *Budget[K]) add(holder K, amount int64) {
	b.used += amount
	b.by[holder] += amount
	if b.by[holder] == 0 {
		delete(b.by, holder)
	}
}

// Used returns how much all holders have together, and how many there are.
func (b *Budget[K]) Used() (amount int64, holders int) {
	if b == nil {
		return 0, 0
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.used, len(b.by)
}

// Of returns the share of a holder. The share of a nil budget is nil.
func (b *Budget[K]) Of(holder K) *Share[K] {
	if b == nil {
		return nil
	}
	return &Share[K]{budget: b, holder: holder}
}

// Share is the share of one holder in a Budget. It is safe for concurrent use. nil has no bound.
type Share[K comparable] struct {
	budget *Budget[K]
	holder K
}

// BudgetShare is the share of one datasource in a ByteBudget.
type BudgetShare = Share[string]

// Acquire takes an amount: see Budget.Acquire.
func (s *Share[K]) Acquire(amount int64) bool { return s == nil || s.budget.Acquire(s.holder, amount) }

// Fits reports whether the holder could have an amount if nobody held anything.
func (s *Share[K]) Fits(amount int64) bool { return s == nil || s.budget.fits(amount) }

// Release returns an acquired amount.
func (s *Share[K]) Release(amount int64) {
	if s != nil {
		s.budget.Release(s.holder, amount)
	}
}
