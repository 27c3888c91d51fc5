package admission

// Caller identifies whose turn it is where a tier has no room for all calls. It
// grants nothing: two callers with the same identity share their turns.
type Caller struct {
	// Datasource is the same for all requests to one datasource.
	Datasource uint64
	// ID is the same for all requests of one caller, whatever the datasource.
	ID uint64
}
