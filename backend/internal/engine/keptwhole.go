package engine

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// headReach is how far back from now a Prometheus returns series and labels without
// looking at times: its head block. A new name shows up in older time ranges, too.
const headReach = 3 * time.Hour

// aboutTheEvaluation are parameters whose answer differs with each evaluation.
var aboutTheEvaluation = []string{"stats", "cost", "analyze", "explain"}

// keepWhole answers an instant query or a metadata request with fixed times from
// the cache, or keeps the answer of cold. Only what the rules chose cold for is kept.
func (e *Engine) keepWhole(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		l := a.lookUpWhole(ctx)
		if l == nil {
			return next(ctx, a)
		}
		if l.entry != nil {
			response := a.made(l.memory.body(bytes.NewReader(l.entry.Answer)), int64(len(l.entry.Answer)))
			response.isMetricsQL = a.isMetricsQL // That is part of its key.
			response.Cache = a.plan.report(CacheUse{Result: CacheHit, Cached: 1, Steps: 1, Samples: int(l.entry.Samples)})
			return response, nil
		}
		a.reading = max(a.reading, lookedAt)
		response, err := next(ctx, a)
		if err == nil && response.isMetricsQL == a.isMetricsQL {
			l.keepWhole(response)
		}
		return response, err
	}
}

// lookUpWhole looks up the answer to a request as a whole. It returns nil where the
// answer may not be kept.
func (a attempt) lookUpWhole(ctx context.Context) *lookup {
	p := a.plan
	if a.Tier != tier.Cold || !a.followsRules() {
		return nil
	}
	if p.query.Request.TimeRange.End.UnixMilli() > p.Input.Now-p.freshness().Milliseconds() {
		return nil // It is too new, whatever it reads: most are about now.
	}
	newest, ok := p.newestOfWhole()
	if !ok {
		return nil
	}
	l := p.lookup()
	if l == nil || newest > l.until {
		return nil
	}
	l.key = p.cacheKey(l.stores, []string{"timeout"}, "whole")
	if p.query.NoRead {
		return l
	}
	l.memory = p.reserve()
	if l.entry = l.get(ctx, l.memory); l.entry == nil {
		l.memory.release()
	}
	return l
}

// newestOfWhole returns the newest time, in milliseconds since the Unix epoch, whose
// samples can change the answer. ok is false for requests that are never kept.
func (p *Plan) newestOfWhole() (newest int64, ok bool) {
	request := p.query.Request
	traits, times := request.Endpoint.Traits(), request.TimeRange
	if traits.Caching != promapi.CachedWhole || slices.ContainsFunc(aboutTheEvaluation, func(name string) bool { return request.Parameters.Get(name) != "" }) {
		return 0, false
	}
	if traits.Times != promapi.OneTime {
		if request.Parameters.Get("start") == "" {
			return 0, false // Cold may have its own idea of where to begin.
		}
		return times.End.Add(headReach).UnixMilli(), true
	}
	extent, err := queryExtent(p.cold, p.lookback())
	if err != nil {
		return 0, false
	}
	// The same recent time is hardly requested twice, whatever the query reads.
	newest = times.End.UnixMilli()
	if !extent.Nothing {
		newest = max(newest, extent.Newest)
	}
	return newest, true
}

// keepWhole has an answer of cold kept when it has been read to its end.
func (l *lookup) keepWhole(response *Response) {
	if response.Status != http.StatusOK {
		return
	}
	query, kept := &l.plan.query, l.plan.engine.options.Cache
	use := CacheUse{Result: CacheMiss, Steps: 1}
	if query.NoRead {
		use.Result = CacheBypass
	}
	response.Cache = l.plan.report(use)
	encoding := response.encoding()
	if query.NoStore || (encoding != promapi.EncodingPlain && encoding != promapi.EncodingGzip) {
		return
	}
	endpoint, times := query.Request.Endpoint, query.Request.TimeRange
	response.Body = &copiedBody{ReadCloser: response.Body, cache: kept, keep: func(text []byte) {
		if encoding == promapi.EncodingGzip {
			if text = unzipWithin(kept, text); text == nil {
				return
			}
		}
		entry := &cache.Entry{First: times.Start.UnixMilli(), Last: times.End.UnixMilli(), Born: l.askedAt, Answer: text}
		l.put(entry, func(entry *cache.Entry) bool { return mayBeKeptWhole(endpoint, entry) })
	}}
}

// unzippedChunk is how much of an answer is decompressed at once, in bytes.
const unzippedChunk = 32 << 10

// unzipWithin decompresses an answer within the memory of the cache. It returns nil if
// that is not enough, or if the answer is truncated.
func unzipWithin(cache *cache.Cache, text []byte) []byte {
	unzipped, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	copied := &copiedBody{ReadCloser: unzipped, cache: cache}
	defer copied.drop()
	for chunk := make([]byte, unzippedChunk); err == nil && !copied.failed; {
		_, err = copied.Read(chunk)
	}
	if !errors.Is(err, io.EOF) {
		return nil
	}
	return copied.copied
}

// mayBeKeptWhole looks at an answer: it has to be whole, a success, and without
// warnings. It counts the samples.
func mayBeKeptWhole(endpoint promapi.Endpoint, entry *cache.Entry) bool {
	// Nothing is acquired: the cache has reserved the answer itself, and an answer
	// with many warnings is not kept.
	answer, err := splice.ParseEnvelope(entry.Answer, func(int64) error { return nil })
	if err != nil || !mayBeRepeated(answer.Warnings) {
		return false
	}
	if endpoint == promapi.Query {
		entry.Samples = splice.CountSamples(answer.Data)
	}
	return true
}

// copiedBody copies an answer while it is read, and hands the copy on when it is
// closed, unless it is too large.
type copiedBody struct {
	io.ReadCloser
	cache  *cache.Cache
	copied []byte
	failed bool // it is not copied any more
	keep   func(text []byte)
}

// Read reads from the answer.
func (b *copiedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case b.failed:
	case !b.cache.Reserve(int64(n)):
		b.drop()
	default:
		b.copied = append(b.copied, p[:n]...)
	}
	return n, err
}

// Close closes the answer.
func (b *copiedBody) Close() error {
	err := b.ReadCloser.Close()
	if !b.failed {
		text := b.copied
		b.drop()
		b.keep(text)
	}
	return err
}

// drop forgets the copy. It may be called more than once.
func (b *copiedBody) drop() {
	b.cache.Release(int64(len(b.copied)))
	b.copied, b.failed = nil, true
}
