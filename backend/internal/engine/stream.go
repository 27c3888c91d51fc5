package engine

import (
	"context"
	"errors"
	"io"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// isStreamable reports whether answers that are too large to be read as a whole can be
// changed and joined while they come in.
func (p *Plan) isStreamable() bool {
	union := p.traits().Union
	return union == promapi.UnionOfSeries || union == promapi.UnionOfTexts || p.traits().Evaluates()
}

// isTooLarge reports whether an error says that answers take too much memory, which a
// stream does not.
func (p *Plan) isTooLarge(err error) bool { return errors.Is(err, errTooLarge) && p.isStreamable() }

// streamed joins the data of tiers, or changes that of one, while they come in.
func (p *Plan) streamed(ctx context.Context, memory *reservation, sources ...splice.StreamedSource) *splice.Stream {
	limit := p.limit()
	switch {
	case p.traits().Evaluates():
		return splice.Limited(sources[0].Body, limit, promapi.TruncatedWarning)
	case p.traits().Union == promapi.UnionOfTexts:
		return splice.StreamTexts(sources, limit, promapi.TruncatedWarning)
	}
	return splice.StreamSeries(sources, limit, promapi.TruncatedWarning, memory.acquireWithin(ctx))
}

// streamParts answers with the parts, which are joined while they come in. It returns an error
// if all of them fail at their start.
func streamParts(ctx context.Context, a attempt, parts ...*part) (*Response, error) {
	sources, contents := make([]splice.StreamedSource, 0, len(parts)), make([]*content, 0, len(parts))
	for _, part := range parts {
		sources, contents = append(sources, part.content.source(part.response)), append(contents, part.content)
	}
	response := parts[len(parts)-1].response
	if err := response.setStream(a.plan.streamed(ctx, contents[0].memory, sources...), contents...); err != nil {
		return nil, a.failed(response.failed(err))
	}
	response.answers(a)
	return response, nil
}

// setStream replaces the body. Closing it closes what it is made of. If the stream fails at its
// start, setStream closes it and returns the error.
func (r *Response) setStream(stream *splice.Stream, of ...*content) error {
	r.setHeader()
	r.ContentLength = -1
	r.Body = &endingBody{io.NopCloser(stream), func() {
		_ = stream.Close()
		for _, content := range of {
			content.close()
		}
	}}
	if _, err := r.peek(1); err != nil && !errors.Is(err, io.EOF) {
		_ = r.Body.Close()
		return notPrometheus(err)
	}
	return nil
}
