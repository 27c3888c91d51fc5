package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// storeStability is the time in which all probes of cold found the same set of reachable
// stores. Some minutes after a Thanos has lost a store, it answers without a warning, so only
// its list of stores shows whether an answer was complete.
type storeStability struct {
	stores       string // identifies the set
	since, until time.Time
}

// noStores identifies the set of a tier that does not report its stores.
const noStores = "none"

// observeStores records the stores that a probe of cold found. began is the time of the
// request, and told is set if cold has ever reported its stores.
func (t *Tier) observeStores(status *Status, began time.Time, told bool) {
	missing := slices.ContainsFunc(status.Stores, func(store Store) bool { return store.Failed || store.Fewer })
	var next *storeStability
	if status.Available && !missing && len(status.Notes) == 0 && (status.Stores != nil || !told) {
		next = &storeStability{stores: storesText(status.Stores), since: time.Now(), until: began}
		// Between two probes that are far apart, a store may have been missing for a while.
		previous := t.stability.Load()
		if previous != nil && previous.stores == next.stores && began.Sub(previous.until) <= max(2*t.options.ProbeInterval, time.Second) {
			next.since = previous.since
		}
	}
	t.stability.Store(next)
}

// storesText identifies a set of stores by their kinds, label sets and numbers of servers.
func storesText(stores []Store) string {
	if stores == nil {
		return noStores
	}
	var list []string
	for _, store := range stores {
		for _, set := range store.LabelSets {
			list = append(list, fmt.Sprintf("%d %s %s", store.Servers, store.Kind, promql.FormatLabels(set)))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// StableStores returns a text that identifies cold's set of stores. found is false while a
// store is missing, or the set is unknown.
func (t *Tier) StableStores() (stores string, found bool) {
	stability := t.stability.Load()
	if stability == nil || !t.Status().Available {
		return "", false
	}
	return stability.stores, true
}

// StoresUnchanged reports whether cold had this set of stores, without a missing one, between
// two times. It waits for the next probe. It returns false if ctx ends first.
func (t *Tier) StoresUnchanged(ctx context.Context, stores string, from, until time.Time) bool {
	for {
		probed := t.probes.Next()
		stability := t.stability.Load()
		if stability == nil || stability.stores != stores || stability.since.After(from) {
			return false
		}
		if !stability.until.Before(until) {
			return true
		}
		t.probes.RequestSoon()
		if !ownrequest.WaitAll(ctx, []<-chan struct{}{probed}) {
			return false
		}
	}
}

// SourcesEnd returns the time until which every source of cold has samples, in milliseconds
// since the Unix epoch. It returns the largest int64 if all sources get new samples, or if cold
// does not list its stores. It ignores sources that ended more than a day before now.
func (t *Tier) SourcesEnd(now time.Time) int64 {
	ends := map[string]int64{}
	for _, store := range t.Status().Stores {
		for _, set := range store.LabelSets {
			name := promql.FormatLabels(set)
			ends[name] = max(ends[name], store.MaxTime)
		}
	}
	earliest := int64(1<<63 - 1)
	for _, end := range ends {
		if end > now.Add(-24*time.Hour).UnixMilli() {
			earliest = min(earliest, end)
		}
	}
	return earliest
}
