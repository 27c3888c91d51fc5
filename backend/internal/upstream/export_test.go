package upstream

// Joined is how many requests wait for the answer to another one.
func (t *Tier) Joined() int {
	t.flights.mutex.Lock()
	defer t.flights.mutex.Unlock()
	return int(t.flights.joined.Used())
}

// Idle tells whether nothing is under way.
func (t *Tier) Idle() bool {
	t.flights.mutex.Lock()
	defer t.flights.mutex.Unlock()
	t.gate.mutex.Lock()
	defer t.gate.mutex.Unlock()
	return len(t.flights.open)+int(t.flights.joined.Used())+t.gate.running+t.gate.queue.waiting == 0
}

// Held is how much is held.
func (m *Memory) Held() int64 { return m.held.Load() }
