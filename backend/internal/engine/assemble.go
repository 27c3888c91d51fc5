package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// piece is some steps of a range query, both inclusive, and who answers them;
// nobody where the cache has them.
type piece struct {
	first, last int
	from        tier.Name
	matrix      *splice.Matrix
}

// pieceError is why a piece is missing.
type pieceError struct {
	from tier.Name
	// response is the answer of the tier where it is an error of the query, unread.
	response *Response
	err      error
}

// Error returns the text of the cause.
func (e *pieceError) Error() string {
	if e.response != nil {
		return fmt.Sprintf("%s answered with status %d", e.from, e.response.Status)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *pieceError) Unwrap() error { return e.err }

// assemble answers a query that is cut, or of which the cache has a part: it asks
// for all pieces at once and puts them together. done is false where the query
// has to be routed as a whole, with the decision that it returns.
func (c *call) assemble(ctx context.Context) (response *Response, decision tier.Decision, done bool, err error) {
	decision = c.planned.Decision
	if c.planned.Cut == nil && !c.isStepwiseAtCold() {
		return nil, decision, false, nil
	}
	held := c.query.lease()
	use := c.useCache(ctx, held)
	if c.planned.Cut == nil && use == nil {
		held.release()
		return nil, decision, false, nil // It is streamed.
	}
	pieces, err := c.pieces(use)
	if err == nil {
		err = c.fetch(ctx, pieces, held)
	}
	if err != nil {
		held.release()
		return c.afterPieceFailed(ctx, err)
	}
	if c.onlyHotIsEmpty(pieces) {
		held.release()
		c.query.Pair.RememberEmpty(c.planned.key)
		return nil, c.planned.Input.HotEmpty(), false, nil
	}
	matrices := make([]*splice.Matrix, 0, len(pieces))
	for _, each := range pieces {
		matrices = append(matrices, each.matrix)
	}
	c.keep(use, pieces)
	found := c.used(use, pieces)
	joined := splice.Join(matrices, c.limit())
	return &Response{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: joined.Size(),
		Body: &leasedBody{Reader: joined.Reader(), held: held}, assembled: true,
		Cache: c.report(found),
	}, decision, true, nil
}

// report tells how the query has used the cache; nil where there is none.
func (c *call) report(use CacheUse) *CacheUse {
	if c.query.Caching == nil {
		return nil
	}
	if c.query.Caching.OnUse != nil {
		c.query.Caching.OnUse(use)
	}
	return &use
}

// leasedBody gives its memory back when it is closed.
type leasedBody struct {
	io.Reader
	held *lease
}

// Close gives the memory back.
func (b *leasedBody) Close() error {
	b.held.release()
	return nil
}

// fetch asks the tiers for all pieces at once. It returns a *pieceError for the
// first that fails.
func (c *call) fetch(ctx context.Context, pieces []*piece, held *lease) error {
	group, groupContext := errgroup.WithContext(ctx)
	for _, each := range pieces {
		if each.matrix != nil {
			continue
		}
		group.Go(func() error {
			var err error
			each.matrix, err = c.fetchPiece(groupContext, each, held)
			return err
		})
	}
	return group.Wait()
}

func (c *call) fetchPiece(ctx context.Context, asked *piece, held *lease) (*splice.Matrix, error) {
	steps := c.planned.stepwise
	query, request, lead := steps.cold, c.planned.cold, steps.lead
	if asked.from == tier.Hot {
		query, request, lead = steps.hot, c.planned.hot, 0
	}
	decision := tier.Decision{Tier: asked.from, Fallback: c.fallbackOf(asked.from)}
	response, err := c.send(ctx, decision, steps.pieceRequest(request, query, asked.first-lead, asked.last))
	if err != nil {
		return nil, &pieceError{from: asked.from, err: err}
	}
	if response.Status >= http.StatusBadRequest {
		// Read now: the other piece may end the context.
		text, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
		_ = response.Body.Close()
		if err != nil {
			return nil, &pieceError{from: asked.from, err: err}
		}
		response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		return nil, &pieceError{from: asked.from, response: response}
	}
	defer func() { _ = response.Body.Close() }()
	matrix, err := c.readPiece(ctx, response, held)
	if err == nil {
		err = matrix.Window(steps.grid.At(asked.first), steps.grid.At(asked.last), steps.grid.Step)
	}
	if err != nil {
		return nil, &pieceError{from: asked.from, err: err}
	}
	return matrix, nil
}

func (c *call) readPiece(ctx context.Context, response *Response, held *lease) (*splice.Matrix, error) {
	body, err := response.plain()
	if err != nil {
		return nil, err
	}
	length := response.ContentLength
	if body != io.Reader(response.Body) {
		length = -1
	}
	text, err := held.read(body, length)
	if err != nil {
		return nil, err
	}
	return splice.ParseWithin(text, held.acquire(ctx))
}

// fallbackOf is the tier that takes over for one whose steps are missing.
func (c *call) fallbackOf(from tier.Name) tier.Name {
	switch {
	case c.planned.Cut == nil:
		return c.planned.Fallback
	case from == tier.Hot:
		return tier.Cold
	}
	if _, found := c.planned.Input.ColdFailed(); found {
		return tier.Hot
	}
	return ""
}

// afterPieceFailed decides what happens to the whole query.
func (c *call) afterPieceFailed(ctx context.Context, err error) (*Response, tier.Decision, bool, error) {
	var failed *pieceError
	if !errors.As(err, &failed) {
		return nil, c.planned.Decision, true, err
	}
	if ctx.Err() != nil {
		return nil, tier.Decision{Tier: failed.from, Reason: c.planned.Reason}, true, failed.err
	}
	ofCold := tier.Decision{Tier: tier.Cold, Reason: tier.ReasonSplit}
	coldFailed, canHot := c.planned.Input.ColdFailed()
	if routed := c.planned.Decision; c.planned.Cut == nil {
		ofCold, canHot = routed, routed.Fallback != ""
		coldFailed = tier.Decision{Tier: routed.Fallback, Reason: routed.FallbackReason, Warnings: routed.FallbackWarnings}
	}
	switch {
	case errors.Is(err, errTooLarge) || errors.Is(err, splice.ErrNoMatrix):
		// Nobody failed: the rules say who answers the whole.
		c.query.Splicing.unspliced.Add(c.planned.spliceKey(), err.Error())
		return nil, c.planned.routed, false, nil
	case failed.response != nil && failed.from == tier.Hot && !c.planned.Input.ColdCovers():
		// The query would fail on everything, too. An answer of cold would lack what
		// makes it fail.
		return failed.response, tier.Decision{Tier: tier.Hot, Reason: tier.ReasonSplit}, true, nil
	case failed.response != nil && failed.from != tier.Hot:
		return failed.response, ofCold, true, nil
	case failed.from == tier.Hot:
		return nil, c.planned.Input.HotFailed(), false, nil
	}
	if canHot {
		return nil, coldFailed, false, nil
	}
	return nil, ofCold, true, failed.err
}

// onlyHotIsEmpty tells whether hot has nothing where cold has something, and
// was only assumed to have everything.
func (c *call) onlyHotIsEmpty(pieces []*piece) bool {
	in := c.planned.Input
	if in.Completeness != tier.Assumed || !in.ColdCovers() || c.query.Pair == nil {
		return false
	}
	return slices.ContainsFunc(pieces, func(each *piece) bool { return each.from != tier.Hot && each.matrix.Len() > 0 }) &&
		slices.ContainsFunc(pieces, func(each *piece) bool { return each.from == tier.Hot && each.matrix.Len() == 0 })
}
