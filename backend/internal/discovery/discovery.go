// Package discovery finds the tiers in a Kubernetes cluster: Services and what
// is behind them. It follows them with watches, so that a tier that appears,
// moves or vanishes is known within a moment, and remembers the last state
// while the API server is away.
package discovery

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/go-logr/logr"
)

const (
	// unusedFor is how long a Service that a datasource named is watched after
	// it was asked for last.
	unusedFor = 10 * time.Minute
	// watchLimit bounds the Services that are watched at a time.
	watchLimit = 256
)

// Options say which cluster is watched.
type Options struct {
	// Kubeconfig is the path of a kubeconfig file, for development. Empty: the
	// cluster that this process runs in.
	Kubeconfig string
	// OnChange is called with each new state of a Service, one call at a time,
	// if not nil. It must not block.
	OnChange func(Reference, *Service)
}

// Discovery watches Services. It is safe for concurrent use.
type Discovery struct {
	options Options
	api     *api

	notify sync.Mutex // held while OnChange is called

	mutex   sync.Mutex
	context context.Context //nolint:containedctx // The lifetime of the watches: from Start to Stop.
	watches map[Reference]*watch
	running sync.WaitGroup
}

// New returns a Discovery that watches nothing yet. It returns ErrNoCluster
// when this process does not run in a cluster and no kubeconfig is named, and
// another error when the credentials for the cluster cannot be read.
func New(options Options) (*Discovery, error) {
	connected, err := connect(options.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return &Discovery{options: options, api: connected, watches: make(map[Reference]*watch)}, nil
}

// Start lets Services be watched until ctx ends. It does not wait for anything.
func (d *Discovery) Start(ctx context.Context) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	// What the library logs about its retries is said in our own words.
	d.context = klog.NewContext(ctx, logr.Discard())
	d.running.Go(func() {
		ticker := time.NewTicker(unusedFor / 10)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				d.dropUnused(now.Add(-unusedFor))
			}
		}
	})
}

// Stop waits for all watches. The context of Start has to be cancelled before.
func (d *Discovery) Stop() { d.running.Wait() }

// Resolve returns what is known of a Service, and starts to watch it if nobody
// has asked for it before: then that is nothing yet. It never blocks and never
// returns nil.
func (d *Discovery) Resolve(reference Reference) *Service { return d.watch(reference).current() }

// Wait blocks until something is known of a Service, be it that it cannot be
// known, or until ctx ends.
func (d *Discovery) Wait(ctx context.Context, reference Reference) {
	select {
	case <-d.watch(reference).first:
	case <-ctx.Done():
	}
}

func (d *Discovery) watch(reference Reference) *watch {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if found, ok := d.watches[reference]; ok {
		found.lastUsed = time.Now()
		return found
	}
	added := newWatch(reference, d.api, d.changed)
	if d.context == nil || d.context.Err() != nil {
		return added
	}
	d.makeRoom()
	d.watches[reference] = added
	ctx, cancel := context.WithCancel(d.context)
	added.cancel = cancel
	d.running.Go(func() { added.run(ctx) })
	return added
}

func (d *Discovery) changed(reference Reference, service *Service) {
	if d.options.OnChange == nil {
		return
	}
	d.notify.Lock()
	defer d.notify.Unlock()
	d.options.OnChange(reference, service)
}

// makeRoom ends the watch that was not used for the longest time when there
// are too many. The mutex is held.
func (d *Discovery) makeRoom() {
	if len(d.watches) < watchLimit {
		return
	}
	var oldest *watch
	for _, candidate := range d.watches {
		if oldest == nil || candidate.lastUsed.Before(oldest.lastUsed) {
			oldest = candidate
		}
	}
	d.drop(oldest)
}

func (d *Discovery) dropUnused(before time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, candidate := range d.watches {
		if candidate.lastUsed.Before(before) {
			d.drop(candidate)
		}
	}
}

func (d *Discovery) drop(dropped *watch) {
	dropped.cancel()
	delete(d.watches, dropped.reference)
}
