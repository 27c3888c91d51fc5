package resolve

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// idleTimeout is how long the pool keeps probing a tier, and discovery watches a Service, after
	// the last query.
	idleTimeout = 10 * time.Minute
	// warmConnections is the number of connections that the pool opens to one of the
	// gateway's own tiers in advance.
	warmConnections = 8
	// idleConnections is the number of idle connections that the pool keeps to another tier,
	// and idleConnectionTimeout how long it keeps them. Probes use some of them.
	idleConnections       = 4
	idleConnectionTimeout = 15 * time.Second
	// maxProbeBytes limits the answer to a probe of a tier that is not the gateway's own.
	maxProbeBytes = 2 << 20
)

// destination identifies a tier. It is comparable and is the key of the pool: see shared. Tenant
// is set only if the operator declares the tenant of the data.
type destination struct {
	name tier.Name
	url  string
	upstream.Permission
	catalog.TierSettings
	tenancy config.TenancyConfig
	// headers are the tenant headers in canonical form.
	headers string
	// service is the name of the tier's Service, or empty if the tier has a URL. address and
	// replica identify one server behind the Service. They are empty if queries go to the
	// Service itself.
	service, address, replica string
	// missing says why the location of the tier is unknown, or is empty.
	missing string
}

// shared splits a destination into the part that identifies connections, probes and catalog,
// and the settings of a datasource. A scrape interval belongs to the first part only if it is
// longer than the default, because only then it affects probes.
func (d destination) shared() (destination, catalog.TierSettings) {
	settings := d.TierSettings
	d.TierSettings = catalog.TierSettings{}
	if settings.ScrapeInterval > catalog.DefaultScrapeInterval {
		d.ScrapeInterval = settings.ScrapeInterval
	}
	return d, settings
}

// evidenceKey identifies the tier for kept evidence, by everything that its answers depend on. The
// contents of credential files are not part of it.
func (d destination) evidenceKey() promql.Key {
	return promql.KeyOf("evidence", string(d.name), d.url, d.headers, fmt.Sprintf("%+v", d.tenancy), d.service, d.address, d.replica, d.Transport.Fingerprint())
}

// client returns a client for the destination, without connecting. idle is the number of idle
// connections to keep. Zero keeps as many as the pool has.
func (d destination) client(header http.Header, pool config.PoolConfig, idle int, network *upstream.Network) (*upstream.Client, error) {
	base, err := url.Parse(d.url)
	if err != nil {
		return nil, fmt.Errorf("parse the URL of the %s tier: %w", d.name, err)
	}
	options := upstream.ClientOptions{
		URL: base, Transport: d.Transport, PoolSize: pool.Size, HTTP2: pool.HTTP2, Header: header, Guard: d.Guard, Address: d.address, Network: network,
	}
	if idle > 0 {
		options.IdleConnections, options.IdleTimeout, options.ProbeBytes = idle, idleConnectionTimeout, maxProbeBytes
	}
	if d.tenancy.Parameter != "" {
		options.Tenancy = &upstream.Tenancy{Parameter: d.tenancy.Parameter, Probe: d.tenancy.ProbeNamespace}
	}
	client, err := upstream.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("make the client of the %s tier: %w", d.name, err)
	}
	return client, nil
}

// usage is the time of the last use. It is safe for concurrent use. nil was never used.
type usage struct{ nanoseconds atomic.Int64 }

func (u *usage) touch(now time.Time) { u.nanoseconds.Store(now.UnixNano()) }

func (u *usage) last() time.Time {
	if u == nil {
		return time.Time{}
	}
	return time.Unix(0, u.nanoseconds.Load())
}

// tierPool holds the tiers in use, each with its connections and its background probes.
type tierPool struct {
	config  config.Config
	now     func() time.Time
	network *upstream.Network                   // nil except in tests
	onProbe func(*catalog.Tier, catalog.Status) // for the gateway's own tiers
	// onRequest, if not nil, is called at the end of each request that the pool makes itself.
	onRequest func(name tier.Name, kind ownrequest.Kind, took time.Duration, err error)
	limits    admission.Limits
	meters    map[tier.Name]*admission.Meters
	// evidence is nil if no evidence is kept.
	evidence *evidence.Store
	// onDrop is called when a tier is dropped.
	onDrop func()

	mutex    sync.Mutex
	context  context.Context //nolint:containedctx // The lifetime of the probes: from Start to Stop.
	tiers    map[destination]*pooledTier
	catalogs map[catalogKey]*pooledCatalog
	coldOnly map[*catalog.Tier]*pooledColdOnly
	sets     map[sourceSetKey]*sourceSet
	// conflicts remembers servers that are not replicas of each other.
	conflicts map[conflictKey]replicaConflict
	running   sync.WaitGroup
}

// catalogKey is the hot and the cold tier of a datasource.
type catalogKey struct{ hot, cold *catalog.Tier }

type pooledCatalog struct {
	*catalog.Catalog
	cancel context.CancelFunc
}

// pooledColdOnly is what is known of a cold tier of datasources without hot.
type pooledColdOnly struct {
	*catalog.ColdOnly
	cancel context.CancelFunc
}

type pooledTier struct {
	*catalog.Tier
	cancel context.CancelFunc
	// used is the last use by any datasource.
	used usage
	// isGateway marks one of the gateway's own tiers with a configured URL.
	isGateway bool
	// users maps the projects whose datasources name the tier to their last use. The empty
	// project stands for global datasources.
	users map[string]*usage
	// payer is the project whose probe budget the tier uses.
	payer   string
	probing *ownrequest.Budget
	// pacer is shared by all tiers on the same server.
	pacer  *ownrequest.Pacer
	server string
}

func newTierPool(config config.Config) *tierPool {
	return &tierPool{
		now: time.Now, config: config, onDrop: func() {},
		limits: admission.Limits{
			Concurrent: cmp.Or(config.Limits.Concurrent, config.Pool.Size), Queue: config.Limits.Queue, Wait: time.Duration(config.Limits.QueueWait),
			SharedBytes: config.Limits.SharedBytes, SharedMemory: admission.NewBudget[string](int64(config.Limits.SharedMemory), 0).Of("answers"),
		},
		tiers: make(map[destination]*pooledTier), catalogs: make(map[catalogKey]*pooledCatalog), coldOnly: make(map[*catalog.Tier]*pooledColdOnly),
		sets: make(map[sourceSetKey]*sourceSet), conflicts: make(map[conflictKey]replicaConflict),
	}
}

// start allows the pool to probe tiers until ctx ends.
func (p *tierPool) start(ctx context.Context) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.context = ctx
}

// tierUse says who uses a tier.
type tierUse struct {
	// header are the tenant headers of the destination.
	header http.Header
	// isGateway marks one of the gateway's own tiers. It does not count for a project. The
	// pool keeps it forever if its URL is configured.
	isGateway bool
	// project is the project of the datasource; empty for a global one.
	project string
}

// get returns the tier at a destination, and starts to probe a new one. The caller touches
// usages whenever it uses the tier. Datasources whose settings for a tier differ share the
// tier. get returns an Error with status 503 if the project has too many tiers in use.
func (p *tierPool) get(at destination, use tierUse) (_ *catalog.Tier, usages []*usage, err error) {
	at, settings := at.shared()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if pooled, ok := p.tiers[at]; ok {
		usages, err := p.use(pooled, use)
		if err != nil {
			return nil, nil, err
		}
		pooled.isGateway = pooled.isGateway || (use.isGateway && at.service == "")
		return pooled.With(settings), usages, nil
	}
	if p.context == nil || p.context.Err() != nil {
		return nil, nil, ErrNotRunning
	}
	added := &pooledTier{cancel: func() {}, isGateway: use.isGateway && at.service == "", payer: use.project, users: map[string]*usage{}}
	if usages, err = p.use(added, use); err != nil {
		return nil, nil, err
	}
	if err := p.makeRoom(use); err != nil {
		return nil, nil, err
	}
	if at.missing != "" {
		added.Tier = catalog.Unresolved(at.name, at.missing)
		p.tiers[at] = added
		return added.With(settings), usages, nil
	}
	idle, warm := 0, warmConnections
	if !use.isGateway {
		idle, warm = idleConnections, 0
		added.probing = p.probingOf(use.project)
	}
	client, err := at.client(use.header, p.config.Pool, idle, p.network)
	if err != nil {
		return nil, nil, err
	}
	options := catalog.TierOptions{
		Name: at.name, Replica: at.replica, Client: client, TierSettings: settings,
		ProbeInterval: time.Duration(p.config.Probe.Interval), LearnInterval: time.Duration(p.config.Probe.LearnInterval),
		Calls: admission.NewController(p.limits, p.meters[at.name]), ProbeBudget: added.probing, Warm: warm, Pacer: p.pacerOf(client, added.isGateway),
	}
	if use.project == "" {
		options.Evidence, options.EvidenceKey = p.evidence, at.evidenceKey()
	}
	if p.onRequest != nil {
		options.OnRequest = func(kind ownrequest.Kind, took time.Duration, err error) { p.onRequest(at.name, kind, took, err) }
	}
	added.pacer, added.server = options.Pacer, client.Server()
	ctx, cancel := context.WithCancel(p.context)
	added.cancel = cancel
	options.OnProbe = func(status catalog.Status) {
		if use.isGateway && p.onProbe != nil {
			p.onProbe(added.Tier, status)
		}
		if at.name == tier.Hot {
			p.decideSources(added.Tier)
		}
	}
	added.Tier = catalog.NewTier(options)
	p.tiers[at] = added
	p.running.Go(func() { added.Run(ctx) })
	return added.Tier, usages, nil
}

// catalog returns the catalog of two tiers, and starts to refresh a new one. It returns nil
// without a cold tier. The catalog lives as long as both tiers. declared is what
// the operator declares about hot. isOfMany is set if hot is one of several tiers.
func (p *tierPool) catalog(hot, cold *catalog.Tier, declared declaration, isOfMany bool) *catalog.Catalog {
	if cold == nil {
		return nil
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	key := catalogKey{hot.Base(), cold.Base()}
	if pooled, ok := p.catalogs[key]; ok {
		return pooled.With(hot, cold)
	}
	options := catalog.Options{
		Hot: key.hot, Cold: key.cold, LearnInterval: time.Duration(p.config.Probe.LearnInterval), ReplicaLabels: p.config.Cold.ReplicaLabels,
		Complete: declared.complete, IsOfMany: isOfMany, ExternalLabels: declared.externalLabels, OnLearned: func() { p.decideSources(key.hot) },
	}
	ctx, cancel := context.WithCancel(p.context)
	added := &pooledCatalog{Catalog: catalog.New(options), cancel: cancel}
	p.catalogs[key] = added
	p.running.Go(func() { added.Run(ctx) })
	return added.With(hot, cold)
}

// coldOnlyOf returns what is known of a cold tier of datasources without hot. It asks the tier only
// while queries need that. It lives as long as the tier.
func (p *tierPool) coldOnlyOf(cold *catalog.Tier) *catalog.ColdOnly {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if pooled, ok := p.coldOnly[cold.Base()]; ok {
		return pooled.With(cold)
	}
	defaults := config.Default()
	made := catalog.NewColdOnly(catalog.ColdOnlyOptions{
		Cold: cold.Base(), LearnInterval: time.Duration(p.config.Probe.LearnInterval), ReplicaLabels: p.config.Cold.ReplicaLabels,
		Freshness: time.Duration(p.config.Routing.Freshness), IsDeclared: p.config.Routing.Freshness != defaults.Routing.Freshness,
	})
	ctx, cancel := context.WithCancel(p.context)
	p.coldOnly[cold.Base()] = &pooledColdOnly{ColdOnly: made, cancel: cancel}
	p.running.Go(func() { made.Run(ctx) })
	return made.With(cold)
}

// dropUnused drops the tiers whose last use is before a time, except the gateway's own.
func (p *tierPool) dropUnused(before time.Time) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		if !candidate.isGateway && candidate.used.last().Before(before) {
			p.drop(at, candidate)
		}
	}
}

// dropService drops the tiers of a Service that keep rejects.
func (p *tierPool) dropService(service string, keep func(destination) bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		if at.service == service && !keep(at) {
			p.drop(at, candidate)
		}
	}
}

// drop removes a tier and ends its probes. Queries in flight finish. The mutex is held.
func (p *tierPool) drop(at destination, dropped *pooledTier) {
	dropped.cancel()
	dropped.Close()
	delete(p.tiers, at)
	for key, of := range p.catalogs {
		if key.hot == dropped.Base() || key.cold == dropped.Base() {
			of.cancel()
			delete(p.catalogs, key)
		}
	}
	if of := p.coldOnly[dropped.Base()]; of != nil {
		of.cancel()
		delete(p.coldOnly, dropped.Base())
	}
	for key, set := range p.sets {
		if key.cold == dropped.Base() || slices.ContainsFunc(set.members, func(of member) bool { return of.Tier == dropped.Base() }) {
			delete(p.sets, key)
		}
	}
	p.onDrop()
}

// stop waits for all probes and closes idle connections. Cancel the context of start first.
func (p *tierPool) stop() {
	p.running.Wait()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		p.drop(at, candidate)
	}
}
