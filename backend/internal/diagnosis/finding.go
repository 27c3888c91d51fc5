// Package diagnosis says what is wrong with a gateway and its tiers, and what would make it faster. The
// subcommand check prints its findings. It has no HTTP server.
package diagnosis

// Severity says how bad a Finding is.
type Severity string

// The severities of a Finding.
const (
	SeverityOK      Severity = "ok"      // everything is fine
	SeverityNote    Severity = "note"    // for information, there is nothing to fix
	SeverityWarning Severity = "warning" // queries succeed, but not in the best way
	SeverityError   Severity = "error"   // queries fail
)

// Finding is one result of Diagnose or Advise.
type Finding struct {
	// Subject is the object of the finding: perses, hot, cold, routing, cache or a Service.
	Subject string `json:"subject"`
	// Severity is ok, note, warning or error.
	Severity Severity `json:"severity"`
	// Message describes the finding.
	Message string `json:"message"`
	// Remedy says how to fix it, or is empty.
	Remedy string `json:"remedy,omitempty"`
	// Measurements are what Advise has measured, in the finding that says so.
	Measurements []Measurement `json:"measurements,omitempty"`
}
