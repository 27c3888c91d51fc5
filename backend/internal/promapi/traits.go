package promapi

import (
	"net/http"
	"net/url"
)

// Traits is one row of the table of endpoints. No column of a row is zero.
type Traits struct {
	Endpoint Endpoint
	// Paths are below /api/v1/.
	Paths []string
	// Methods are those that the endpoint supports.
	Methods []string
	// The types of these say what they are.
	Times       Times
	Selects     Selects
	Routing     Routing
	Confinement Confinement
	Caching     Caching
	Cutting     Cutting
	Union       Union
	External    External
	// EmptyData is the data of an empty answer; NoEmptyData if the gateway never writes
	// one.
	EmptyData string
	// check checks the parameters that are not times, as Prometheus does.
	check func(url.Values) error
}

type (
	// Times says which times a request names.
	Times int
	// Selects says what selects the series that a request reads.
	Selects int
	// Routing says which tier answers. docs/routing.md has the same table for people.
	Routing int
	// Confinement says how an answer is confined to some series.
	Confinement int
	// Caching says what is kept of an answer.
	Caching int
	// Cutting says whether two tiers can each answer a part of the time range.
	Cutting int
	// Union says how the answers of two tiers are joined.
	Union int
	// External says how an answer gets the external labels of a server.
	External int
)

// The values of Routing, which is a set of them.
const (
	ByRules        Routing = 1 << iota // the routing rules decide
	OnlyThanos                         // a long-term store alone serves it
	UnionForRange                      // answers are joined where only both tiers hold the time range
	UnionForSeries                     // answers are joined wherever hot may lack series
	UnionAlways                        // answers are joined: of neither tier it is known what it holds
	PerServer                          // each server has its own, so no server has it all
	Elsewhere                          // the other tier answers if one does not know the endpoint
)

// Has reports whether all of some values are in the set.
func (r Routing) Has(values Routing) bool { return r&values == values }

// The values of the other columns.
const (
	NoTime     Times = iota + 1 // the answer is about the server
	Now                         // the answer is about the series that are there now
	OneTime                     // time: an evaluation
	EachStep                    // start, end, step: evaluations
	TimeBounds                  // start, end

	NoSeries  Selects = iota + 1
	ByQuery           // the selectors of query
	ByMatch           // match[]; every series where there is none
	ByMetric          // metric; every series where there is none
	AllSeries         // every series, whatever the parameters

	CannotConfine  Confinement = iota + 1 // the endpoint is refused
	NothingConfine                        // its answer does not depend on series
	ConfineQuery                          // the selectors of query are confined
	ConfineMatch                          // the selectors of match[] are confined
	ConfineRules                          // only rules whose labels are allowed are in the answer

	NeverCached Caching = iota + 1
	CachedWhole         // the answer to a request with fixed times
	CachedSteps         // the steps that can no longer change

	NeverCut Cutting = iota + 1
	CutAtStep

	NoUnion Union = iota + 1
	UnionOfTexts
	UnionOfSeries
	UnionOfExemplars
	UnionOfMetadata
	UnionOfRules
	UnionOfAlerts

	NoExternal      External = iota + 1
	ExternalByQuery          // the query is rewritten so that its result has them
	InAnswer                 // matchers on them are removed, and the answer gets them
	InMatchers               // matchers on them are removed, and the answer has none
	InUnion                  // the answer gets them where it is joined with another
)

// NoEmptyData is the EmptyData of an endpoint whose empty answer comes from a tier.
const NoEmptyData = "-"

var (
	get  = []string{http.MethodGet}
	form = []string{http.MethodGet, http.MethodPost}
)

const pathOfLabelValues = "label/{name}/values"

var statusPaths = []string{"status/buildinfo", "status/config", "status/flags", "status/runtimeinfo", "status/tsdb", "status/tsdb/blocks", "status/walreplay"}

// table is the table of endpoints, its columns as in Traits.
var table = []*Traits{
	{Query, []string{"query"}, form, OneTime, ByQuery, ByRules, ConfineQuery, CachedWhole, NeverCut, NoUnion, ExternalByQuery, `{"resultType":"vector","result":[]}`, checkLimit},
	{QueryRange, []string{"query_range"}, form, EachStep, ByQuery, ByRules, ConfineQuery, CachedSteps, CutAtStep, NoUnion, ExternalByQuery, `{"resultType":"matrix","result":[]}`, checkLimit},
	{QueryExemplars, []string{"query_exemplars"}, form, TimeBounds, ByQuery, ByRules | UnionAlways | Elsewhere, ConfineQuery, NeverCached, NeverCut, UnionOfExemplars, InAnswer, `[]`, nil},
	{Series, []string{"series"}, form, TimeBounds, ByMatch, ByRules | UnionForRange, ConfineMatch, CachedWhole, NeverCut, UnionOfSeries, InAnswer, `[]`, checkSeries},
	{Labels, []string{"labels"}, form, TimeBounds, ByMatch, ByRules | UnionForRange, ConfineMatch, CachedWhole, NeverCut, UnionOfTexts, InAnswer, `[]`, checkLimit},
	{LabelValues, []string{pathOfLabelValues}, get, TimeBounds, ByMatch, ByRules | UnionForRange, ConfineMatch, CachedWhole, NeverCut, UnionOfTexts, InMatchers, `[]`, checkLimit},
	{Metadata, []string{"metadata"}, get, Now, ByMetric, ByRules | UnionForSeries | Elsewhere, CannotConfine, NeverCached, NeverCut, UnionOfMetadata, NoExternal, NoEmptyData, checkNumbers},
	{Rules, []string{"rules"}, get, Now, AllSeries, ByRules | UnionForSeries | PerServer | Elsewhere, CannotConfine, NeverCached, NeverCut, UnionOfRules, NoExternal, NoEmptyData, checkRules},
	{Alerts, []string{"alerts"}, get, Now, AllSeries, ByRules | UnionForSeries | PerServer | Elsewhere, CannotConfine, NeverCached, NeverCut, UnionOfAlerts, InUnion, NoEmptyData, nil},
	{AlertThresholds, []string{"alert_thresholds"}, form, Now, AllSeries, ByRules | UnionForSeries | PerServer | Elsewhere, ConfineRules, NeverCached, NeverCut, UnionOfRules, NoExternal, NoEmptyData, nil},
	{Targets, []string{"targets"}, get, Now, AllSeries, ByRules | Elsewhere, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{TargetsMetadata, []string{"targets/metadata"}, get, NoTime, NoSeries, ByRules | Elsewhere, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, checkNumbers},
	{Alertmanagers, []string{"alertmanagers"}, get, NoTime, NoSeries, ByRules | Elsewhere, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{ScrapePools, []string{"scrape_pools"}, get, NoTime, NoSeries, ByRules | Elsewhere, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{Features, []string{"features"}, get, NoTime, NoSeries, ByRules | Elsewhere, NothingConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{StatusInfo, statusPaths, get, NoTime, NoSeries, ByRules | Elsewhere, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{FormatQuery, []string{"format_query"}, form, NoTime, NoSeries, ByRules | Elsewhere, NothingConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{ParseQuery, []string{"parse_query"}, form, NoTime, NoSeries, ByRules | Elsewhere, NothingConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
	{Stores, []string{"stores"}, get, NoTime, NoSeries, OnlyThanos, CannotConfine, NeverCached, NeverCut, NoUnion, NoExternal, NoEmptyData, nil},
}

// byPath and byEndpoint find the rows of the table.
var byPath, byEndpoint = func() (map[string]*Traits, map[Endpoint]*Traits) {
	paths, endpoints := map[string]*Traits{}, map[Endpoint]*Traits{}
	for _, row := range table {
		endpoints[row.Endpoint] = row
		for _, path := range row.Paths {
			paths[path] = row
		}
	}
	return paths, endpoints
}()

// Traits returns the row of an endpoint; an empty one if it is not in the table.
func (e Endpoint) Traits() *Traits {
	if row, known := byEndpoint[e]; known {
		return row
	}
	return &Traits{Endpoint: e}
}

// Evaluates reports whether the endpoint evaluates a query.
func (t *Traits) Evaluates() bool { return t.Times == OneTime || t.Times == EachStep }

// NamesTimes reports whether the parameters name the times that the answer is about.
func (t *Traits) NamesTimes() bool { return t.Evaluates() || t.Times == TimeBounds }
