// Package engine is what happens around the call to a tier: the plan, the
// call itself, the one retry on the other tier, and what has to be done to the
// answer: warnings, labels, unions.
package engine

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Query is one request with everything that its answer depends on.
type Query struct {
	// Request is what is asked.
	Request *promapi.Request
	// Forced is the tier that the caller asks for, or empty.
	Forced tier.Name
	// Hot and Cold are the tiers of the datasource; nil where it has none.
	Hot, Cold *catalog.Tier
	// Pair is what is known of both together; nil unless there are both.
	Pair *catalog.Catalog
	// Others are the further replicas of hot, in the order in which they are
	// asked when Hot fails or cannot answer as it should.
	Others []Replica
	// Replicated is set when Hot is one of several replicas.
	Replicated bool
	// Threshold is the span from which on cold is asked.
	Threshold time.Duration
	// Strategy says whether the query may be cut; empty means that it may not.
	Strategy tier.Strategy
	// Freshness is how far back from now data may still change or come in.
	Freshness time.Duration
	// ReplicasAccepted lets steps of one of several replicas of hot stand beside
	// those of cold.
	ReplicasAccepted bool
	// Splicing is what queries share that are answered in pieces; nil where none
	// is.
	Splicing *Splicing
	// Caching is what the query needs to use the cache; nil where it does not.
	Caching *Caching
	// ScrapeInterval is that of the datasource; zero where it names none, and
	// what was seen counts.
	ScrapeInterval time.Duration
	// Timeout bounds all tries together, the body of the answer included.
	Timeout time.Duration
	// Datasource names the datasource: what its queries hold of a budget counts
	// together.
	Datasource string
	// Decoded is the budget for answers that are read as a whole; nil for no bound.
	Decoded *admission.ByteBudget
	// QueryParams are the datasource's own, which the plugin sends along.
	QueryParams map[string]string
	// Detailed is set for callers who may see how the tiers are configured:
	// warnings and explanations may then name external labels and sources.
	Detailed bool
	// OnPlanned is called once it is clear what the tiers are asked. It may be nil.
	OnPlanned func()
	// OnRetry is called before a further try with who is asked: another
	// replica of hot, hot or cold. It may be nil.
	OnRetry func(next Next)
}

// Next is who is asked after a first try.
type Next string

// Who can be asked next.
const (
	NextReplica Next = "replica"
	NextHot     Next = "hot"
	NextCold    Next = "cold"
)

// Nexts returns all of them.
func Nexts() []Next { return []Next{NextReplica, NextHot, NextCold} }

// Replica is one of several servers that hold the hot tier.
type Replica struct {
	// Hot is the server.
	Hot *catalog.Tier
	// Pair is what is known of it and cold together; nil where there is no cold.
	Pair *catalog.Catalog
}

// Response is the answer to a query, its body unread: that of a tier, or one that
// was made here of the answers of tiers and the cache.
type Response struct {
	// Tier and Reason say who answered and why. Tier is empty where no tier was
	// asked.
	Tier   tier.Name
	Reason tier.Reason
	// Replica is the name of the server of hot that answered; empty where hot is
	// asked as a whole, or cold answered.
	Replica string
	// Warnings are already part of the body.
	Warnings []string
	// Status, Header and Body are the answer. Where nothing had to be changed they
	// are as the tier gave them, and the body is not decompressed. Reading it
	// returns an error when the tier or the deadline cut it off. Close ends the
	// upstream call.
	Status int
	Header http.Header
	Body   io.ReadCloser
	// ContentLength is the length of the body in bytes, or -1.
	ContentLength int64
	// UpstreamDuration is the time until the header of the answer, all tries
	// together.
	UpstreamDuration time.Duration

	decoded *admission.BudgetShare // see Query.Decoded

	// Cache is how much of it came from the cache; nil where there is none.
	Cache *CacheUse

	// assembled is set where the answer was put together here and is complete.
	assembled bool
	// changed is set where the answer holds what it has to be changed by.
	changed bool
}

// CallError says which tier and reason an error belongs to.
type CallError struct {
	// Tier and Reason are those of the last try.
	Tier   tier.Name
	Reason tier.Reason
	// Replica is the name of the server of hot that was asked last; empty where hot
	// is asked as a whole, or cold was asked.
	Replica string
	// Err is an Error of the Prometheus API.
	Err error
}

// Error returns the text of Err.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }

// coldParameters are known to cold only: Thanos reads them, Prometheus does not.
var coldParameters = []string{"dedup", "partial_response", "max_source_resolution", "storeMatch[]", "replicaLabels[]"}

// ColdParameters lists the parameters that only cold knows.
func ColdParameters() []string { return slices.Clone(coldParameters) }

// timeout is the configured one, or what the request asks for if that is less.
func (q Query) timeout() time.Duration {
	if asked := q.Request.TimeRange.Timeout; asked > 0 {
		return min(q.Timeout, asked)
	}
	return q.Timeout
}

// variable matches a dashboard variable, as Perses writes it. The plugin sends
// its values instead.
var variable = regexp.MustCompile(`\$(\w+|\{\w+(:\w+)?\})`)

// coldParameter returns a parameter that only cold knows and that is not
// merely one of the datasource's own, or nothing. If a parameter of the
// datasource has a variable in it, any value is its own.
func (q Query) coldParameter() string {
	for _, name := range coldParameters {
		own, isOwn := q.QueryParams[name]
		for _, value := range q.Request.Parameters[name] {
			if !isOwn || (value != own && !variable.MatchString(own)) {
				return name
			}
		}
	}
	return ""
}

func (q Query) tier(name tier.Name) *catalog.Tier {
	if name == tier.Hot {
		return q.Hot
	}
	return q.Cold
}
