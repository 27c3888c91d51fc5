package engine

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// ReadMatrix reads the answer to a range query, and does not close the body. It acquires the memory
// for the matrix from share, and returns how much the caller has to release. It returns an Error of
// the Prometheus API: that of the tier, 502 if the tier failed, or 503 if the time is over. It
// returns tooLarge if there is no memory.
func (r *Response) ReadMatrix(ctx context.Context, share *admission.BudgetShare, tooLarge error) (*splice.Matrix, int64, error) {
	memory := &reservation{of: share}
	matrix, err := r.readMatrix(ctx, memory)
	if err == nil {
		return matrix, memory.bytes.Load(), nil
	}
	memory.release()
	if errors.Is(err, errTooLarge) {
		return nil, 0, tooLarge
	}
	return nil, 0, r.unreadable(err)
}

func (r *Response) readMatrix(ctx context.Context, memory *reservation) (*splice.Matrix, error) {
	if r.Status >= http.StatusBadRequest {
		text, err := r.errorText()
		if err == nil {
			_, _, _, err = promapi.DecodeEnvelope(r.Status, bytes.NewReader(text))
		}
		return nil, err
	}
	text, err := memory.readBody(r)
	if err != nil {
		return nil, err
	}
	return splice.Parse(text, memory.acquireWithin(ctx))
}
