package upstream

import "sync/atomic"

// Reloads counts how often changed files of credentials and of TLS were taken over,
// and how often one could not be. It is safe for concurrent use, and nil counts
// nothing.
type Reloads struct {
	succeeded, failed atomic.Uint64
}

// Counts returns how many changes were taken over, and how many times a file that
// served before could not be used. A secret is read for every request, and the files of
// TLS once a second.
func (r *Reloads) Counts() (succeeded, failed uint64) {
	if r == nil {
		return 0, 0
	}
	return r.succeeded.Load(), r.failed.Load()
}

func (r *Reloads) count(succeeded bool) {
	switch {
	case r == nil:
	case succeeded:
		r.succeeded.Add(1)
	default:
		r.failed.Add(1)
	}
}
