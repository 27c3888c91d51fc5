package admission

// Joined is how many requests wait for the answer to another one.
func (c *Controller) Joined() int { return int(used(c.coalescer.joined)) }

// Idle reports whether nothing is under way.
func (c *Controller) Idle() bool {
	c.coalescer.mutex.Lock()
	defer c.coalescer.mutex.Unlock()
	c.queue.mutex.Lock()
	defer c.queue.mutex.Unlock()
	return len(c.coalescer.open)+c.Joined()+c.queue.running+c.queue.line.waiting == 0
}

// Held is how much is held.
func (s *Share[K]) Held() int64 { return used(s.budget) }
