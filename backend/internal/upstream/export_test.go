package upstream

import (
	"context"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Do prepares a request and sends it.
func (c *Client) Do(ctx context.Context, request *promapi.Request, confinedTo ...string) (*http.Response, error) {
	made, err := c.Prepare(request, confinedTo)
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, made)
}
