package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Store is one store behind a Thanos Query.
type Store struct {
	// Kind is sidecar, store, rule, receive and so on.
	Kind string
	// LabelSets are its external label sets, replica labels included.
	LabelSets []map[string]string
	// MaxTime is the timestamp of its newest sample in milliseconds since the
	// Unix epoch; far in the future where samples come in.
	MaxTime int64
	// Failed is set when Thanos could not reach it.
	Failed bool
	// Servers is how many servers with these label sets can be reached. Fewer is set
	// if there were more within the last day. They may be replicas, or shards.
	Servers int
	Fewer   bool
}

const (
	// storesRemembered bounds how many sources are watched. Their label sets
	// together take at most a quarter of what an answer to a probe may have.
	storesRemembered = 10_000
	// storeForgottenAfter is how long a store that disappeared counts as missing.
	// After that, its removal counts as intended.
	storeForgottenAfter = 24 * time.Hour
)

// storeWatch notices when a store vanishes: some minutes after it lost one,
// Thanos answers as if it had never been there.
type storeWatch struct {
	seen  map[string]seenStore // by kind and label set
	bytes int                  // of the keys of seen
}

type seenStore struct {
	kind     string
	labels   map[string]string
	maxTime  int64
	lastSeen time.Time
	// most is how many servers there have been, and mostSeen when.
	most     int
	mostSeen time.Time
}

// look asks a Thanos for its stores. It returns them with those that are gone, and a
// note for each of the latter. It returns nil if the tier has no such endpoint.
func (w *storeWatch) look(ctx context.Context, client apiClient, now time.Time) ([]Store, []tier.Note) {
	found, err := client.stores(ctx)
	if err != nil {
		return nil, nil // Not a Thanos, or not for us.
	}
	if w.seen == nil {
		w.seen = map[string]seenStore{}
	}
	// What has been gone for long makes room.
	for key, known := range w.seen {
		if now.Sub(known.lastSeen) > 2*storeForgottenAfter {
			w.forget(key)
		}
	}
	there := map[string]bool{}
	count := map[string]int{}
	for _, store := range found {
		for _, set := range store.LabelSets {
			key := fmt.Sprintf("%s with %s", store.Kind, promql.FormatLabels(set))
			there[key] = there[key] || !store.Failed
			if !store.Failed {
				count[key]++
			}
			before, known := w.seen[key]
			// One that failed from the beginning is missed too.
			if !known && (len(w.seen) >= storesRemembered || int64(w.bytes+len(key)) > client.ProbeLimit()/4) {
				// What is not held cannot be missed: nothing is said of its stores.
				return nil, []tier.Note{tier.PublicNote("the cold tier tells of more stores than are held: it is not known which sources it has")}
			}
			if !known {
				w.bytes += len(key)
			}
			if !store.Failed || !known {
				seen := seenStore{kind: store.Kind, labels: set, maxTime: store.MaxTime, lastSeen: now, most: before.most, mostSeen: before.mostSeen}
				if before.lastSeen.Equal(now) {
					seen.maxTime = max(seen.maxTime, before.maxTime) // Another server with the same labels.
				}
				if count[key] >= seen.most || now.Sub(seen.mostSeen) > storeForgottenAfter {
					seen.most, seen.mostSeen = count[key], now
				}
				w.seen[key] = seen
			}
		}
	}
	stores := []Store{}
	var notes []tier.Note
	for _, key := range slices.Sorted(maps.Keys(w.seen)) {
		known := w.seen[key]
		if !there[key] && now.Sub(known.lastSeen) > storeForgottenAfter {
			w.forget(key)
			continue
		}
		stores = append(stores, Store{Kind: known.kind, LabelSets: []map[string]string{known.labels}, MaxTime: known.maxTime, Failed: !there[key], Servers: count[key], Fewer: count[key] < known.most})
		if !there[key] {
			const format = "the cold tier cannot reach %s: what only that one holds is missing"
			notes = append(notes, tier.Note{Detail: fmt.Sprintf(format, "its "+key), Public: fmt.Sprintf(format, "one of its stores")})
		}
	}
	const most = 5
	if len(notes) > most {
		notes = append(notes[:most], tier.PublicNote(fmt.Sprintf("the cold tier cannot reach %d more stores", len(notes)-most)))
	}
	return stores, notes
}

func (w *storeWatch) forget(key string) {
	delete(w.seen, key)
	w.bytes -= len(key)
}
