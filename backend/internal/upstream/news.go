package upstream

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// newsWindow is how far back news are looked for: longer than a sample takes to
// get into cold, and short enough that only its newest data is read.
const newsWindow = 5 * time.Minute

// lookForNews notices what has appeared in cold since the last learning, as far as
// hot's completeness depends on it: the metrics of other sources, which it adds
// to what is known, and new sources, for which it returns true: then everything
// has to be learned again. It runs as often as probes do, so it asks for little.
func (p *Pair) lookForNews(ctx context.Context, now time.Time) (newSource bool) {
	learned := p.learned.Load()
	known := learned.Knowledge
	if known == nil || known.Declared || !p.options.Cold.Status().Available {
		return false
	}
	if stores := p.options.Cold.Status().Stores; stores != nil {
		// A source that is gone is still among them.
		return slices.ContainsFunc(sourcesOf(stores, learned.ReplicaLabels), func(source map[string]string) bool {
			return !containsSet(known.Sources, source)
		}) || p.addNewNames(ctx, now, learned)
	}
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(known.InjectedLabels)) {
		if len(known.Sources) > mostSources {
			break // Some are not held, so that none can be told to be new.
		}
		values, err := p.options.Cold.options.Client.labelValues(ctx, name, nil, p.newsSince(now))
		if err != nil {
			return false // The next learning will tell.
		}
		for _, value := range values {
			isKnown := slices.ContainsFunc(known.Sources, func(source map[string]string) bool { return source[name] == value })
			if !isKnown {
				return true
			}
		}
	}
	return p.addNewNames(ctx, now, learned)
}

// addNewNames adds metrics that other sources have got since. It never asks for
// another learning.
func (p *Pair) addNewNames(ctx context.Context, now time.Time, learned *Learned) bool {
	known := learned.Knowledge
	if !known.SourcesKnown || known.OnlySource() || known.OtherNames == nil || len(known.HotLabels) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout)
	defer cancel()
	others := ofOthers(known.HotLabels)
	recent, err := p.options.Cold.options.Client.askForNames(ctx, others, p.newsSince(now))
	if err != nil {
		return false // The next learning will tell.
	}
	var names tier.NameSet
	for _, name := range recent {
		if _, is := known.OtherNames[name]; is {
			continue
		}
		if names == nil {
			names = maps.Clone(known.OtherNames)
		}
		names[name] = struct{}{}
	}
	if names == nil {
		return false
	}
	more := *known
	held := p.options.Cold.names.replace(others, p.payer(), names, p.names.others)
	p.names.others.release()
	p.names.others = held
	more.OtherNames = held.set()
	changed := *learned
	changed.Knowledge = tier.NewSeriesEvidence(more)
	p.learned.Store(&changed)
	return false
}

// newsSince is from when on news are looked for: what is new is at the end of
// cold's data, wherever that is.
func (p *Pair) newsSince(now time.Time) time.Time {
	if newest := p.newest.Load().newest; newest != 0 && newest < now.UnixMilli() {
		now = time.UnixMilli(newest)
	}
	return now.Add(-newsWindow)
}
