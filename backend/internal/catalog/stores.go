package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Store is one store behind a Thanos Query.
type Store struct {
	// Kind is the type of the store, such as sidecar, store, rule or receive.
	Kind string
	// LabelSets are its external label sets, including replica labels.
	LabelSets []map[string]string
	// MinTime is the timestamp of its oldest sample in milliseconds since the Unix epoch. Of
	// several servers with these label sets, the latest counts.
	MinTime int64
	// MaxTime is the timestamp of its newest sample in milliseconds since the Unix epoch. It
	// is far in the future if the store gets new samples.
	MaxTime int64
	// Failed is set if Thanos cannot reach the store.
	Failed bool
	// Servers is the number of reachable servers with these label sets. Fewer is set if there
	// were more within the last day. They may be replicas or shards.
	Servers int
	Fewer   bool
}

const (
	// storesRemembered is the maximum number of watched stores. Their label sets together may
	// have a quarter of the maximum size of an answer to a probe.
	storesRemembered = 10_000
	// storeForgottenAfter is how long a store that disappeared counts as missing. After that,
	// its removal counts as intended.
	storeForgottenAfter = 24 * time.Hour
	// storesMissingFor is how long a tier without a list of stores is not asked again, unless it
	// has been unavailable meanwhile.
	storesMissingFor = 5 * time.Minute
)

// storeWatch remembers stores, so that it notices when one disappears: some minutes after a
// Thanos has lost a store, it answers without a warning.
type storeWatch struct {
	seen  map[string]seenStore // by kind and label set
	bytes int                  // of the keys of seen
	hot   bool                 // the Thanos is the hot tier
	// missing is when the tier had no list of stores the last time.
	missing time.Time
}

type seenStore struct {
	Store
	lastSeen time.Time
	// most is the largest number of servers so far, and mostSeen its time.
	most     int
	mostSeen time.Time
}

// look returns the stores of a Thanos and those that disappeared, with a note for each of the
// latter. It returns nil if the tier has no such endpoint.
func (w *storeWatch) look(ctx context.Context, client ownrequest.Client, now time.Time) ([]Store, []tier.Note) {
	if w.seen == nil && now.Sub(w.missing) < storesMissingFor {
		return nil, nil
	}
	reported, err := readStores(ctx, client)
	if err != nil {
		if upstream.CannotTell(err) {
			w.missing = now
		}
		return nil, nil // Not a Thanos, or not allowed.
	}
	name := tier.Cold
	if w.hot {
		name = tier.Hot
	}
	if w.seen == nil {
		w.seen = map[string]seenStore{}
	}
	for key, known := range w.seen {
		if now.Sub(known.lastSeen) > 2*storeForgottenAfter {
			w.forget(key)
		}
	}
	servers := map[string]int{} // reachable ones
	for _, store := range reported {
		for _, set := range store.LabelSets {
			key := fmt.Sprintf("%s with %s", store.Kind, promql.FormatLabels(set))
			if !store.Failed {
				servers[key]++
			}
			seen, known := w.seen[key]
			if !known {
				if len(w.seen) >= storesRemembered || int64(w.bytes+len(key)) > client.ProbeLimit()/4 {
					// Without all stores in memory, missing ones cannot be recognized.
					return nil, []tier.Note{tier.PublicNote(fmt.Sprintf("the %s tier has too many stores: its sources are unknown", name))}
				}
				w.bytes += len(key)
			}
			if store.Failed && known {
				continue // A store that has never been reachable counts as missing, too.
			}
			if !seen.lastSeen.Equal(now) { // Otherwise, it is another server with the same labels.
				seen.MinTime, seen.MaxTime = store.MinTime, store.MaxTime
			}
			seen.Kind, seen.LabelSets, seen.lastSeen = store.Kind, []map[string]string{set}, now
			seen.MinTime, seen.MaxTime = latestStart(seen.MinTime, store.MinTime), max(seen.MaxTime, store.MaxTime)
			if servers[key] >= seen.most || now.Sub(seen.mostSeen) > storeForgottenAfter {
				seen.most, seen.mostSeen = servers[key], now
			}
			w.seen[key] = seen
		}
	}
	stores := []Store{}
	var notes []tier.Note
	for _, key := range slices.Sorted(maps.Keys(w.seen)) {
		known := w.seen[key]
		if servers[key] == 0 && now.Sub(known.lastSeen) > storeForgottenAfter {
			w.forget(key)
			continue
		}
		known.Failed, known.Servers, known.Fewer = servers[key] == 0, servers[key], servers[key] < known.most
		stores = append(stores, known.Store)
		if servers[key] == 0 {
			const format = "the %s tier cannot reach %s: what only that one holds is missing"
			notes = append(notes, tier.Note{Detail: fmt.Sprintf(format, name, "its "+key), Public: fmt.Sprintf(format, name, "one of its stores")})
		}
	}
	const most = 5
	if len(notes) > most {
		notes = append(notes[:most], tier.PublicNote(fmt.Sprintf("the %s tier cannot reach %d more stores", name, len(notes)-most)))
	}
	return stores, notes
}

// forget404 has a tier that had no list of stores asked again.
func (w *storeWatch) forget404() { w.missing = time.Time{} }

func (w *storeWatch) forget(key string) {
	delete(w.seen, key)
	w.bytes -= len(key)
}

// latestStart returns the later one of two timestamps. If one is unknown, the result is unknown.
func latestStart(a, b int64) int64 {
	if min(a, b) < earliestTimestamp {
		return min(a, b)
	}
	return max(a, b)
}

// readStores returns the stores of a Thanos.
func readStores(ctx context.Context, c ownrequest.Client) ([]Store, error) {
	kinds, err := ownrequest.Ask[map[string][]struct {
		LastError any                 `json:"lastError"`
		LabelSets []map[string]string `json:"labelSets"`
		MinTime   int64               `json:"minTime"`
		MaxTime   int64               `json:"maxTime"`
	}](ctx, c.As(ownrequest.KindStores), "/api/v1/stores", nil)
	if err != nil {
		return nil, err
	}
	stores := []Store{}
	for kind, list := range kinds {
		for _, store := range list {
			failed := store.LastError != nil && store.LastError != ""
			stores = append(stores, Store{Kind: kind, LabelSets: store.LabelSets, MinTime: store.MinTime, MaxTime: store.MaxTime, Failed: failed})
		}
	}
	return stores, nil
}
