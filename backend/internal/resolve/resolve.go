// Package resolve turns the spec of a datasource into tiers, replicas, a policy and a cache
// scope. It decides which destinations a datasource may use, and which credentials tierproxy
// sends to them.
//
// A Resolved is immutable. The Resolver creates a new one when the spec or a Service changes.
package resolve

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// DefaultName is the name of the default datasource.
const DefaultName = "default"

// ErrNotRunning is returned before Start and after Stop, with status 503.
var ErrNotRunning = promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "the gateway is not running: it has not started yet, or it is stopping")

const (
	// maxResolved is the maximum number of resolved datasources in memory.
	maxResolved = 4096
	// keepAliveInterval is the interval in which the Resolver marks the Services of
	// datasources in use as used.
	keepAliveInterval = time.Minute
)

// Options are the options of New.
type Options struct {
	Config config.Config
	Logger logrus.FieldLogger
	// Meters count the calls to each tier.
	Meters map[tier.Name]*admission.Meters
	// OnRequest, if not nil, is called at the end of each request to a tier that answers no
	// query, but tells tierproxy something about the tier.
	OnRequest func(name tier.Name, kind ownrequest.Kind, took time.Duration, err error)
	// Reloads counts the changed files of credentials.
	Reloads *upstream.Reloads
	// Evidence keeps evidence of the metric names of tiers that do not belong to a project; nil for
	// none.
	Evidence *evidence.Store
	// Network replaces the network in tests; nil for the real one.
	Network *upstream.Network
}

// Resolver resolves datasources and owns their tiers. It is safe for concurrent use.
type Resolver struct {
	config      config.Config
	logger      logrus.FieldLogger
	fingerprint string // of the configuration
	transports  *transports
	*rules
	// own are the gateway's own tiers.
	own     []ownTier
	pool    *tierPool
	network *upstream.Network

	// discovery is nil if discovery is off. noDiscovery says why.
	discovery   *discovery.Discovery
	noDiscovery string

	// inspections limits concurrent inspections.
	inspections *ownrequest.Budget

	// generation changes whenever a Service changes or the pool drops a tier. A Resolved of
	// an earlier generation is outdated.
	generation atomic.Uint64
	resolved   *lru.Cache[perses.Reference, *Resolved]
	running    sync.WaitGroup
}

// New returns a Resolver that does not probe before Start. It returns an error if it cannot
// read a configured file, or if neither the configuration nor discovery nor Perses can provide
// a tier.
func New(options Options) (*Resolver, error) {
	r := &Resolver{
		config: options.Config, logger: options.Logger, network: options.Network, fingerprint: options.Config.Fingerprint(),
		inspections: ownrequest.NewBudget(maxInspections, 0),
	}
	var err error
	if r.transports, err = newTransports(options.Config, options.Reloads); err != nil {
		return nil, err
	}
	r.transports.warn(r.logger)
	r.own = ownTiers(options.Config, r.transports)
	if r.rules, err = newRules(options.Config); err != nil {
		return nil, err
	}
	if r.discovery, err = r.newDiscovery(); err != nil {
		return nil, err
	}
	if r.discovery == nil && r.config.Perses.URL == "" && !slices.ContainsFunc(r.own, func(own ownTier) bool { return own.configured.url != "" }) {
		return nil, fmt.Errorf("hot.url, cold.url: without Perses and discovery, set at least one tier; service discovery is off: %s", r.noDiscovery)
	}
	if r.resolved, err = lru.New[perses.Reference, *Resolved](maxResolved); err != nil {
		return nil, err
	}
	r.pool = newTierPool(options.Config)
	r.pool.meters, r.pool.network, r.pool.onProbe, r.pool.onRequest = options.Meters, options.Network, r.logProbe, options.OnRequest
	r.pool.evidence = options.Evidence
	r.pool.onDrop = func() { r.generation.Add(1) }
	return r, nil
}

// Start probes the tiers of the configuration and watches their Services in the background,
// until ctx ends.
func (r *Resolver) Start(ctx context.Context) error {
	r.pool.start(ctx)
	r.startDiscovery(ctx)
	announceToken(r.logger, r.config.ServiceAccount.TokenPath, r.own, r.isDiscovered)
	r.running.Go(func() { r.maintain(ctx) })
	_, err := r.Default()
	return err
}

// Stop waits for all probes to end. Cancel the context of Start first.
func (r *Resolver) Stop() {
	r.running.Wait()
	if r.discovery != nil {
		r.discovery.Stop()
	}
	r.pool.stop()
}

// PersesTransports returns the transport for requests to Perses with the caller's credential,
// and the one with the gateway's own credential. The latter is nil if none is configured.
func (r *Resolver) PersesTransports() (callers, service http.RoundTripper) {
	return r.transports.perses, r.transports.persesService
}

// Default returns the default datasource, which has the tiers of the configuration. It returns
// ErrNotRunning before Start.
func (r *Resolver) Default() (*Resolved, error) {
	return r.current(perses.Reference{}, "", r.buildDefault)
}

// Saved returns a saved datasource. It returns an Error that names the datasource:
//   - 403 if it may not use the gateway's own tiers, or the host or Service that it names,
//   - 501 if it names a Service and discovery is off,
//   - 503 if too many tiers are in use.
func (r *Resolver) Saved(saved *perses.Datasource) (*Resolved, error) {
	return r.current(saved.Reference, saved.Generation, func() (*Resolved, error) { return r.buildSaved(saved) })
}

// current returns a datasource, and builds it if its spec, a Service or the pool has changed. The
// zero reference stands for the default datasource.
func (r *Resolver) current(reference perses.Reference, specGeneration string, build func() (*Resolved, error)) (*Resolved, error) {
	generation := r.generation.Load()
	if resolved, ok := r.resolved.Get(reference); ok && resolved.generation == generation && resolved.specGeneration == specGeneration {
		resolved.touch(time.Now())
		return resolved, nil
	}
	resolved, err := build()
	if err != nil {
		return nil, err
	}
	resolved.generation, resolved.specGeneration = generation, specGeneration
	r.resolved.Add(reference, resolved)
	return resolved, nil
}

// WaitDefault waits for the first lookup of its Services, and returns Default: see wait.
func (r *Resolver) WaitDefault(ctx context.Context) (*Resolved, error) { return r.wait(ctx, r.Default) }

// WaitSaved waits for the first lookup of its Services, and returns Saved: see wait.
func (r *Resolver) WaitSaved(ctx context.Context, saved *perses.Datasource) (*Resolved, error) {
	return r.wait(ctx, func() (*Resolved, error) { return r.Saved(saved) })
}

// wait returns the result of resolve. Before that, it waits for the first lookup of the
// datasource's Services, for at most a quarter of the query timeout.
func (r *Resolver) wait(ctx context.Context, resolve func() (*Resolved, error)) (*Resolved, error) {
	resolved, err := resolve()
	if err != nil || len(resolved.pending) == 0 {
		return resolved, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.config.Query.Timeout)/4)
	defer cancel()
	for _, at := range resolved.pending {
		r.waitFor(ctx, at)
	}
	return resolve()
}

// Settle waits for the discovery, the first probe and the first catalog of the tiers of the
// configuration, or until ctx ends.
func (r *Resolver) Settle(ctx context.Context) {
	resolved, err := r.WaitDefault(ctx)
	if err != nil {
		return
	}
	for _, replica := range resolved.Datasource.Hot {
		replica.Hot.Wait(ctx)
		if replica.Catalog != nil {
			replica.Catalog.Wait(ctx)
		}
	}
	if resolved.Cold != nil {
		resolved.Cold.Wait(ctx)
	}
	if resolved.Catalog != nil {
		resolved.Catalog.Wait(ctx)
	}
}

// maintain keeps the tiers and Services of datasources in use until ctx ends, and drops other
// tiers.
func (r *Resolver) maintain(ctx context.Context) {
	ticker := time.NewTicker(keepAliveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			_, _ = r.Default() // It fails only while the gateway stops.
			if r.discovery != nil {
				r.keepServicesAlive(now)
				r.discovery.DropUnused(now.Add(-idleTimeout))
			}
			r.pool.dropUnused(now.Add(-idleTimeout))
		}
	}
}

// waitFor waits for the first lookup of the Services of a location, or until ctx ends.
func (r *Resolver) waitFor(ctx context.Context, at location) {
	if at.name == tier.Hot {
		r.discovery.WaitAll(ctx, at.reference)
	} else {
		r.discovery.Wait(ctx, at.reference)
	}
}

// keepServicesAlive marks the gateway's own Services and those of datasources in use as used, so
// that discovery continues to watch them.
func (r *Resolver) keepServicesAlive(now time.Time) {
	for _, own := range r.own {
		r.locationsOf(own)
	}
	for _, resolved := range r.resolved.Values() {
		if resolved.usedSince(now.Add(-2 * keepAliveInterval)) {
			for _, reference := range resolved.references {
				r.discovery.Resolve(reference)
			}
		}
	}
}

// logProbe logs a change in the availability of one of the gateway's own tiers.
func (r *Resolver) logProbe(probed *catalog.Tier, status catalog.Status) {
	if !status.Since.Equal(status.CheckedAt) {
		return
	}
	entry := r.logger.WithField("tier", string(probed.Name()))
	if probed.Replica() != "" {
		entry = entry.WithField("replica", probed.Replica())
	}
	if status.Available {
		entry.Info("the tier is available")
		return
	}
	cause := status.Error
	if failed := status.CredentialError(); failed != nil {
		cause = failed.Error()
	}
	entry.WithField("cause", cause).Warn("the tier is unavailable")
}
