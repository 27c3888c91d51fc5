package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Source is a part of hot: servers whose series have the same external labels.
type Source struct {
	// Labels are the external labels without replica labels. A server that answers for several
	// sources has the labels of each. Nil: they are not known yet.
	Labels []map[string]string
	// Servers are its servers, as positions in Datasource.Hot.
	Servers []int
}

// mostShown is the maximum number of sources that a header or a warning names.
const mostShown = 8

// mostCandidates is the maximum number of sources that are tried for a request that names none of
// them, and mostRivals that of sources that are asked whether they have series that it reads.
const (
	mostCandidates = 4
	mostRivals     = 8
)

// Why no source of hot answers a request.
const (
	readsSeveral   = "the selectors belong to different sources of hot"
	readsOthers    = "no source of hot has series that a selector matches"
	mayReadSeveral = "several sources of hot may have series that match"
)

// source is a Source with its servers.
type source struct {
	labels   []map[string]string
	replicas []Replica
}

// sources returns the sources of hot, in the order of their first servers.
func (d *Datasource) sources() []source {
	if d.Sources == nil || len(d.Hot) < 2 {
		return []source{{replicas: d.Hot}}
	}
	groups := d.Sources()
	list := make([]source, len(groups))
	for i, group := range groups {
		list[i].labels = group.Labels
		if len(group.Servers) == 1 {
			at := group.Servers[0]
			list[i].replicas = d.Hot[at : at+1 : at+1]
			continue
		}
		for _, at := range group.Servers {
			list[i].replicas = append(list[i].replicas, d.Hot[at])
		}
	}
	return list
}

// isAvailable reports whether one of the servers answers.
func (s source) isAvailable() bool {
	return slices.ContainsFunc(s.replicas, func(replica Replica) bool { return replica.Hot.Status().Available })
}

// mayMatch reports whether a selector may match series of the source. A source with unknown labels has
// none that a selector with matchers for external labels of hot is meant for.
func (s source) mayMatch(selector promql.Selector, namesSource bool) bool {
	if s.labels == nil {
		return !namesSource
	}
	return slices.ContainsFunc(s.labels, func(labels map[string]string) bool { return tier.MayMatch(selector, labels) })
}

// matching says which sources of hot a request may read.
type matching struct {
	// candidates are the sources that may answer the request. Without any, why says why.
	candidates []source
	why        string
	// read are the sources of which some selector may match series, if hot has several.
	read []source
	// all are the sources of hot.
	all []source
}

// match returns which sources of hot may answer the request. A selector that names an external
// label and matches several sources is meant for several.
func (q *Query) match() matching {
	sources := q.Datasource.sources()
	if len(sources) == 1 {
		return matching{candidates: sources, all: sources}
	}
	selectors, err := selectorsOf(q.Request)
	if err != nil {
		return matching{candidates: sources, all: sources} // Whichever tier answers says what is wrong.
	}
	names := externalNames(sources)
	made := matching{candidates: slices.Clone(sources), all: sources}
	isRead, isForSeveral, matchesNone := make([]bool, len(sources)), false, false
	for _, selector := range selectors {
		namesSource, matched := namesAny(selector, names), 0
		for i, of := range sources {
			if of.mayMatch(selector, namesSource) {
				matched, isRead[i] = matched+1, true
			}
		}
		isForSeveral, matchesNone = isForSeveral || (matched > 1 && namesSource), matchesNone || matched == 0
		made.candidates = slices.DeleteFunc(made.candidates, func(of source) bool { return !of.mayMatch(selector, namesSource) })
	}
	for i, of := range sources {
		if isRead[i] {
			made.read = append(made.read, of)
		}
	}
	switch {
	case isForSeveral:
		made.candidates, made.why = nil, mayReadSeveral
	case matchesNone:
		made.candidates, made.why = nil, readsOthers
	case len(made.candidates) == 0:
		made.why = readsSeveral
	}
	return made
}

// tried returns the sources to plan for, in this order: those that answer first.
func (m matching) tried() []source {
	list, most := m.candidates, mostCandidates
	if len(list) == 0 {
		list, most = slices.Concat(m.read, m.all), 1
	}
	available, others := []source{}, []source{}
	for _, of := range list {
		if of.isAvailable() {
			available = append(available, of)
		} else {
			others = append(others, of)
		}
	}
	list = append(available, others...)
	return list[:min(len(list), most)]
}

// externalNames returns the names of the external labels of sources.
func externalNames(sources []source) (names []string) {
	for _, of := range sources {
		for _, set := range of.labels {
			for name := range set {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// namesAny reports whether a selector has a matcher for one of several labels.
func namesAny(selector promql.Selector, names []string) bool {
	return slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return slices.Contains(names, matcher.Name) })
}

// rivals returns the other sources of hot that may have series which the request reads.
func (p *Plan) rivals() []source {
	return slices.DeleteFunc(slices.Clone(p.matching.read), p.hotSource.is)
}

// is reports whether two sources are the same.
func (s source) is(other source) bool { return s.replicas[0] == other.replicas[0] }

// addRivals makes hot incomplete if other sources of hot may have series that the request reads.
// Cold says which metrics they have, as far as it covers what is read. needed is what has to hold
// for the source to be complete.
func (p *Plan) addRivals(ctx context.Context, needed tier.Requirement) {
	in, rivals := &p.Input, p.rivals()
	if len(rivals) == 0 || (needed.Elsewhere && in.ColdCovers()) {
		return
	}
	var tiers []*catalog.Tier
	for _, of := range rivals {
		for _, replica := range of.replicas {
			tiers = append(tiers, replica.Hot)
		}
	}
	if !needed.Elsewhere || len(needed.Patterns) > 0 || len(rivals) > mostRivals || catalog.AnyHas(ctx, tiers, needed.Names, in.Extent.Oldest) != tier.Absent {
		in.Completeness, in.CompletenessWhy = tier.Incomplete, mayReadSeveral
	}
}

// isUnion reports whether answers to the request can be joined.
func (p *Plan) isUnion() bool { return p.traits().Union != promapi.NoUnion }

// addFurther adds the other sources of hot which the request may read, if hot takes part in an
// answer that is joined.
func (p *Plan) addFurther() {
	takesPart := p.Tier == tier.Both || (p.Tier == tier.Hot && (p.Input.Completeness == tier.Incomplete || p.query.Datasource.Cold == nil))
	if !takesPart || !p.isUnion() {
		return
	}
	for _, of := range p.rivals() {
		if of.isAvailable() {
			p.further = append(p.further, of)
		} else {
			p.Warnings = append(p.Warnings[:len(p.Warnings):len(p.Warnings)], of.missing(p.Input.Detailed))
		}
	}
}

// missing is the warning for an answer without series of the source.
func (s source) missing(detailed bool) string {
	if !detailed || s.text() == "" {
		return "a source of the hot tier failed: what only that one holds is missing"
	}
	return splice.MissingWarning(string(tier.Hot), s.text())
}

// text returns the external labels of the source as selectors; empty if they are not known.
func (s source) text() string {
	var texts []string
	for _, set := range s.labels[:min(len(s.labels), mostShown)] {
		if len(set) > 0 {
			texts = append(texts, promql.FormatLabels(set))
		}
	}
	return strings.Join(texts, ", ")
}

// furtherPlans returns plans for the further sources, which ask nothing themselves.
func (p *Plan) furtherPlans(ctx context.Context) (list []*Plan) {
	about := p.subject
	about.matching.why = mayReadSeveral
	for _, about.hotSource = range p.further {
		plan, err := about.planOn(ctx, inOrder(about.hotSource.replicas, p.key), 0)
		if err == nil && !plan.hotMatchesNone && (plan.Input.Unlabelled == "" || plan.Input.HasOwnValue) {
			plan.hot = plan.hot.Without(promapi.PagingParameters...)
			list = append(list, plan)
		}
	}
	return list
}

// Source returns the external labels of the sources of hot that take part in the answer of a tier,
// as selectors, such as {cluster="eu-1"}. It is empty if hot takes no part, if its external labels
// are not known, or if the caller may not see them.
func (p *Plan) Source(answered tier.Name) string {
	if answered == tier.Cold || answered == "" || !p.Input.Detailed {
		return ""
	}
	var all source
	for _, of := range append([]source{p.ownSource()}, p.further...) {
		all.labels = append(all.labels, of.labels...)
	}
	return all.text()
}

// ownSource returns the source of the plan with those external labels that the request reads, as far
// as they are known.
func (p *Plan) ownSource() source {
	own := p.hotSource
	if evidence := p.snapshot.Evidence; own.labels == nil && evidence != nil {
		own.labels = evidence.SourcesOfHot()
	}
	if p.replica.Catalog != nil {
		if read := p.replica.Catalog.SourcesRead(); read != nil {
			own.labels = read
		}
	}
	return own
}
