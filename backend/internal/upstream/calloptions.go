package upstream

import "github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"

// CallOptions are what a call depends on beside its request. Nil stands for none.
type CallOptions struct {
	// Without are parameters that are not sent, because the tier does not know
	// them.
	Without []string
	// Caller is on whose behalf the call is made.
	Caller promapi.Caller
	// DetachOnCancel lets the call go on for others who have joined it once its
	// context is cancelled without a cause, as that of a client that has gone.
	DetachOnCancel bool
	// ConfinedTo are the namespaces that the request is confined to; nil where it
	// is not.
	ConfinedTo []string
}
