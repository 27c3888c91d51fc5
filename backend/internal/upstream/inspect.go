package upstream

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Inspection is what one look at a tier found.
type Inspection struct {
	// Err is why the tier does not answer queries; nil when it does. See
	// FailureOf and Describe.
	Err error
	// Latency is how long it took to evaluate a query.
	Latency time.Duration
	// Version is that of the server; empty when it does not tell.
	Version string
	// Oldest is the timestamp of hot's oldest sample in milliseconds since the
	// Unix epoch, or tier.NothingCovered: see Status.
	Oldest int64
	// ExternalLabels are those that the server puts on its series when it
	// sends them elsewhere; nil when it has none or does not tell.
	ExternalLabels map[string]string
}

// Inspect looks at a tier once, for somebody who wants to know whether it can
// be used.
func (c *Client) Inspect(ctx context.Context, name tier.Name) Inspection {
	found := Inspection{Oldest: tier.NothingCovered}
	started := time.Now()
	if found.Err = c.evaluate(ctx); found.Err != nil {
		return found
	}
	found.Latency = time.Since(started)
	found.Version = c.version(ctx)
	if settings, err := c.settings(ctx); err == nil && len(settings.ExternalLabels) > 0 {
		found.ExternalLabels = settings.ExternalLabels
	}
	if name == tier.Hot {
		status := Status{Oldest: tier.NothingCovered}
		if err := c.measureCoverage(ctx, &status); err == nil {
			found.Oldest = status.Oldest
		}
	}
	return found
}

// evaluate lets the tier evaluate a query that touches no series, and checks
// that what comes back is an answer to it: a server that says yes to
// everything is no Prometheus.
func (c *Client) evaluate(ctx context.Context) error {
	data, err := c.get(ctx, "/api/v1/query", url.Values{"query": {"vector(1)"}})
	if err != nil {
		return err
	}
	var answer struct {
		ResultType string `json:"resultType"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.ResultType != "vector" {
		return &notPrometheusError{}
	}
	return nil
}

// notPrometheusError is returned for a success that does not answer the query.
type notPrometheusError struct{}

// ErrNotPrometheus is returned for a success that is no answer of the Prometheus
// API.
var ErrNotPrometheus error = &notPrometheusError{}

// Error says what is wrong.
func (*notPrometheusError) Error() string { return "it did not answer as a Prometheus API does" }

func (c *Client) version(ctx context.Context) string {
	data, err := c.get(ctx, "/api/v1/status/buildinfo", nil)
	if err != nil {
		return ""
	}
	var info struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(data, &info) != nil {
		return ""
	}
	return info.Version
}
