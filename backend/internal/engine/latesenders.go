package engine

import (
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
)

// readingStores are the kinds of stores whose samples are not sent to them by others: a
// sidecar and a ruler have their own, and a store gateway has finished blocks. Their
// maxTime says how far they are.
var readingStores = []string{"sidecar", "rule", "store", "parquet-gateway"}

// sendersUntil returns the time until which no sender of cold can add samples any more, in
// milliseconds since the Unix epoch. covered is the time until which cold has the samples of
// hot, which is one of the senders. The others matter, and hot does too: remote write sends
// the series in shards, of which each may be late on its own.
func (p *Plan) sendersUntil(covered int64, now time.Time) int64 {
	stores := p.query.Datasource.Cold.Status().Stores
	isSentTo := func(store catalog.Store) bool { return !slices.Contains(readingStores, store.Kind) }
	switch {
	case stores != nil && !slices.ContainsFunc(stores, isSentTo):
		return covered
	case stores == nil && p.snapshot.Cold.ExternalLabels != nil:
		// A Prometheus. Its newest sample is at least as new as covered, and p.freshness
		// includes its out-of-order window.
		return covered - max(catalog.Appendable-p.freshness(), 0).Milliseconds()
	}
	return min(covered, now.Add(-catalog.LateSender).UnixMilli())
}
