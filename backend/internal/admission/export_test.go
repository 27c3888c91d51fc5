package admission

// Joined is how many requests wait for the answer to another one.
func (c *Controller) Joined() int { return int(c.flights.joined.Used()) }

// Idle tells whether nothing is under way.
func (c *Controller) Idle() bool {
	c.flights.mutex.Lock()
	defer c.flights.mutex.Unlock()
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	return len(c.flights.open)+int(c.flights.joined.Used())+c.gate.running+c.gate.queue.waiting == 0
}

// Held is how much is held.
func (m *Memory) Held() int64 { return m.held.Load() }
