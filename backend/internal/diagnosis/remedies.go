package diagnosis

import (
	"fmt"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// RemedyOfNotCut says what the operator can do so that a query is split. It returns an empty text if
// there is nothing, or if it need not be split.
func RemedyOfNotCut(of *engine.Datasource, plan *engine.Plan) string {
	in := &plan.Input
	switch {
	case of.Strategy != tier.StrategySplit:
		return "set routing.strategy: split (TIERPROXY_ROUTING_STRATEGY), or strategy: split in the datasource"
	case plan.Cut != nil || plan.Rule <= 2 || plan.Rule == 6 || hasNothingToCut(plan):
		return ""
	case plan.LacksSubqueryStep():
		return "write the step of each subquery, as in [1h:1m]"
	case in.Completeness == tier.Incomplete:
		return "name the external labels of one source of hot in the query, such as cluster. If hot has every series, set hot.complete"
	case in.Unlabelled != "" || in.EmptyBefore:
		return ""
	case in.HotReplicated && !of.ReplicasAccepted:
		return "set routing.split_across_replicas: true (TIERPROXY_ROUTING_SPLIT_ACROSS_REPLICAS), or splitAcrossReplicas: true in the datasource"
	case len(in.Cold.Notes) > 0:
		return "restore the store that cold cannot reach: see tiers.cold in health"
	}
	return ""
}

// hasNothingToCut reports whether a query is not split because one tier answers all of its steps anyhow.
func hasNothingToCut(plan *engine.Plan) bool {
	return strings.HasPrefix(plan.NotCut, tier.ErrNothingToCut.Error())
}

// remedyOfNotCached says what the operator can do so that answers to a query are kept. It returns an
// empty text if there is nothing.
func (a *advice) remedyOfNotCached() string {
	cold := a.resolved.Cold.Status()
	_, isStable := a.resolved.Cold.StableStores()
	switch {
	case !a.resolved.Datasource.Cached || a.core.Cache == nil:
		return "set cache.enabled: true (TIERPROXY_CACHE_ENABLED), or cache: true in the datasource"
	case !isStable || len(cold.Notes) > 0:
		return "restore the store that cold cannot reach: see /api/v1/stores of cold"
	}
	return ""
}

// splitting adds whether typical queries are split, and what prevents it.
func (a *advice) splitting() {
	if !a.hasHot() {
		return
	}
	var split []*rangeQuery
	var reasons []string // in the order of the ranges
	unsplit := map[string][]*rangeQuery{}
	for _, query := range a.queries {
		switch plan := query.plan; {
		case plan.Cut != nil:
			split = append(split, query)
		case plan.Rule == 6 || hasNothingToCut(plan):
		default:
			if unsplit[plan.NotCut] == nil {
				reasons = append(reasons, plan.NotCut)
			}
			unsplit[plan.NotCut] = append(unsplit[plan.NotCut], query)
		}
	}
	if len(split) > 0 {
		a.add("routing", SeverityOK, fmt.Sprintf("queries over %s are split: hot answers the newest %s, cold the older steps", listRanges(split), formatRange(split[0].plan.HotPart())), "")
	}
	a.freshness()
	for _, why := range reasons {
		severity := SeverityWarning
		if a.resolved.Datasource.Strategy != tier.StrategySplit {
			severity = SeverityNote
		}
		queries := unsplit[why]
		a.add("routing", severity, fmt.Sprintf("queries over %s are not split: %s%s", listRanges(queries), why, a.gainOfSplitting()), RemedyOfNotCut(a.resolved.Datasource, queries[0].plan))
	}
}

// freshness says what follows from a freshness window that is longer than the threshold.
func (a *advice) freshness() {
	threshold, part := a.resolved.Datasource.Threshold, a.queries[0].plan.HotPart()
	if a.resolved.Datasource.Strategy != tier.StrategySplit || part <= threshold {
		return
	}
	text := fmt.Sprintf("samples of the last %s may still change (routing.freshness, or an out-of-order window), which is longer than the threshold of %s", formatRange(part), formatRange(threshold))
	remedy := "if samples arrive sooner, lower routing.freshness or the out-of-order window"
	var shorter []*rangeQuery
	for _, query := range a.queries {
		if query.plan.Rule == 7 && hasNothingToCut(query.plan) && query.length <= part {
			shorter = append(shorter, query)
		}
	}
	if len(shorter) > 0 {
		text += fmt.Sprintf(". Queries over %s lie within it: they are not split, and cold answers them", listRanges(shorter))
	}
	if len(shorter) > 0 && shorter[0].reach() >= part {
		remedy += fmt.Sprintf(". Or let hot answer these queries, with routing.threshold: %s", formatRange(part))
	}
	a.add("routing", SeverityNote, text, remedy)
}

// caching adds whether answers to typical queries are kept, and what prevents it.
func (a *advice) caching() {
	var kept, recent []*rangeQuery
	var keptUntil time.Time
	var reasons []string // in the order of the ranges
	unkept := map[string][]*rangeQuery{}
	for _, query := range a.queries {
		plan := query.plan
		until, found := plan.KeptUntil()
		switch why := plan.NotCached(); {
		case plan.Tier == tier.Hot:
		case query.isKept(0):
			kept, keptUntil = append(kept, query), until
		case found:
			keptUntil = until
			if query.length > 2*plan.HotPart() {
				recent = append(recent, query)
			}
		default:
			if unkept[why] == nil {
				reasons = append(reasons, why)
			}
			unkept[why] = append(unkept[why], query)
		}
	}
	age := formatRange(time.Since(keptUntil).Round(time.Second))
	if len(kept) > 0 {
		a.add("cache", SeverityOK, fmt.Sprintf("answers of cold to queries over %s are kept, up to %s before now", listRanges(kept), age), "")
	}
	if len(recent) > 0 {
		a.add("cache", SeverityNote, fmt.Sprintf("queries over %s are too recent for the cache: cold may still get samples of the last %s", listRanges(recent), age), "")
	}
	for _, why := range reasons {
		severity := SeverityWarning
		if !a.resolved.Datasource.Cached {
			severity = SeverityNote
		}
		queries := unkept[why]
		a.add("cache", severity, fmt.Sprintf("answers to queries over %s are not kept: %s%s", listRanges(queries), why, a.gainOfKeeping(queries[len(queries)-1].plan.Cut != nil)), a.remedyOfNotCached())
	}
}

// gainOfSplitting says what the longest range would gain by splitting, as far as it was measured.
func (a *advice) gainOfSplitting() string {
	longest, newest := a.measured.longest(), a.measured.newest
	if newest == nil || newest.hot == nil {
		return ""
	}
	return fmt.Sprintf(". With splitting and the cache, a refresh of %s waits for hot's answer of the newest %s alone: %s. Cold takes %s for that part, and %s for the whole",
		formatRange(longest.length), formatRange(newest.length), newest.hot, newest.cold, longest.cold)
}

// gainOfKeeping says what the longest range would gain by kept answers, as far as it was measured.
func (a *advice) gainOfKeeping(isSplit bool) string {
	longest, newest := a.measured.longest(), a.measured.newest
	if newest == nil {
		return ""
	}
	name, took := tier.Cold, newest.cold
	if isSplit && newest.hot != nil {
		name, took = tier.Hot, newest.hot
	}
	return fmt.Sprintf(". Cold takes %s for %s at each refresh. With the cache, a refresh waits for the newest %s of %s: %s",
		longest.cold, formatRange(longest.length), formatRange(newest.length), name, took)
}
