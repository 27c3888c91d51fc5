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

// Datasource is what a datasource is to the engine. It is not changed after it
// was made, and serves any number of queries at once.
type Datasource struct {
	// Name names it: what its queries hold of a budget counts together.
	Name string
	// Hot are the servers of the hot tier, which are replicas of each other; empty
	// where there is none. Cold is the cold tier; nil where there is none.
	Hot  []Replica
	Cold *catalog.Tier
	// Threshold is the span from which on cold is asked.
	Threshold time.Duration
	// Strategy says whether queries may be cut; empty means that they may not.
	Strategy tier.Strategy
	// ReplicasAccepted lets steps of one of several replicas of hot stand beside
	// those of cold.
	ReplicasAccepted bool
	// ScrapeInterval is zero where the datasource names none, and what was seen
	// counts.
	ScrapeInterval time.Duration
	// QueryParams are the datasource's own, which the plugin sends along.
	QueryParams map[string]string
	// Cached lets answers be kept.
	Cached bool
	// Scope is whose the kept answers are: everything that can change an answer of
	// cold and is not part of the request, such as the datasource, its generation,
	// the tenant and the credential.
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
	// Request is what is asked, and Datasource who is.
	Request    *promapi.Request
	Datasource *Datasource
	// Forced is the tier that the caller asks for, or empty.
	Forced tier.Name
	// Caller is on whose behalf the query is made, and takes turns with others.
	Caller admission.Caller
	// DetachOnCancel is set where nobody waits any more once the context is
	// cancelled, as for a client that has gone: see catalog.CallOptions.
	DetachOnCancel bool
	// ConfinedTo are the namespaces that the request is confined to; nil where it
	// is not. ReadsNothing is set when none of the series that it selects is in
	// them, so that its answer is empty whatever the tiers hold.
	ConfinedTo   []string
	ReadsNothing bool
	// CacheControl is what the caller wants of the cache.
	CacheControl
	// OnPlanned is called once it is clear what the tiers are asked. It may be nil.
	OnPlanned func()
}

// coldParameters are known to cold only: Thanos reads them, Prometheus does not.
var coldParameters = []string{"dedup", "partial_response", "max_source_resolution", "storeMatch[]", "replicaLabels[]"}

// variable matches a dashboard variable, as Perses writes it. The plugin sends
// its values instead.
var variable = regexp.MustCompile(`\$(\w+|\{\w+(:\w+)?\})`)

// coldParameter returns a parameter that only cold knows and that is not
// merely one of the datasource's own, or nothing. If a parameter of the
// datasource has a variable in it, any value is its own.
func (q *Query) coldParameter() string {
	for _, name := range coldParameters {
		configured, isConfigured := q.Datasource.QueryParams[name]
		for _, value := range q.Request.Parameters[name] {
			if !isConfigured || (value != configured && !variable.MatchString(configured)) {
				return name
			}
		}
	}
	return ""
}

// maxPoints is how many points of each series Prometheus answers with at most.
const maxPoints = 11_000

// AnsweredHere reports whether the answer to the query is empty, so that no tier
// is asked. Tiers are still asked for what they refuse, and for statistics.
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
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}
