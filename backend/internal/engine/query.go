package engine

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Datasource is what the engine needs of a datasource. It is immutable.
type Datasource struct {
	// Name names it: what its queries hold of a budget counts together.
	Name string
	// Hot are the servers of the hot tier; empty where there is none. Cold is the cold tier; nil
	// where there is none.
	Hot  []Replica
	Cold *catalog.Tier
	// ColdOnly is what is known of cold where there is no hot tier; nil otherwise.
	ColdOnly *catalog.ColdOnly
	// Sources returns which of the servers belong to one source of hot, at the time of the call. Nil:
	// all are replicas of one source.
	Sources func() []Source
	// Threshold is the span from which on cold answers.
	Threshold time.Duration
	// Strategy says whether queries may be cut; empty means that they may not.
	Strategy tier.Strategy
	// ReplicasAccepted lets steps of one of several replicas of hot stand beside
	// those of cold.
	ReplicasAccepted bool
	// QueryParams are the datasource's own, which the plugin sends along.
	QueryParams map[string]string
	// Cached lets answers be kept.
	Cached bool
	// Scope identifies everything that can change an answer of cold and is not part of
	// the request: the datasource, its generation, the tenant, the credential.
	Scope string
	// Detailed is set for callers who may see how the tiers are configured:
	// warnings and explanations may then name external labels and sources.
	Detailed bool
}

// Replica is one of the servers that hold the hot tier.
type Replica struct {
	// Hot is the server.
	Hot *catalog.Tier
	// Catalog is what is known of it and cold together; nil where there is no cold.
	Catalog *catalog.Catalog
	// Ready is what the cluster says of the server. It matters where there are
	// several.
	Ready bool
}

// Query is one request with what belongs to it alone.
type Query struct {
	Request    *promapi.Request
	Datasource *Datasource
	// Forced is the tier that the caller asks for, or empty.
	Forced tier.Name
	// Caller is on whose behalf the query is made, and takes turns with others.
	Caller admission.Caller
	// DetachOnCancel is set if the end of the context means that the client has
	// disconnected: see catalog.CallOptions.
	DetachOnCancel bool
	// ConfinedTo are the namespaces that the request is confined to; nil where it
	// is not. ReadsNothing is set when none of the series that it selects is in
	// them, so that its answer is empty whatever the tiers hold.
	ConfinedTo   []string
	ReadsNothing bool
	// CacheControl is what the caller wants of the cache.
	CacheControl
	// OnPlanned is called after planning. It may be nil.
	OnPlanned func()
}

// coldParameters are known to cold only: Thanos reads them, Prometheus does not.
var coldParameters = []string{"dedup", "partial_response", "max_source_resolution", "storeMatch[]", "replicaLabels[]"}

// variable matches a dashboard variable, as Perses writes it. The plugin sends
// its values instead.
var variable = regexp.MustCompile(`\$(\w+|\{\w+(:\w+)?\})`)

// filterParameters are matchers for every selector of a query, which VictoriaMetrics adds and Prometheus
// ignores.
var filterParameters = []string{"extra_label", "extra_filters", "extra_filters[]"}

// coldParameter returns a parameter that only cold knows, unless it repeats one of the
// datasource. One with a variable in it matches any value. A filter that hot would ignore counts in
// any case.
func (p *Plan) coldParameter() string {
	q := &p.query
	for _, name := range coldParameters {
		configured, isConfigured := q.Datasource.QueryParams[name]
		for _, value := range q.Request.Parameters[name] {
			if !isConfigured || (value != configured && !variable.MatchString(configured)) {
				return name
			}
		}
	}
	if p.isVictoriaMetrics(tier.Cold) && !p.isVictoriaMetrics(tier.Hot) {
		for _, name := range filterParameters {
			if q.Request.Parameters.Has(name) {
				return name
			}
		}
	}
	return ""
}

// maxPoints is how many points of each series Prometheus answers with at most.
const maxPoints = 11_000

// AnsweredHere reports whether the query is known to read nothing, so that it goes to
// no tier. Queries that tiers refuse and statistics still do.
func (q Query) AnsweredHere() bool {
	if !q.ReadsNothing || (len(q.Datasource.Hot) == 0 && q.Datasource.Cold == nil) {
		return false
	}
	times := q.Request.TimeRange
	hasTooManyPoints := times.Step > 0 && times.End.Sub(times.Start)/times.Step >= maxPoints
	return !hasTooManyPoints && q.Request.Parameters.Get("stats") == "" && q.Request.Endpoint.Traits().EmptyData != promapi.NoEmptyData
}

// emptyResponse returns the empty answer to the query.
func (q Query) emptyResponse() *Response {
	body := `{"status":"success","data":` + q.Request.Endpoint.Traits().EmptyData + `}`
	return &Response{
		Reason: tier.ReasonConfined, Status: http.StatusOK, Header: jsonHeader(),
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Rewritten: true,
	}
}
