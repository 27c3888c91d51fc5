package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/comparison"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostSourcesOfCold is the maximum number of label sets that a query may read to be kept.
	mostSourcesOfCold = 500
	// lookIntervals is how old the measured end of a source gets, in probe intervals. An old end is
	// no risk: sources only grow. endsPerLook bounds how many are measured at once, so that the ends
	// of many sources get older.
	lookIntervals, endsPerLook = 6, 8
	// searchIntervals is the least time between two searches for the end of a source without new
	// samples, in probe intervals.
	searchIntervals = 36
	// endUnusedFor is how long the end of a source is kept that no query reads.
	endUnusedFor = time.Hour
	// lateFrom is the age of an end from which on the health names the source.
	lateFrom = 15 * time.Minute
)

// sourceKind says who writes the samples of a source of cold.
type sourceKind int

const (
	plainSource    sourceKind = iota + 1 // of a tier that does not list its stores
	ownSource                            // a ruler: its samples are never late
	sidecarSource                        // a Prometheus with a sidecar
	blockSource                          // blocks that are uploaded later
	receiverSource                       // a receiver that others write to
	hiddenSource                         // whose senders, or number of servers, are not known
)

// storedSource is a label set of cold's stores.
type storedSource struct {
	labels map[string]string
	scope  string
	kind   sourceKind
	// live is the start of the samples of the server itself if there are also uploaded blocks, in
	// milliseconds since the Unix epoch, or zero.
	live int64
}

// groupedStores are the label sets of a list of stores.
type groupedStores struct {
	of      *Store // the first one of the list
	sources []storedSource
}

// kindsByPrecedence says which kind of store decides about a label set that several have. All other
// kinds hide their senders.
var kindsByPrecedence = []struct {
	store  string
	source sourceKind
}{{receiveStore, receiverSource}, {"sidecar", sidecarSource}, {"rule", ownSource}, {"store", blockSource}, {"parquet-gateway", blockSource}}

// group returns the label sets of stores.
func (c *ColdOnly) group(stores []Store) []storedSource {
	if known := c.grouped.Load(); known != nil && known.of == &stores[0] {
		return known.sources
	}
	of := map[string][]Store{} // by label set
	labels := map[string]map[string]string{}
	for _, store := range stores {
		for _, set := range store.LabelSets {
			scope := strings.Trim(promql.FormatLabels(set), "{}")
			of[scope], labels[scope] = append(of[scope], store), set
		}
	}
	made := groupedStores{of: &stores[0]}
	for _, scope := range slices.Sorted(maps.Keys(of)) {
		source := storedSource{labels: labels[scope], scope: scope}
		source.kind, source.live = kindOf(of[scope])
		made.sources = append(made.sources, source)
	}
	c.grouped.Store(&made)
	return made.sources
}

// kindOf returns the kind of a source by its stores, and its live: see storedSource.
func kindOf(stores []Store) (kind sourceKind, live int64) {
	rank := len(kindsByPrecedence)
	hasBlocks := false
	for _, store := range stores {
		at := slices.IndexFunc(kindsByPrecedence, func(of struct {
			store  string
			source sourceKind
		}) bool {
			return of.store == store.Kind
		})
		if at < 0 || (store.Kind == receiveStore && store.Servers > 1) {
			return hiddenSource, 0 // They may be shards, of which one is late.
		}
		if rank = min(rank, at); kindsByPrecedence[at].source == blockSource {
			hasBlocks = true
		} else if store.MinTime >= earliestTimestamp {
			live = max(live, store.MinTime)
		}
	}
	if !hasBlocks {
		live = 0
	}
	return kindsByPrecedence[rank].source, live
}

// storesUntil is CompleteUntil for a tier that lists its stores.
func (c *ColdOnly) storesUntil(stores []Store, selectors []promql.Selector, now time.Time) (until int64, err error) {
	var read []storedSource
	for _, source := range c.group(stores) {
		if slices.ContainsFunc(selectors, func(selector promql.Selector) bool { return tier.MayMatch(selector, source.labels) }) {
			read = append(read, source)
		}
	}
	if len(read) > mostSourcesOfCold {
		return 0, fmt.Errorf("it may read %d label sets of cold's stores, and the ends of at most %d are measured", len(read), mostSourcesOfCold)
	}
	until = notBounded
	for _, source := range read { // All of them are in use, also after an error.
		end := c.use(source, now)
		bound, failed := source.until(&end, now)
		if until = min(until, bound); err == nil {
			err = failed
		}
	}
	return until, err
}

// isMeasured reports whether the newest sample of the source says up to when it is complete.
func (s *storedSource) isMeasured() bool { return s.kind != hiddenSource && s.kind != ownSource }

// until returns the time until which the source has all samples that it will ever have, in
// milliseconds since the Unix epoch. It returns an error if that is not known.
func (s *storedSource) until(end *measuredEnd, now time.Time) (int64, error) {
	switch {
	case s.kind == hiddenSource:
		return now.Add(-LateSender).UnixMilli(), nil
	case s.kind == ownSource:
		return notBounded, nil
	case end.err != nil:
		return 0, fmt.Errorf("the newest sample of the cold tier could not be measured: %s", describe(end.err))
	case !end.isKnown(now), s.kind == blockSource && end.newest != 0 && end.settled == 0:
		return 0, s.notMeasured()
	case end.newest == 0:
		return notBounded, nil // It is gone.
	}
	bound := end.newest
	if s.kind == blockSource {
		bound = end.settled
	}
	if s.kind == receiverSource {
		bound -= Appendable.Milliseconds()
	}
	bound -= (2 * end.interval).Milliseconds() // Until then, every series has its samples.
	if end.hole != 0 {
		bound = min(bound, end.hole)
	}
	return bound, nil
}

// notMeasured is why nothing of a source is kept yet.
func (s *storedSource) notMeasured() error {
	if s.scope == "" {
		return errors.New("it is not known yet up to when the cold tier has its samples")
	}
	const format = "it is not known yet up to when %s of the cold tier has its samples"
	return noteError{tier.Note{Detail: fmt.Sprintf(format, "the source {"+s.scope+"}"), Public: fmt.Sprintf(format, "one source")}}
}

// describe returns why a measurement failed, without addresses.
func describe(err error) string {
	if errors.Is(err, ownrequest.ErrPartial) {
		return ownrequest.ErrPartial.Error()
	}
	return upstream.Describe(err)
}

// measuredEnd is the end of the samples of a source.
type measuredEnd struct {
	at       time.Time // of the measurement; zero before the first
	newest   int64     // milliseconds since the Unix epoch; zero for a source that is gone
	interval time.Duration
	// settled is the newest sample of the look before. A store gateway may load a newer block first, so
	// the first look has the last sample before a hole instead.
	settled int64
	// isBroken is set if settled or hole is the last sample before a hole that may close in a moment, until a
	// second look.
	isBroken bool
	// hole is the end of the uploaded blocks if they end before the samples of the server itself
	// begin, or the last sample before a hole in these blocks, or zero.
	hole int64
	err  error
}

// isKnown reports whether the end was measured. A source that was gone a while ago may be back.
func (e *measuredEnd) isKnown(now time.Time) bool {
	return !e.at.IsZero() && (e.newest != 0 || now.Sub(e.at) < ownrequest.InUse)
}

// sourceOfCold is a source whose end is measured. Only Run uses end and before.
type sourceOfCold struct {
	storedSource

	used   time.Time
	known  measuredEnd
	end    *comparison.SourceEnd
	before *comparison.SourceEnd // of the blocks before live
}

// use returns the measured end of a source, and notes that a query reads it.
func (c *ColdOnly) use(source storedSource, now time.Time) measuredEnd {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	followed := c.sources[source.scope]
	if followed == nil || followed.kind != source.kind {
		followed = &sourceOfCold{}
		c.sources[source.scope] = followed
	}
	followed.storedSource, followed.used = source, now
	if source.isMeasured() && !followed.known.isKnown(now) {
		c.looks.Request()
	}
	return followed.known
}

// due returns the sources to measure: all in use that are not known, and those of the others that were
// measured longest ago. It forgets those that no query has read for a while.
func (c *ColdOnly) due(now time.Time) (list []*sourceOfCold) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	maps.DeleteFunc(c.sources, func(_ string, source *sourceOfCold) bool { return now.Sub(source.used) > endUnusedFor })
	var known []*sourceOfCold
	for _, source := range c.sources {
		switch isKnown := source.known.isKnown(now); {
		case !source.isMeasured() || now.Sub(source.used) >= ownrequest.InUse:
		case !isKnown || source.known.err != nil:
			list = append(list, source)
		case now.Sub(source.known.at) >= lookIntervals*c.options.Cold.options.ProbeInterval:
			known = append(known, source)
		}
	}
	slices.SortFunc(known, func(a, b *sourceOfCold) int { return a.known.at.Compare(b.known.at) })
	return append(list, known[:min(len(known), endsPerLook)]...)
}

// sourceInUse is a source that queries read, and its end.
type sourceInUse struct {
	storedSource

	known measuredEnd
}

// hasBroken reports whether a source in use needs a second look.
func (c *ColdOnly) hasBroken(now time.Time) bool {
	return slices.ContainsFunc(c.inUse(now), func(source sourceInUse) bool { return source.known.isBroken })
}

// inUse returns the sources that queries read.
func (c *ColdOnly) inUse(now time.Time) (list []sourceInUse) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, source := range c.sources {
		if now.Sub(source.used) < ownrequest.InUse {
			list = append(list, sourceInUse{source.storedSource, source.known})
		}
	}
	return list
}

// measure measures the ends of sources in use, unless a store is missing.
func (c *ColdOnly) measure(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	stores, isStable := c.options.Cold.StableStores()
	if !isStable {
		return
	}
	due, ends := c.due(now), map[*sourceOfCold]measuredEnd{}
	var running errgroup.Group
	running.SetLimit(endsPerLook)
	for _, source := range due {
		running.Go(func() error {
			end, isMeasured := c.measureOne(ctx, source, now)
			c.mutex.Lock()
			defer c.mutex.Unlock()
			if isMeasured {
				ends[source] = end
			}
			return nil
		})
	}
	_ = running.Wait() // Each source has its own error.
	// Some seconds after a Thanos has lost a store, it answers without a warning.
	var isConfirmed *bool
	for source, end := range ends {
		if end.err == nil && c.needsAllStores(source, &end) {
			if isConfirmed == nil {
				unchanged := c.options.Cold.StoresUnchanged(ctx, stores, now, time.Now())
				isConfirmed = &unchanged
			}
			if !*isConfirmed {
				source.end = nil // What it has found does not count, either.
				continue
			}
		}
		c.mutex.Lock()
		source.known = end
		c.mutex.Unlock()
	}
}

// needsAllStores reports whether an end is right only if no store was missing: otherwise, it can only be
// too early.
func (c *ColdOnly) needsAllStores(source *sourceOfCold, end *measuredEnd) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return end.newest == 0 || (source.live != 0 && end.hole == 0)
}

// measureOne measures the end of one source. isMeasured is false if there was no time for it.
func (c *ColdOnly) measureOne(ctx context.Context, source *sourceOfCold, now time.Time) (end measuredEnd, isMeasured bool) {
	interval := c.options.Cold.options.ProbeInterval
	c.mutex.Lock()
	of, end := source.storedSource, source.known
	c.mutex.Unlock()
	client := c.options.Cold.api
	client.IsApart = of.kind != plainSource
	if source.end == nil {
		source.end = comparison.NewSourceEnd(client, of.scope, searchIntervals*interval)
		source.before = comparison.NewSourceEnd(client, of.scope, searchIntervals*interval)
	}
	isSecond := now.Sub(end.at) >= lookIntervals*interval && end.err == nil
	next := measuredEnd{at: now, settled: end.settled, isBroken: end.isBroken && !isSecond}
	if isSecond {
		next.settled = end.newest
	}
	next.newest, next.err = source.end.Measure(ctx, now)
	switch {
	case next.err != nil:
	case of.kind == blockSource && next.newest != 0 && next.settled == 0:
		next.settled, next.isBroken, next.err = source.end.Unbroken(ctx)
	case of.live > now.Add(-LateSender).UnixMilli():
		next.hole, next.err = holeBefore(ctx, source.before, of.live)
		isNew := end.newest == 0 || (end.hole != 0 && (!end.isBroken || !isSecond))
		if next.err == nil && next.hole == 0 && isNew {
			if next.hole, next.err = holeIn(ctx, source.before); next.hole != 0 {
				next.hole, next.isBroken = max(next.hole, end.hole), true // What was complete stays so.
			}
		}
	}
	if ctx.Err() != nil && next.err != nil {
		return measuredEnd{}, false // It says nothing about the source.
	}
	next.interval = source.end.Interval()
	return next, true
}

// holeBefore returns the newest sample before a time if samples are missing between both, or zero.
func holeBefore(ctx context.Context, before *comparison.SourceEnd, live int64) (int64, error) {
	newest, err := before.Measure(ctx, time.UnixMilli(live-1))
	if err != nil || newest == 0 || live-newest <= (2*before.Interval()+ownrequest.Slack).Milliseconds() {
		return 0, err
	}
	return newest, nil
}

// holeIn returns the last sample before the first hole in the uploaded blocks, or zero if there is none.
func holeIn(ctx context.Context, blocks *comparison.SourceEnd) (int64, error) {
	until, isBroken, err := blocks.Unbroken(ctx)
	if err != nil || !isBroken {
		return 0, err
	}
	return until, nil
}
