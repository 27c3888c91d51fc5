package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

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
}

const (
	// storesRemembered bounds how many sources are watched.
	storesRemembered = 10_000
	// storeForgottenAfter is how long a store that is gone is missed: after
	// that, whoever took it away meant it.
	storeForgottenAfter = 24 * time.Hour
)

// storeWatch notices when a store vanishes: some minutes after it lost one,
// Thanos answers as if it had never been there.
type storeWatch struct {
	seen map[string]time.Time // kind and label set → when it was last there
}

// look asks a Thanos for its stores and returns them, and what is to be said of
// those that are gone. It returns nil where the tier has no such endpoint.
func (w *storeWatch) look(ctx context.Context, client *Client, now time.Time) ([]Store, []string) {
	stores, err := client.stores(ctx)
	if err != nil {
		return nil, nil // Not a Thanos, or not for us.
	}
	there := map[string]bool{}
	for _, store := range stores {
		for _, key := range store.keys() {
			there[key] = there[key] || !store.Failed
		}
	}
	if w.seen == nil {
		w.seen = map[string]time.Time{}
	}
	for key, isThere := range there {
		_, known := w.seen[key]
		// One that failed from the beginning is missed too.
		if (isThere || !known) && (known || len(w.seen) < storesRemembered) {
			w.seen[key] = now
		}
	}
	var notes []string
	for _, key := range slices.Sorted(maps.Keys(w.seen)) {
		switch age := now.Sub(w.seen[key]); {
		case there[key]:
		case age > storeForgottenAfter:
			delete(w.seen, key)
		default:
			notes = append(notes, fmt.Sprintf("the cold tier cannot reach its %s: what only that one holds is missing", key))
		}
	}
	const most = 5
	if len(notes) > most {
		notes = append(notes[:most], fmt.Sprintf("the cold tier cannot reach %d more stores", len(notes)-most))
	}
	return stores, notes
}

// keys identifies what the store holds: another one of the same kind with the
// same labels takes its place, at whatever address.
func (s Store) keys() []string {
	var keys []string
	for _, set := range s.LabelSets {
		keys = append(keys, fmt.Sprintf("%s with %s", s.Kind, tier.FormatLabels(set)))
	}
	return keys
}

// stores asks a Thanos for its stores.
func (c *Client) stores(ctx context.Context) ([]Store, error) {
	data, err := c.get(ctx, "/api/v1/stores", nil)
	if err != nil {
		return nil, err
	}
	var kinds map[string][]struct {
		LastError json.RawMessage     `json:"lastError"`
		LabelSets []map[string]string `json:"labelSets"`
		MaxTime   int64               `json:"maxTime"`
	}
	if err := json.Unmarshal(data, &kinds); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAnAnswer, err)
	}
	stores := []Store{}
	for kind, list := range kinds {
		for _, each := range list {
			failed := len(each.LastError) > 0 && string(each.LastError) != "null" && string(each.LastError) != `""`
			stores = append(stores, Store{Kind: kind, LabelSets: each.LabelSets, MaxTime: each.MaxTime, Failed: failed})
		}
	}
	return stores, nil
}
