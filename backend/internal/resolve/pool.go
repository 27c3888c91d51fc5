package resolve

import (
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
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// unusedFor is how long a tier that a datasource named is probed after
	// its last query.
	unusedFor = 10 * time.Minute
	// warmConnections is how many connections are made to one of the gateway's own
	// tiers before they are needed.
	warmConnections = 8
	// keptConnections is how many connections to another tier are kept while
	// nobody uses them, and keptFor how long. Its probes take some of them.
	keptConnections = 4
	keptFor         = 15 * time.Second
	// namedProbeBytes bounds an answer to a probe of a tier that is not the
	// gateway's own.
	namedProbeBytes = 2 << 20
)

// destination is everything that makes one tier different from another. It is
// comparable, and serves as the key of the pool: see shared.
type destination struct {
	name      tier.Name
	url       string
	retention time.Duration
	lag       time.Duration
	// scrapeInterval is that of a datasource that names the tier; zero where
	// what is seen counts.
	scrapeInterval time.Duration
	access         *upstream.TransportConfig
	tenancy        config.TenancyConfig
	guard          upstream.Guard
	// tenant is the tenant whose data the tier holds, as the operator says;
	// empty where that is not said.
	tenant string
	// tenant headers in canonical form, one "name: value" a line.
	headers string
	// service names the Service that the tier was found by; empty where it is
	// named by its URL. address and replica are those of one server behind it;
	// empty where the Service is asked as a whole.
	service, address, replica string
	// missing says why it is not known where the tier is; empty where it is.
	missing string
}

// shared returns the part of a destination that its connections, probes and
// what is learned of it depend on, and the rest. Only a scrape interval that is
// longer than the usual one makes a difference for probes.
func (d destination) shared() (destination, catalog.TierSettings) {
	settings := catalog.TierSettings{Retention: d.retention, Lag: d.lag, ScrapeInterval: d.scrapeInterval}
	d.retention, d.lag = 0, 0
	if d.scrapeInterval <= catalog.DefaultScrapeInterval {
		d.scrapeInterval = 0
	}
	return d, settings
}

// client returns a client for the destination. No connection is made. kept says
// how many connections are kept while nobody uses them; zero: as many as the
// pool has.
func (d destination) client(header http.Header, pool config.PoolConfig, kept int, network *upstream.Network) (*upstream.Client, error) {
	base, err := url.Parse(d.url)
	if err != nil {
		return nil, fmt.Errorf("parse the URL of the %s tier: %w", d.name, err)
	}
	options := upstream.ClientOptions{
		URL: base, Transport: d.access, PoolSize: pool.Size, HTTP2: pool.HTTP2, Header: header, Guard: d.guard, Address: d.address, Network: network,
	}
	if kept > 0 {
		options.IdleConnections, options.IdleTimeout, options.ProbeBytes = kept, keptFor, namedProbeBytes
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

// usage is when something was used last. It is safe for concurrent use.
type usage struct{ nanoseconds atomic.Int64 }

func (u *usage) touch(now time.Time) { u.nanoseconds.Store(now.UnixNano()) }

func (u *usage) last() time.Time { return time.Unix(0, u.nanoseconds.Load()) }

// tierPool holds the tiers that are in use, each with its connections and its
// background probes.
type tierPool struct {
	config  config.Config
	now     func() time.Time
	network *upstream.Network                   // nil but in tests
	onProbe func(*catalog.Tier, catalog.Status) // for the gateway's own tiers
	limits  admission.Limits
	meters  map[tier.Name]*admission.Meters
	// keepOwn marks the gateway's own tiers as used.
	keepOwn func()
	// ownHotURL returns the URL of the gateway's own hot tier.
	ownHotURL func() string
	// onDrop is called when a tier is dropped.
	onDrop func()

	mutex    sync.Mutex
	context  context.Context //nolint:containedctx // The lifetime of the probes: from Start to Stop.
	tiers    map[destination]*pooledTier
	pairs    map[pairKey]*pooledPair
	replicas map[replicaSetKey]*replicaSet
	// conflicts are servers that were no replicas of each other.
	conflicts map[replicaSetKey]replicaConflict
	running   sync.WaitGroup
}

// pairKey is a hot and a cold tier that one datasource has.
type pairKey struct{ hot, cold *catalog.Tier }

type pooledPair struct {
	*catalog.Catalog
	cancel context.CancelFunc
}

type pooledTier struct {
	*catalog.Tier
	cancel context.CancelFunc
	// used is when any datasource used the tier last.
	used usage
	own  bool
	// users are the projects whose datasources name the tier, and when each of
	// them used it last. The empty project stands for global datasources.
	users map[string]*usage
	// payer is the project whose bounds the probes count against.
	payer   string
	probing *catalog.ProbeBudget
}

func newTierPool(config config.Config) *tierPool {
	return &tierPool{
		now:    time.Now,
		config: config, limits: limitsOf(config),
		keepOwn: func() {}, ownHotURL: func() string { return config.Hot.URL }, onDrop: func() {},
		tiers: make(map[destination]*pooledTier), pairs: make(map[pairKey]*pooledPair),
		replicas: make(map[replicaSetKey]*replicaSet), conflicts: make(map[replicaSetKey]replicaConflict),
	}
}

// limitsOf are the limits of each tier.
func limitsOf(config config.Config) admission.Limits {
	limits := admission.Limits{
		Concurrent: config.Limits.Concurrent, Queue: config.Limits.Queue, Wait: time.Duration(config.Limits.QueueWait),
		SharedBytes: config.Limits.SharedBytes, SharedMemory: admission.NewBudget[string](int64(config.Limits.SharedMemory), 0).Of("answers"),
	}
	if limits.Concurrent == 0 {
		limits.Concurrent = config.Pool.Size
	}
	return limits
}

// start lets the pool probe until ctx ends.
func (p *tierPool) start(ctx context.Context) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.context = ctx
	p.running.Go(func() {
		ticker := time.NewTicker(unusedFor / 10)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				p.keepOwn()
				p.dropUnused(now.Add(-unusedFor))
			}
		}
	})
}

// tierUse says who uses a tier.
type tierUse struct {
	// header are the tenant headers of the destination.
	header http.Header
	// own marks one of the gateway's own tiers, which counts against no project
	// and is kept for good where the configuration names its URL.
	own bool
	// project is that of the datasource; empty for a global one.
	project string
}

// get returns the tier at a destination and starts to probe it if it is new.
// Whoever keeps the tier touches usages with each use. Datasources that differ
// only in the settings of a tier share it. It returns an Error with status 503
// when the project uses more tiers at a time than it may.
func (p *tierPool) get(at destination, use tierUse) (_ *catalog.Tier, usages []*usage, err error) {
	at, settings := at.shared()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if found, ok := p.tiers[at]; ok {
		usages, err := p.use(found, use)
		if err != nil {
			return nil, nil, err
		}
		found.own = found.own || (use.own && at.service == "")
		return found.With(settings), usages, nil
	}
	if p.context == nil || p.context.Err() != nil {
		return nil, nil, ErrNotRunning
	}
	added := &pooledTier{cancel: func() {}, own: use.own && at.service == "", payer: use.project, users: map[string]*usage{}}
	if usages, err = p.use(added, use); err != nil {
		return nil, nil, err
	}
	if err := p.makeRoom(use); err != nil {
		return nil, nil, err
	}
	if at.missing != "" {
		added.Tier = catalog.Unresolved(at.name, &url.URL{}, at.missing)
		p.tiers[at] = added
		return added.Tier, usages, nil
	}
	kept, warm := 0, warmConnections
	if !use.own {
		kept, warm = keptConnections, 0
		added.probing = p.probingOf(use.project)
	}
	client, err := at.client(use.header, p.config.Pool, kept, p.network)
	if err != nil {
		return nil, nil, err
	}
	options := catalog.TierOptions{
		Name: at.name, Replica: at.replica, Client: client, Retention: settings.Retention, Lag: settings.Lag, ScrapeInterval: settings.ScrapeInterval,
		ProbeInterval: time.Duration(p.config.Probe.Interval), Calls: admission.NewController(p.limits, p.meters[at.name]), ProbeBudget: added.probing, Warm: warm,
	}
	ctx, cancel := context.WithCancel(p.context)
	added.cancel = cancel
	options.OnProbe = func(status catalog.Status) {
		if use.own && p.onProbe != nil {
			p.onProbe(added.Tier, status)
		}
		if at.replica != "" {
			p.decideReplicas(func(set *replicaSet) bool { return slices.Contains(set.servers, added.Tier) })
		}
	}
	added.Tier = catalog.NewTier(options)
	p.tiers[at] = added
	p.running.Go(func() { added.Run(ctx) })
	return added.Tier, usages, nil
}

// pair returns what is known of two tiers together, and starts to learn it if
// they are new. It is nil unless there are both. It lives as long as both tiers.
func (p *tierPool) pair(hot, cold *catalog.Tier) *catalog.Catalog {
	if hot == nil || cold == nil {
		return nil
	}
	ownHot := p.ownHotURL()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	key := pairKey{hot.Base(), cold.Base()}
	if found, ok := p.pairs[key]; ok {
		return found.With(hot, cold)
	}
	options := catalog.Options{
		Hot: key.hot, Cold: key.cold, LearnInterval: time.Duration(p.config.Probe.LearnInterval), ReplicaLabels: p.config.Cold.ReplicaLabels,
		OnLearned: func() {
			p.decideReplicas(func(set *replicaSet) bool { return set.cold == key.cold && slices.Contains(set.servers, key.hot) })
		},
	}
	if ownHot != "" && hot.Endpoint() == ownHot {
		// What the operator says of hot holds for the operator's own.
		options.Complete, options.ExternalLabels = p.config.Hot.Complete, p.config.Hot.ExternalLabels
	}
	ctx, cancel := context.WithCancel(p.context)
	added := &pooledPair{Catalog: catalog.New(options), cancel: cancel}
	p.pairs[key] = added
	p.running.Go(func() { added.Run(ctx) })
	return added.With(hot, cold)
}

func (p *tierPool) dropUnused(before time.Time) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		if !candidate.own && candidate.used.last().Before(before) {
			p.drop(at, candidate)
		}
	}
}

// dropService drops the tiers that were found by a Service and are no longer
// what it leads to.
func (p *tierPool) dropService(service string, keep func(destination) bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		if at.service == service && !keep(at) {
			p.drop(at, candidate)
		}
	}
}

// drop ends the probes of a tier. Queries that are under way finish.
func (p *tierPool) drop(at destination, dropped *pooledTier) {
	dropped.cancel()
	dropped.Close()
	delete(p.tiers, at)
	for key, pair := range p.pairs {
		if key.hot == dropped.Base() || key.cold == dropped.Base() {
			pair.cancel()
			delete(p.pairs, key)
		}
	}
	for key, set := range p.replicas {
		if set.cold == dropped.Base() || slices.Contains(set.servers, dropped.Base()) {
			delete(p.replicas, key)
		}
	}
	p.onDrop()
}

// stop ends all probes, waits for them and closes idle connections. The
// context that start was given has to be cancelled before.
func (p *tierPool) stop() {
	p.running.Wait()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for at, candidate := range p.tiers {
		p.drop(at, candidate)
	}
}
