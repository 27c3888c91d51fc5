package upstream

import (
	"context"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Do prepares a request and sends it.
func (c *Client) Do(ctx context.Context, request *promapi.Request, options *CallOptions) (*http.Response, error) {
	if options == nil {
		options = &CallOptions{}
	}
	made, err := c.Prepare(request, options)
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, made)
}
