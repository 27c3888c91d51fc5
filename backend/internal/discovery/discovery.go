// Package discovery finds tiers in a Kubernetes cluster by their Services and endpoints. It
// watches them, so that changes take effect at once. While the API server is unavailable, it
// returns the last known state.
package discovery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"k8s.io/klog/v2"
)

// maxWatches is the maximum number of watched Services and selectors. It leaves room for
// MaxFound Services of a selector beside those that datasources name.
const maxWatches = 512

// inUse is how long a watch counts as in use after its last use. A watch in use does not end for
// another one: its first lookup would be repeated with each use.
const inUse = 5 * time.Minute

// Options are the options of New.
type Options struct {
	// Kubeconfig is the path of a kubeconfig file, for development. Empty: the
	// cluster that this process runs in.
	Kubeconfig string
	// OnChange is called with each new state of a Service. After a change of what ResolveAll
	// returns, it is called with the selecting reference and a Service that has only the
	// State, Message, Stale and Namespace of it. Calls do not overlap. It must not block.
	OnChange func(Reference, *Service)
}

// Discovery watches Services. It is safe for concurrent use.
type Discovery struct {
	options Options
	api     *api

	notify sync.Mutex // held while OnChange is called

	mutex   sync.Mutex
	context context.Context //nolint:containedctx // The lifetime of the watches: from Start to Stop.
	watches *simplelru.LRU[watched, *watch]
	running sync.WaitGroup
}

// New returns a Discovery that does not watch anything yet. It returns ErrNoCluster outside of a
// cluster without a kubeconfig, and another error if it cannot read the credentials for the
// cluster.
func New(options Options) (*Discovery, error) {
	connected, err := connect(options.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return &Discovery{options: options, api: connected, watches: newWatches()}, nil
}

// newWatches returns an empty set of watches, which ends a watch when it drops it.
func newWatches() *simplelru.LRU[watched, *watch] {
	// It fails only for a size below one.
	watches, _ := simplelru.NewLRU(maxWatches, func(_ watched, dropped *watch) { dropped.cancel() })
	return watches
}

// Start enables watches until ctx ends. It does not block.
func (d *Discovery) Start(ctx context.Context) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	// Discard the library's log of retries: Service.Message reports failures.
	d.context = klog.NewContext(ctx, logr.Discard())
}

// Stop waits for all watches to end. Cancel the context of Start first.
func (d *Discovery) Stop() { d.running.Wait() }

// Resolve returns the state of a Service. It starts to watch a new Service, whose state is
// unknown at first, unless the maximum number of watches is in use. Resolve never blocks and never
// returns nil.
func (d *Discovery) Resolve(reference Reference) *Service {
	return d.watch(watched{reference: reference}).current()
}

// Wait blocks until the first lookup of a Service succeeds or fails, or until ctx ends.
func (d *Discovery) Wait(ctx context.Context, reference Reference) {
	d.watch(watched{reference: reference}).wait(ctx)
}

func (d *Discovery) watch(what watched) *watch {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if existing, ok := d.watches.Get(what); ok {
		existing.lastUsed = time.Now()
		return existing
	}
	added := newWatch(what, d.api, d.changed)
	if d.context == nil || d.context.Err() != nil {
		return added
	}
	if d.isFull() {
		added.refuse(fmt.Sprintf("tierproxy watches %d Services, the most that it can, and all of them are in use", maxWatches))
		return added
	}
	ctx, cancel := context.WithCancel(d.context)
	added.cancel = cancel
	d.watches.Add(what, added)
	d.running.Go(func() { added.run(ctx) })
	return added
}

// isFull reports whether the maximum number of watches is in use.
func (d *Discovery) isFull() bool {
	_, oldest, ok := d.watches.GetOldest()
	return ok && d.watches.Len() >= maxWatches && time.Since(oldest.lastUsed) < inUse
}

func (d *Discovery) changed(reference Reference, service *Service) {
	d.notify.Lock()
	defer d.notify.Unlock()
	d.options.OnChange(reference, service)
}

// DropUnused ends the watches whose last use is before a time.
func (d *Discovery) DropUnused(before time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for {
		_, oldest, ok := d.watches.GetOldest()
		if !ok || !oldest.lastUsed.Before(before) {
			return
		}
		d.watches.RemoveOldest()
	}
}
