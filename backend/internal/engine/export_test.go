package engine

// held returns how many bytes are in use.
func (s *Splicing) held() int64 {
	bytes, _ := s.budget.Used()
	return bytes
}
