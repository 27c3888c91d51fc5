package discovery

import (
	"cmp"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// watched is the key of a watch.
type watched struct {
	reference Reference
	// all is set to find all Services of a selector, instead of exactly one.
	all bool
}

// snapshot is the state of a watch. It is immutable.
type snapshot struct {
	Service
	found []Reference // the Services that a watch for all of a selector finds
}

// watch follows one Service and its EndpointSlices, or all Services of a selector.
type watch struct {
	watched
	api      *api
	onChange func(Reference, *Service)

	// lastUsed and cancel belong to Discovery.
	lastUsed time.Time
	cancel   context.CancelFunc

	state atomic.Pointer[snapshot]
	first chan struct{} // closed after the first lookup
	wake  chan struct{} // requests an update

	// Only run uses the fields below.
	services *feed
	slices   *feed // EndpointSlices of the Service sliced, or nil
	sliced   types.NamespacedName
	stop     context.CancelFunc
}

func newWatch(what watched, connected *api, onChange func(Reference, *Service)) *watch {
	w := &watch{
		watched: what, api: connected, onChange: onChange, lastUsed: time.Now(), cancel: func() {},
		first: make(chan struct{}), wake: make(chan struct{}, 1), stop: func() {},
	}
	w.state.Store(&snapshot{Service: *w.unknown("the first lookup of the Service " + w.reference.String() + " has not finished yet")})
	return w
}

// current returns the state of the Service.
func (w *watch) current() *Service { return &w.state.Load().Service }

// found returns the state of a selector.
func (w *watch) found() Found {
	state := w.state.Load()
	return Found{State: state.State, Message: state.Message, Stale: state.Stale, Services: state.found}
}

// unknown returns the state before the first lookup has finished.
func (w *watch) unknown(message string) *Service {
	return &Service{State: StateUnknown, Namespace: w.reference.namespace(), Name: w.reference.Name, Message: message}
}

// refuse sets why the Service is never looked up.
func (w *watch) refuse(message string) {
	state := w.unknown(message)
	state.Stale = true
	w.state.Store(&snapshot{Service: *state})
	close(w.first)
}

// wait blocks until the first lookup succeeds or fails, or until ctx ends.
func (w *watch) wait(ctx context.Context) {
	select {
	case <-w.first:
	case <-ctx.Done():
	}
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	options := feedOptions{
		client: w.api.core, resource: "services", object: &corev1.Service{}, namespace: w.reference.namespace(), onChange: w.look,
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
	w.follow(ctx, types.NamespacedName{})
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
	service, found := w.lookUp(ctx)
	if service == nil {
		return
	}
	state := &snapshot{*service, found}
	if reflect.DeepEqual(state, w.state.Load()) {
		return
	}
	w.state.Store(state)
	w.onChange(w.reference, &state.Service)
	select {
	case <-w.first:
	default:
		close(w.first) // After onChange: who waits finds what it has changed.
	}
}

// lookUp returns the state according to the feeds, or nil before they are synced. found are the
// Services of a watch for all of a selector.
func (w *watch) lookUp(ctx context.Context) (state *Service, found []Reference) {
	forbidden, problem, since := w.services.problem()
	if !w.services.synced() {
		if problem == "" {
			return nil, nil
		}
		state = w.unknown(problem)
		if state.Stale = true; forbidden {
			state.State = StateForbidden
		}
		return state, nil
	}
	var service *corev1.Service
	if w.all {
		found, state = chooseAll(w.reference, objects[*corev1.Service](w.services))
	} else {
		service, state = choose(w.reference, objects[*corev1.Service](w.services))
	}
	if service == nil {
		w.follow(ctx, types.NamespacedName{})
	} else {
		w.follow(ctx, types.NamespacedName{Namespace: service.Namespace, Name: service.Name})
		slicesForbidden, slicesProblem, slicesSince := w.slices.problem()
		if !w.slices.synced() && slicesProblem == "" {
			return nil, nil
		}
		state = describeService(w.reference, service, objects[*discoveryv1.EndpointSlice](w.slices), w.slices.synced())
		if problem == "" || slicesForbidden {
			problem, since = slicesProblem, slicesSince
		}
		if slicesForbidden && !w.slices.synced() && state.Message == "" {
			state.Message = fmt.Sprintf("%s; until then, queries go to the Service, and any replica may answer", slicesProblem)
			return state, nil
		}
	}
	if problem != "" {
		state = state.outdated(problem, since)
	}
	return state, found
}

// follow watches the EndpointSlices of a Service instead of the previous one. A zero
// one ends the watch.
func (w *watch) follow(ctx context.Context, service types.NamespacedName) {
	if service == w.sliced {
		return
	}
	w.stop()
	w.slices, w.sliced, w.stop = nil, service, func() {}
	if service.Name == "" {
		return
	}
	followed := newFeed(feedOptions{
		client: w.api.discovery, group: "discovery.k8s.io", resource: "endpointslices", object: &discoveryv1.EndpointSlice{},
		namespace: service.Namespace, label: discoveryv1.LabelServiceName + "=" + service.Name, onChange: w.look,
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

// objects returns the objects of a feed, sorted by namespace and name.
func objects[T metav1.Object](f *feed) []T {
	var list []T
	for _, stored := range f.informer.GetStore().List() {
		if object, ok := stored.(T); ok {
			list = append(list, object)
		}
	}
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return list
}
