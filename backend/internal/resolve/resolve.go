// Package resolve turns a saved datasource into something that can be queried:
// its tiers, their replicas, its policy and its cache scope. It decides what a
// datasource may name, and whose credentials go where.
//
// A Resolved is made once per generation of the spec and of discovery, and is
// not changed after that. Requests only read it.
package resolve

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
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
	// maxResolved bounds the datasources that are kept resolved.
	maxResolved = 4096
	// keepAliveInterval is how often the Services of datasources in use are
	// marked as used.
	keepAliveInterval = time.Minute
)

// Options are what a Resolver is made of.
type Options struct {
	Config config.Config
	Logger logrus.FieldLogger
	// Meters count the calls to each tier.
	Meters map[tier.Name]*admission.Meters
	// Reloads counts the changed files of credentials.
	Reloads *upstream.Reloads
	// Network replaces the network in tests; nil for the real one.
	Network *upstream.Network
}

// Resolver resolves datasources, and owns the tiers that are in use. It is safe
// for concurrent use.
type Resolver struct {
	config      config.Config
	logger      logrus.FieldLogger
	fingerprint string // of the configuration
	transports  *transports
	rules       *rules
	pool        *tierPool
	network     *upstream.Network

	// discovery is nil where there is none; noDiscovery says why.
	discovery   *discovery.Discovery
	noDiscovery string

	// inspections bounds the servers that are inspected at a time.
	inspections *catalog.Probing

	// generation changes with every change of a Service, and when a tier is
	// dropped: a Resolved of an earlier generation is made anew.
	generation atomic.Uint64
	own        atomic.Pointer[Resolved]
	saved      *lru.Cache[perses.Reference, *Resolved]
	running    sync.WaitGroup
}

// New returns a Resolver that does not probe yet. It returns an error when a
// file that the configuration names cannot be read, and when there is no way to
// find a tier at all.
func New(options Options) (*Resolver, error) {
	r := &Resolver{
		config: options.Config, logger: options.Logger, network: options.Network, fingerprint: options.Config.Fingerprint(),
		inspections: catalog.NewProbing(inspectionsAtOnce, 0),
	}
	var err error
	if r.transports, err = newTransports(options.Config, options.Reloads); err != nil {
		return nil, err
	}
	r.transports.warn(r.logger)
	if r.rules, err = newRules(options.Config); err != nil {
		return nil, err
	}
	if r.discovery, err = r.newDiscovery(); err != nil {
		return nil, err
	}
	if r.discovery == nil && r.config.Perses.URL == "" && r.config.Hot.URL == "" && r.config.Cold.URL == "" {
		return nil, fmt.Errorf("hot.url, cold.url: without Perses and discovery, set at least one tier, and Services are not discovered: %s", r.noDiscovery)
	}
	if r.saved, err = lru.New[perses.Reference, *Resolved](maxResolved); err != nil {
		return nil, err
	}
	r.pool = newTierPool(options.Config)
	r.pool.meters, r.pool.network, r.pool.onProbe = options.Meters, options.Network, r.logProbe
	r.pool.keepOwn = func() { _, _ = r.Own() } // It fails only while the gateway stops.
	r.pool.ownHotURL = func() string { return r.ownLocation(tier.Hot).url }
	r.pool.onDrop = func() { r.generation.Add(1) }
	return r, nil
}

// Start begins to probe the tiers of the configuration and to watch their
// Services in the background, until ctx ends.
func (r *Resolver) Start(ctx context.Context) error {
	r.pool.start(ctx)
	r.startDiscovery(ctx)
	r.transports.announce(r.logger, r.config, r.isDiscovered)
	r.running.Go(func() { r.keepServicesAlive(ctx) })
	_, err := r.Own()
	return err
}

// Stop waits until all probes have ended. The context of Start has to be
// cancelled before.
func (r *Resolver) Stop() {
	r.running.Wait()
	if r.discovery != nil {
		r.discovery.Stop()
	}
	r.pool.stop()
}

// PersesTransports returns what carries the requests to Perses of callers, and
// those with the gateway's own credential; the latter is nil where there is none.
func (r *Resolver) PersesTransports() (callers, service http.RoundTripper) {
	return r.transports.perses, r.transports.persesService
}

// Own returns the default datasource: the tiers of the configuration. It returns
// ErrNotRunning before Start.
func (r *Resolver) Own() (*Resolved, error) {
	generation := r.generation.Load()
	if found := r.own.Load(); found != nil && found.generation == generation {
		found.touch(time.Now())
		return found, nil
	}
	made, err := r.buildOwn()
	if err != nil {
		return nil, err
	}
	made.generation = generation
	r.own.Store(made)
	return made, nil
}

// Saved returns a saved datasource. It returns an Error that names the
// datasource: 403 when it may not use the gateway's own tiers or names a host
// or Service that the operator does not allow, 501 when it names a Service and
// there is no discovery, 503 when there are too many tiers.
func (r *Resolver) Saved(saved *perses.Datasource) (*Resolved, error) {
	generation := r.generation.Load()
	if found, is := r.saved.Get(saved.Reference); is && found.generation == generation && found.specGeneration == saved.Generation {
		found.touch(time.Now())
		return found, nil
	}
	made, err := r.buildSaved(saved)
	if err != nil {
		return nil, err
	}
	made.generation, made.specGeneration = generation, saved.Generation
	r.saved.Add(saved.Reference, made)
	return made, nil
}

// WaitOwn returns Own, and waits for Services that are looked up for the first
// time: see wait.
func (r *Resolver) WaitOwn(ctx context.Context) (*Resolved, error) { return r.wait(ctx, r.Own) }

// WaitSaved returns Saved, and waits for Services that are looked up for the
// first time: see wait.
func (r *Resolver) WaitSaved(ctx context.Context, saved *perses.Datasource) (*Resolved, error) {
	return r.wait(ctx, func() (*Resolved, error) { return r.Saved(saved) })
}

// wait returns what of returns. Services that are looked up for the first time
// are waited for, for a quarter of the query timeout.
func (r *Resolver) wait(ctx context.Context, of func() (*Resolved, error)) (*Resolved, error) {
	found, err := of()
	if err != nil || len(found.pending) == 0 {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.config.Query.Timeout)/4)
	defer cancel()
	for _, reference := range found.pending {
		r.discovery.Wait(ctx, reference)
	}
	return of()
}

// Settle waits until the tiers of the configuration have been found and probed
// and it is known what they hold, or until ctx ends.
func (r *Resolver) Settle(ctx context.Context) {
	own, err := r.WaitOwn(ctx)
	if err != nil {
		return
	}
	for _, each := range []*catalog.Tier{own.Hot, own.Cold} {
		if each != nil {
			each.Wait(ctx)
		}
	}
	for _, each := range own.replicas {
		each.Hot.Wait(ctx)
	}
	if own.Pair != nil {
		own.Pair.Wait(ctx)
	}
}

// keepServicesAlive marks the Services of datasources that are in use as used,
// so that discovery goes on watching them.
func (r *Resolver) keepServicesAlive(ctx context.Context) {
	ticker := time.NewTicker(keepAliveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if r.discovery == nil {
				continue
			}
			for _, each := range append(r.saved.Values(), r.own.Load()) {
				if each != nil && each.usedSince(now.Add(-2*keepAliveInterval)) {
					for _, reference := range each.references {
						r.discovery.Resolve(reference)
					}
				}
			}
		}
	}
}

// logProbe logs a probe that changed the availability of one of the gateway's
// own tiers.
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
	entry.WithField("cause", status.Error).Warn("the tier is unavailable")
}
