package discovery

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// watch follows one Service and its EndpointSlices.
type watch struct {
	reference Reference
	api       *api
	onChange  func(Reference, *Service)

	// lastUsed and cancel belong to Discovery.
	lastUsed time.Time
	cancel   context.CancelFunc

	service atomic.Pointer[Service]
	first   chan struct{} // closed after the first lookup
	wake    chan struct{} // requests an update

	// Only run uses the fields below.
	services *feed
	slices   *feed  // EndpointSlices of the Service sliced, or nil
	sliced   string // name of the Service that slices is for
	stop     context.CancelFunc
}

func newWatch(reference Reference, connected *api, onChange func(Reference, *Service)) *watch {
	w := &watch{
		reference: reference, api: connected, onChange: onChange, lastUsed: time.Now(), cancel: func() {},
		first: make(chan struct{}), wake: make(chan struct{}, 1), stop: func() {},
	}
	w.service.Store(&Service{State: StateUnknown, Namespace: reference.Namespace, Name: reference.Name, Message: "the first lookup of the Service " + reference.String() + " has not finished yet"})
	return w
}

func (w *watch) current() *Service { return w.service.Load() }

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	options := feedOptions{
		client: w.api.core, resource: "services", object: &corev1.Service{}, namespace: w.reference.Namespace, onChange: w.look,
	}
	if options.label = w.reference.Selector; options.label == "" {
		options.name = w.reference.Name
	}
	w.services = newFeed(options)
	var running sync.WaitGroup
	running.Go(func() { w.services.run(ctx) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-w.wake:
			w.update(ctx)
		}
	}
	w.follow(ctx, "")
	running.Wait()
}

// look requests an update.
func (w *watch) look() {
	select {
	case w.wake <- struct{}{}:
	default: // An update is already requested.
	}
}

// update computes the state from the feeds, and calls onChange if it has changed.
func (w *watch) update(ctx context.Context) {
	state := w.state(ctx)
	if state == nil || reflect.DeepEqual(state, w.current()) {
		return
	}
	w.service.Store(state)
	w.onChange(w.reference, state)
	select {
	case <-w.first:
	default:
		close(w.first) // After onChange: who waits finds what it has changed.
	}
}

// state returns the state according to the feeds, or nil before they are synced.
func (w *watch) state(ctx context.Context) *Service {
	forbidden, problem, since := w.services.problem()
	if !w.services.synced() {
		if problem == "" {
			return nil
		}
		state := &Service{State: StateUnknown, Namespace: w.reference.Namespace, Name: w.reference.Name, Message: problem, Stale: true}
		if forbidden {
			state.State = StateForbidden
		}
		return state
	}
	service, state := choose(w.reference, objects[*corev1.Service](w.services))
	if service == nil {
		w.follow(ctx, "")
	} else {
		w.follow(ctx, service.Name)
		slicesForbidden, slicesProblem, slicesSince := w.slices.problem()
		if !w.slices.synced() && slicesProblem == "" {
			return nil
		}
		state = describeService(w.reference, service, objects[*discoveryv1.EndpointSlice](w.slices), w.slices.synced())
		if problem == "" || slicesForbidden {
			problem, since = slicesProblem, slicesSince
		}
		if slicesForbidden && !w.slices.synced() && state.Message == "" {
			state.Message = fmt.Sprintf("%s; until then, queries go to the Service, and any replica may answer", slicesProblem)
			return state
		}
	}
	if problem != "" {
		return state.outdated(problem, since)
	}
	return state
}

// follow watches the EndpointSlices of the named Service instead of the previous one. An empty
// name ends the watch.
func (w *watch) follow(ctx context.Context, name string) {
	if name == w.sliced {
		return
	}
	w.stop()
	w.slices, w.sliced, w.stop = nil, name, func() {}
	if name == "" {
		return
	}
	followed := newFeed(feedOptions{
		client: w.api.discovery, group: "discovery.k8s.io", resource: "endpointslices", object: &discoveryv1.EndpointSlice{},
		namespace: w.reference.Namespace, label: discoveryv1.LabelServiceName + "=" + name, onChange: w.look,
	})
	w.slices = followed
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { followed.run(ctx) })
	w.stop = func() {
		cancel()
		running.Wait()
	}
}

// objects returns the objects of a feed, sorted by name.
func objects[T interface{ GetName() string }](f *feed) []T {
	var list []T
	for _, stored := range f.informer.GetStore().List() {
		if object, ok := stored.(T); ok {
			list = append(list, object)
		}
	}
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(a.GetName(), b.GetName()) })
	return list
}
