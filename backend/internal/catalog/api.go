package catalog

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// apiClient asks the Prometheus API of a tier what probes need.
type apiClient struct{ *upstream.Client }

// warm makes connections to a tier that answers before they are needed: the
// panels of a dashboard come all at once.
func (c apiClient) warm(ctx context.Context, connections int) {
	var group errgroup.Group
	for range connections {
		group.Go(func() error { return c.evaluate(ctx) })
	}
	_ = group.Wait() // Whether the tier answers is for the next probe to find.
}
