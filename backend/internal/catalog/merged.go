package catalog

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// mergedWait is how long a query waits for the answer of hot.
	mergedWait = 500 * time.Millisecond
	// mergedKept is how long the answer counts, and mergedRemembered how many are kept.
	mergedKept       = 5 * time.Minute
	mergedRemembered = 1000
)

// mergedAnswer is whether some metrics have series with a label of their own that cold removes.
type mergedAnswer struct {
	is bool
	at time.Time
}

// ownReplicaLabels returns which of the labels that cold removes some series of hot carry themselves. A Thanos
// Query or a VictoriaMetrics has the external labels of its sources among them, and is not asked.
func (c *Catalog) ownReplicaLabels(ctx context.Context, removed []string) (own []string, err error) {
	if hot := c.options.Hot; len(hot.Status().Stores) > 0 || hot.SpeaksMetricsQL() {
		return nil, nil
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(removed))) {
		values, err := c.options.Hot.api.As(ownrequest.KindSources).LabelValues(ctx, name, time.Time{}, 1)
		if err != nil {
			return nil, err
		}
		if len(values) > 0 {
			own = append(own, name)
		}
	}
	return own, nil
}

// Merged returns a label that cold removes as a replica label although series that a request reads carry it
// themselves: cold takes those that differ in nothing else for replicas of one. It returns an empty string
// if there is none. It asks hot about metrics that it does not know, and takes the worse for granted where there is no
// answer in time.
func (c *Catalog) Merged(ctx context.Context, selectors []promql.Selector, from int64) string {
	own := c.Snapshot().OwnReplicaLabels
	if len(own) == 0 || len(selectors) == 0 {
		return ""
	}
	ctx, cancel := ownrequest.WithTimeout(ctx, mergedWait)
	defer cancel()
	read := c.metricsOf(ctx, selectors, from)
	if len(read) == 0 {
		if slices.ContainsFunc(selectors, func(selector promql.Selector) bool { return selector.MatchesName("") }) {
			return own[0]
		}
		return "" // Hot has none of the metrics.
	}
	names := make([]string, len(read))
	for i, each := range read {
		names[i] = each.Name
	}
	for _, label := range own {
		key := promql.KeyOf(append([]string{label}, names...)...)
		known, ok := c.merged.Get(key)
		if !ok || time.Since(known.at) > mergedKept {
			matches := make([]string, len(names))
			for i, name := range names {
				matches[i] = promql.FormatLabels(map[string]string{"__name__": name})
			}
			values, err := ownrequest.Ask[[]string](ctx, c.options.Hot.api.As(ownrequest.KindSources), "/api/v1/label/"+url.PathEscape(label)+"/values",
				url.Values{"match[]": matches, "limit": {"1"}})
			if err != nil {
				return label
			}
			known = mergedAnswer{len(values) > 0, time.Now()}
			c.merged.Add(key, known)
		}
		if known.is {
			return label
		}
	}
	return ""
}
