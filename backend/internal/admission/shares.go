package admission

import "sync"

// Shares divides a bounded amount among holders, such as the slots of a tier
// among callers. Each holder gets at most a fixed multiple of what it leaves
// free. So one holder alone may have most of the amount, several have less each,
// and there is always something left for a holder that has nothing yet.
//
// Shares is safe for concurrent use. A nil *Shares has no bound.
type Shares[K comparable] struct {
	total int64
	// multiple is how many times the rest one holder may have.
	multiple int64

	mutex sync.Mutex
	used  int64
	by    map[K]int64 // holders that hold something
}

// NewShares returns shares of the given total. One holder gets at most multiple
// times what it leaves free: with 1 at most a half, with 2 at most two thirds.
func NewShares[K comparable](total, multiple int64) *Shares[K] {
	return &Shares[K]{total: total, multiple: multiple, by: map[K]int64{}}
}

// Acquire takes an amount for a holder. It reports whether the amount was free
// and within the holder's share; otherwise nothing changes.
func (s *Shares[K]) Acquire(holder K, amount int64) bool {
	if s == nil {
		return true
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.allows(holder, amount) {
		return false
	}
	s.add(holder, amount)
	return true
}

// Release returns what a holder acquired.
func (s *Shares[K]) Release(holder K, amount int64) {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.add(holder, -amount)
}

// allows reports whether a holder may have so much more. What counts as left is
// what was free before its last unit, so that a total of 1 can be used at all.
// The mutex is held.
func (s *Shares[K]) allows(holder K, amount int64) bool {
	rest := s.total - s.used - amount
	return rest >= 0 && s.by[holder]+amount <= s.multiple*(rest+1)
}

// add changes what a holder has. The mutex is held.
func (s *Shares[K]) add(holder K, amount int64) {
	s.used += amount
	s.by[holder] += amount
	if s.by[holder] == 0 {
		delete(s.by, holder)
	}
}

// Used returns how much all holders have together.
func (s *Shares[K]) Used() int64 {
	used, _ := s.state()
	return used
}

// state returns how much all holders have together, and how many there are.
func (s *Shares[K]) state() (used int64, holders int) {
	if s == nil {
		return 0, 0
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.used, len(s.by)
}
