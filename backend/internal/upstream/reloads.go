package upstream

import "sync/atomic"

// Reloads counts the reloads of changed credential and TLS files. It is safe for concurrent use,
// and nil counts nothing.
type Reloads struct {
	succeeded, failed atomic.Uint64
}

// Counts returns the number of successful reloads, and how often tierproxy could not read a file
// that it had read before. It reads secrets for every request, and TLS files once a second.
func (r *Reloads) Counts() (succeeded, failed uint64) {
	if r == nil {
		return 0, 0
	}
	return r.succeeded.Load(), r.failed.Load()
}

func (r *Reloads) count(succeeded bool) {
	if r == nil {
		return
	}
	counter := &r.failed
	if succeeded {
		counter = &r.succeeded
	}
	counter.Add(1)
}
