package engine

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// asking is a query with the datasource and the engine that it is for.
type asking struct {
	Request         *promapi.Request
	Forced          tier.Name
	ConfinedTo      []string
	NoRead, NoStore bool

	// Hot, Catalog and Others are the replicas of hot in the order in which they are
	// asked.
	Hot, Cold        *catalog.Tier
	Catalog          *catalog.Catalog
	ColdOnly         *catalog.ColdOnly
	Others           []Replica
	Replicated       bool // there is another replica, which does not answer
	Threshold        time.Duration
	Strategy         tier.Strategy
	ReplicasAccepted bool
	QueryParams      map[string]string
	Scope            string

	Timeout, Freshness time.Duration
	Decoded            *admission.ByteBudget
	Cache              *cache.Cache // nil where no answer is kept
	OnUse              func(CacheUse)
	engine             *Engine // nil where it is not shared with other queries
}

// made returns the engine, and the query for it.
func (a asking) made() (*Engine, Query) {
	if a.OnUse == nil {
		a.OnUse = func(CacheUse) {}
	}
	engine := New(Options{OnRetry: func(Next) {}, Timeout: a.Timeout, Freshness: a.Freshness, Decoded: a.Decoded, Cache: a.Cache, Lifetime: context.Background(), OnCacheUse: a.OnUse})
	if a.engine != nil {
		engine.pieceBudget, engine.unjoinable = a.engine.pieceBudget, a.engine.unjoinable
	}
	datasource := &Datasource{
		Name: "one", Cold: a.Cold, Threshold: a.Threshold, Strategy: a.Strategy, ReplicasAccepted: a.ReplicasAccepted,
		QueryParams: a.QueryParams, ColdOnly: a.ColdOnly, Cached: a.Cache != nil, Scope: a.Scope,
	}
	if a.Hot != nil {
		datasource.Hot = append([]Replica{{Hot: a.Hot, Catalog: a.Catalog, Ready: true}}, a.Others...)
	}
	if a.Replicated {
		datasource.Hot = append(datasource.Hot, Replica{Hot: catalog.NewTier(catalog.TierOptions{Name: tier.Hot})})
	}
	return engine, Query{
		Request: a.Request, Datasource: datasource, Forced: a.Forced, ConfinedTo: a.ConfinedTo, CacheControl: CacheControl{NoRead: a.NoRead, NoStore: a.NoStore},
	}
}

// do answers a query.
func do(ctx context.Context, a asking) (*Response, error) {
	engine, query := a.made()
	return engine.Do(ctx, query)
}

// plan plans a query.
func plan(ctx context.Context, a asking) (*Plan, error) {
	engine, query := a.made()
	return engine.Plan(ctx, query)
}

// held returns how many bytes of pieces are in use.
func (e *Engine) held() int64 {
	bytes, _ := e.pieceBudget.Used()
	return bytes
}
