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

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// headReach is how far back from now a Prometheus tells series and labels
// without looking at times: what it has not written into a block yet, which is up
// to three hours. Until then a name that has just come in shows up in older time
// ranges, too.
const headReach = 3 * time.Hour

// aboutTheEvaluation are parameters that ask how a query was evaluated, which is
// another answer each time.
var aboutTheEvaluation = []string{"stats", "cost", "analyze", "explain"}

// noPartOfWhole are the parameters that change no answer.
var noPartOfWhole = []string{"timeout"}

// useWholeCache looks up the answer to an instant query or a metadata request with
// fixed times that cold answers. It returns nil where the answer may not be
// kept.
func (c *call) useWholeCache(ctx context.Context, decision tier.Decision) *cacheable {
	if c.query.Caching == nil || c.query.Splicing == nil || c.query.Pair == nil || decision.Tier != tier.Cold {
		return nil
	}
	newest, found := c.newestOfWhole()
	if !found {
		return nil
	}
	use := c.cacheable()
	if use == nil || newest > use.until {
		return nil
	}
	use.key = c.cacheKey(use.stores, noPartOfWhole, "whole")
	if use.caching.NoRead {
		return use
	}
	use.held = c.query.lease()
	use.entry = use.caching.Cache.Get(ctx, use.key, func(bytes int64) bool { return use.held.take(bytes) == nil })
	if use.entry == nil {
		use.held.release()
	}
	return use
}

// newestOfWhole is up to when the answer to a request may change with what is
// written, in milliseconds since the Unix epoch. found is false where the request
// is none that is kept, names no start, or cannot be understood.
func (c *call) newestOfWhole() (newest int64, found bool) {
	request := c.query.Request
	if slices.ContainsFunc(aboutTheEvaluation, func(name string) bool { return request.Parameters.Get(name) != "" }) {
		return 0, false
	}
	times := request.TimeRange
	switch request.Endpoint {
	case promapi.Query:
		lookback := c.query.Pair.Snapshot().Hot.LookbackDelta
		if times.LookbackDelta > 0 {
			lookback = times.LookbackDelta
		}
		query, err := promql.Parse(c.planned.ColdQuery())
		if err != nil {
			return 0, false
		}
		extent, err := query.Extent(promql.Evaluation{Start: times.Start, End: times.End, LookbackDelta: lookback})
		if err != nil {
			return 0, false
		}
		// A time that is not old, such as now where none is named, is not asked for
		// again, whatever is read.
		newest = times.End.UnixMilli()
		if !extent.Nothing {
			newest = max(newest, extent.Newest)
		}
		return newest, true
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		if request.Parameters.Get("start") == "" {
			return 0, false // Cold may have its own idea of where to begin.
		}
		return times.End.Add(headReach).UnixMilli(), true
	default:
		return 0, false
	}
}

// cachedWhole is the answer that the cache has; nil where it has none.
func (c *call) cachedWhole(use *cacheable) *Response {
	if use == nil || use.entry == nil {
		return nil
	}
	return &Response{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(use.entry.Answer)),
		Body:  &leasedBody{Reader: bytes.NewReader(use.entry.Answer), held: use.held},
		Cache: c.report(CacheUse{Result: CacheHit, Cached: 1, Steps: 1, Samples: int(use.entry.Samples)}), decoded: c.query.Decoded.Of(c.query.Datasource),
	}
}

// keepWhole has an answer of cold kept when it has been read to its end.
func (c *call) keepWhole(use *cacheable, response *Response) {
	if use == nil || response.Status != http.StatusOK {
		return
	}
	found := CacheUse{Result: CacheMiss, Steps: 1}
	if use.caching.NoRead {
		found.Result = CacheBypass
	}
	response.Cache = c.report(found)
	encoding := response.encoding()
	if use.caching.NoStore || (encoding != encodingPlain && encoding != encodingGzip) {
		return
	}
	endpoint, times := c.query.Request.Endpoint, c.query.Request.TimeRange
	response.Body = &copiedBody{ReadCloser: response.Body, cache: use.caching.Cache, keep: func(text []byte) {
		if encoding == encodingGzip {
			if text = unzipWithin(use.caching.Cache, text); text == nil {
				return
			}
		}
		entry := &cache.Entry{First: times.Start.UnixMilli(), Last: times.End.UnixMilli(), Born: use.asked, Answer: text}
		c.put(use, entry, func(entry *cache.Entry) bool { return mayBeKeptWhole(endpoint, entry) })
	}}
}

// unzipWithin decompresses an answer within the memory of the cache. It returns
// nil where there is not enough, or what was copied is not the whole.
func unzipWithin(cache *cache.Cache, text []byte) []byte {
	unzipped, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	copied := &copiedBody{ReadCloser: unzipped, cache: cache}
	defer copied.drop()
	for chunk := make([]byte, zippedChunk); err == nil && !copied.failed; {
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

// copiedBody keeps a copy of an answer while it is read, and hands it on when it
// is closed. What is too large is not; what was broken off is no JSON.
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
