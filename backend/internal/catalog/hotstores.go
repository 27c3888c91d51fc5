package catalog

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// scopesFollowed is the maximum number of sources of hot whose canaries are followed. For
// further sources, only what their stores report counts.
const scopesFollowed = 8

// hotStores watches the stores of a hot tier that is a Thanos.
type hotStores struct {
	watch storeWatch
	// scopes are matchers of the sources of the stores that known identifies.
	known  string
	scopes []string
}

// look adds the stores of hot to its status. Without any store, or with one missing, hot may
// lack data, so nothing is covered. Otherwise hot starts where its youngest source starts. look
// returns matchers for the series of each source: one that matches all series for a tier that
// does not list its stores.
func (h *hotStores) look(ctx context.Context, client ownrequest.Client, status *Status, now time.Time) (scopes []string) {
	stores, notes := h.watch.look(ctx, client, now)
	if stores == nil && notes == nil {
		return []string{""}
	}
	status.Stores, status.Notes = stores, notes
	for _, store := range stores {
		var format string
		switch {
		case store.Fewer && !store.Failed:
			format = "the hot tier cannot reach one of the servers of %s: what only that one holds is missing"
		case store.Servers > 1 && store.MinTime < earliestTimestamp:
			// They may be shards, so that the samples of one prove nothing about the other.
			format = "a server of %s does not report since when it has samples"
		default:
			continue
		}
		status.Notes = append(status.Notes, tier.Note{
			Detail: fmt.Sprintf(format, store.Kind+" with "+promql.FormatLabels(store.LabelSets[0])), Public: fmt.Sprintf(format, "one of its stores"),
		})
	}
	if len(stores) == 0 {
		status.Available, status.Error = false, noStoresYet
		return nil
	}
	if len(status.Notes) > 0 {
		status.Oldest = tier.NothingCovered
		return nil
	}
	oldest, unknown := startOfSources(stores)
	status.Oldest, status.reported = oldest, unknown == ""
	if !status.reported {
		status.Oldest = tier.NothingCovered
		status.Error = fmt.Sprintf("%s does not report since when it has samples", unknown)
	}
	if text := storesText(stores); text != h.known {
		settings := Settings{}
		if flags, err := ownrequest.Ask[map[string]string](ctx, client.As(ownrequest.KindSettings), "/api/v1/status/flags", nil); err == nil {
			settings.readFlags(flags)
		}
		h.known, h.scopes = text, nil
		for _, source := range sourcesOf(stores, append(slices.Clone(replicaLabels), settings.ReplicaLabels...)) {
			h.scopes = append(h.scopes, strings.Trim(promql.FormatLabels(source), "{}"))
		}
	}
	return h.scopes[:min(len(h.scopes), scopesFollowed)]
}

// noStoresYet is the error of a Thanos that has just started: its answers would all be empty.
const noStoresYet = "none of its stores has reported its data yet"

// startOfSources returns the time since which every source has samples, in milliseconds since
// the Unix epoch. If a source does not report it, unknown names the source.
func startOfSources(stores []Store) (latest int64, unknown string) {
	sources := map[string][]Store{}
	for _, store := range stores {
		for _, set := range store.LabelSets {
			name := promql.FormatLabels(set)
			sources[name] = append(sources[name], store)
		}
	}
	latest = math.MinInt64
	for name, parts := range sources {
		start := startOfParts(parts)
		if start < earliestTimestamp {
			return 0, "the source " + name
		}
		latest = max(latest, start)
	}
	return latest, ""
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
