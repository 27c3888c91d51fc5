package catalog

import (
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
)

// Parallel returns how many queries the tier computes at once, each of them on a core of its own. It
// returns zero if that is unknown, or if the tier computes one query on several cores.
func (t *Tier) Parallel() int {
	known := t.known.Load()
	if known == nil || !known.OneCore {
		return 0
	}
	parallel := t.status.Load().cores
	if known.MaxConcurrent > 0 {
		parallel = min(parallel, known.MaxConcurrent)
	}
	return parallel
}

// Headroom returns how many calls, at most the given number, the caller can make at once without
// delaying others: see admission.Controller.Headroom.
func (t *Tier) Headroom(key string, caller admission.Caller, most int) *admission.Headroom {
	return t.calls.Headroom(key, caller, t.Parallel(), most)
}
