package catalog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/gaps"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// hotStores watches the stores of a hot tier that lists them, such as a Thanos Query. Only Run uses it.
type hotStores struct {
	watch storeWatch
	// aside are the labels by which the replicas of a source differ, for the stores that known identifies.
	known string
	aside []string
	// followed are the gap detectors of the sources that are or were followed.
	followed map[string]*followedSource
}

// followedSource are the gap detectors of one source.
type followedSource struct {
	gaps   gaps.Detectors
	usedAt time.Time
}

const (
	// noStoresYet is the error of a Thanos that has just started: its answers would all be empty.
	noStoresYet = "none of its stores has reported its data yet"
	// storesUnreadable is the error of a Thanos that does not list its stores any more.
	storesUnreadable = "it did not answer which stores it has, and it may have lost one"
)

// look adds the stores and the sources of hot to its status. It returns false for a tier that does not
// list its stores. Of a source with a missing store, nothing is covered.
func (h *hotStores) look(ctx context.Context, client ownrequest.Client, status *Status, now time.Time) (isFanOut bool) {
	wasFanOut := h.watch.seen != nil
	stores, notes := h.watch.look(ctx, client, now)
	switch {
	case stores == nil && notes == nil && wasFanOut && !h.watch.missing.Equal(now):
		status.Available, status.Error = false, storesUnreadable
		return true
	case stores == nil && notes == nil:
		h.watch.seen, h.watch.bytes = nil, 0
		return false
	case stores == nil:
		status.Notes, status.Oldest = notes, tier.NothingCovered
		return true
	case len(stores) == 0:
		status.Stores, status.Available, status.Error = stores, false, noStoresYet
		return true
	}
	if text := storesText(stores); text != h.known {
		flags, err := ownrequest.Ask[map[string]string](ctx, client.As(ownrequest.KindSettings), "/api/v1/status/flags", nil)
		settings := Settings{}
		settings.readFlags(flags)
		h.aside = append(slices.Clone(replicaLabels), settings.ReplicaLabels...)
		if err == nil || upstream.CannotTell(err) {
			h.known = text
		}
	}
	status.Stores, status.Sources, status.sets = stores, sourceStates(stores, h.aside), setsOf(stores)
	for _, source := range status.Sources {
		status.Notes = append(status.Notes, source.Notes...)
	}
	if len(status.Notes) > mostStoreNotes {
		status.Notes = append(status.Notes[:mostStoreNotes:mostStoreNotes], tier.PublicNote("more stores of the hot tier are missing"))
	}
	return true
}

// mostStoreNotes is the maximum number of notes on stores that a status holds.
const mostStoreNotes = 5

// sourceStates groups stores by their sources. Their samples are not looked at yet.
func sourceStates(stores []Store, aside []string) []SourceStatus {
	sources := map[string]*SourceStatus{}
	parts := map[string]map[string][]Store{} // of each source, by label set with replica labels
	for _, store := range stores {
		for _, set := range store.LabelSets {
			labels := promql.WithoutLabels(set, aside)
			key := promql.FormatLabels(labels)
			if sources[key] == nil {
				sources[key], parts[key] = &SourceStatus{Labels: labels, Oldest: math.MinInt64, key: key, reported: true}, map[string][]Store{}
			}
			name := promql.FormatLabels(set)
			parts[key][name] = append(parts[key][name], store)
			sources[key].Notes = append(sources[key].Notes, storeNotes(store, set)...)
		}
	}
	var states []SourceStatus
	for _, key := range slices.Sorted(maps.Keys(sources)) {
		source := sources[key]
		for _, name := range slices.Sorted(maps.Keys(parts[key])) {
			// They may be replicas or shards: the youngest one counts.
			start := startOfParts(parts[key][name])
			if start < earliestTimestamp {
				source.reported = false
				source.Error = fmt.Sprintf("the source %s does not report since when it has samples", name)
				continue
			}
			source.Oldest = max(source.Oldest, start)
		}
		if !source.reported || len(source.Notes) > 0 {
			source.Oldest = tier.NothingCovered
		}
		states = append(states, *source)
	}
	return states
}

// storeNotes says why a store may lack samples of its source.
func storeNotes(store Store, set map[string]string) []tier.Note {
	var format string
	whose := ""
	switch {
	case store.Failed:
		format, whose = "the hot tier cannot reach %s: what only that one holds is missing", "its "
	case store.Fewer:
		format = "the hot tier cannot reach one of the servers of %s: what only that one holds is missing"
	case store.Servers > 1 && store.MinTime < earliestTimestamp:
		// They may be shards, so that the samples of one prove nothing about the other.
		format = "a server of %s does not report since when it has samples"
	default:
		return nil
	}
	return []tier.Note{{Detail: fmt.Sprintf(format, whose+store.Kind+" with "+promql.FormatLabels(set)), Public: fmt.Sprintf(format, "one of its stores")}}
}

// startOfParts returns the start of the newest part of a source that others continue into the past,
// such as a sidecar and a store gateway.
func startOfParts(parts []Store) int64 {
	slices.SortFunc(parts, func(a, b Store) int { return cmp.Compare(b.MinTime, a.MinTime) })
	start := parts[0].MinTime
	for _, older := range parts[1:] {
		if older.MaxTime >= start {
			start = older.MinTime
		}
	}
	return start
}

// detectorsOf returns the gap detectors of a source.
func (h *hotStores) detectorsOf(key string, now time.Time) *gaps.Detectors {
	if h.followed == nil {
		h.followed = map[string]*followedSource{}
	}
	maps.DeleteFunc(h.followed, func(_ string, known *followedSource) bool { return now.Sub(known.usedAt) > sourceUnusedFor })
	if h.followed[key] == nil {
		h.followed[key] = &followedSource{}
	}
	h.followed[key].usedAt = now
	return &h.followed[key].gaps
}

// checkSources looks at the samples of those sources of hot that are followed. It returns true if
// nothing has changed in any of them, and no store is missing.
func (t *Tier) checkSources(ctx context.Context, status *Status, now time.Time) (isFine bool) {
	if !status.Available || status.Sources == nil {
		return false
	}
	followed := t.sources.choose(status.Sources, now)
	fine := make([]bool, len(status.Sources))
	var running sync.WaitGroup
	for i := range status.Sources {
		source := &status.Sources[i]
		source.IsFollowed = slices.Contains(followed, source.key)
		if !source.IsFollowed || len(source.Notes) > 0 {
			continue
		}
		detectors := t.hotStores.detectorsOf(source.key, now)
		running.Go(func() { fine[i] = t.checkSource(ctx, status, source, detectors, now) })
	}
	running.Wait()
	status.summarize()
	for i, source := range status.Sources {
		if len(source.Notes) > 0 || (source.IsFollowed && !fine[i]) {
			return false
		}
	}
	return true
}

// checkSource looks at the samples of one source.
func (t *Tier) checkSource(ctx context.Context, status *Status, source *SourceStatus, detectors *gaps.Detectors, now time.Time) (isFine bool) {
	alone := Status{
		Available: true, Oldest: source.Oldest, Stores: status.Stores, Error: source.Error, reported: source.reported, server: status.server, started: status.started,
	}
	client := t.api
	client.OnWarning = func() { t.sources.doubt([]string{source.key}, now) } // One of its stores is lost.
	isFine = t.checkSamples(ctx, client, &alone, detectors, strings.Trim(source.key, "{}"), now)
	source.Available, source.Oldest, source.ContiguousSince, source.Error = alone.Available, alone.Oldest, alone.ContiguousSince, alone.Error
	source.interval, source.shortestInterval, source.unmeasurable, source.failure = alone.ScrapeInterval, alone.shortestInterval, alone.unmeasurable, alone.failure
	if source.Error != "" && len(source.Labels) > 0 {
		source.Error = fmt.Sprintf("the source %s: %s", source.key, source.Error)
	}
	return isFine
}
