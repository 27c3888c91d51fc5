package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// minBackoff and maxBackoff bound the backoff of failing requests. They are short, because
	// discovery sends few requests and its state gets outdated.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// feedOptions select the objects of a feed.
type feedOptions struct {
	client *rest.RESTClient
	// group and resource are names of the Kubernetes API, such as
	// discovery.k8s.io and endpointslices.
	group, resource string
	// object has the type of the objects.
	object runtime.Object
	// namespace, name and label select the objects. An empty one selects all.
	namespace, name, label string
	// onChange is called after each change. It must not block.
	onChange func()
}

// feed holds the objects of one kind that match a selector. An informer keeps it up to date.
type feed struct {
	feedOptions
	*cache.ListWatch
	informer cache.SharedIndexInformer

	mutex    sync.Mutex
	problems map[string]error // the current error of each verb
	since    time.Time        // start of the problem; zero without one
}

func newFeed(options feedOptions) *feed {
	f := &feed{feedOptions: options, problems: map[string]error{}}
	f.ListWatch = cache.NewFilteredListWatchFromClient(f.client, f.resource, f.namespace, func(list *metav1.ListOptions) {
		if list.LabelSelector = f.label; f.name != "" {
			list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, f.name).String()
		}
	})
	f.informer = cache.NewSharedIndexInformer(f, options.object, 0, cache.Indexers{})
	// It fails only for an informer that has started.
	_ = f.informer.SetTransform(withoutUnused)
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.onChange() },
		UpdateFunc: func(any, any) { f.onChange() },
		DeleteFunc: func(any) { f.onChange() },
	}
	// It fails only for an informer that was stopped.
	_, _ = f.informer.AddEventHandler(changed)
	return f
}

// withoutUnused removes from an object most of what discovery does not read.
func withoutUnused(object any) (any, error) {
	switch object := object.(type) {
	case *corev1.Service:
		object.ManagedFields, object.Labels, object.Status = nil, nil, corev1.ServiceStatus{}
		delete(object.Annotations, corev1.LastAppliedConfigAnnotation)
	case *discoveryv1.EndpointSlice:
		object.ManagedFields, object.OwnerReferences, object.Annotations = nil, nil, nil
		for i := range object.Endpoints {
			endpoint := &object.Endpoints[i]
			endpoint.DeprecatedTopology, endpoint.NodeName, endpoint.Zone, endpoint.Hints = nil, nil, nil, nil
		}
	}
	return object, nil
}

// run fills the feed until ctx ends.
func (f *feed) run(ctx context.Context) {
	go func() {
		select {
		case <-f.informer.HasSyncedChecker().Done():
			f.onChange() // An empty list changes the state from unknown to absent.
		case <-ctx.Done():
		}
	}()
	f.informer.RunWithContext(ctx)
}

// synced reports whether the feed has read its objects once.
func (f *feed) synced() bool { return f.informer.HasSynced() }

// problem returns why the feed may be outdated, and since when. text is empty without a problem. A
// missing permission comes first, because it does not resolve itself.
func (f *feed) problem() (forbidden bool, text string, since time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, verb := range []string{"list", "watch"} {
		err := f.problems[verb]
		if apierrors.IsForbidden(err) {
			return true, f.describe(verb, err), f.since
		}
		text = cmp.Or(text, f.describe(verb, err))
	}
	return false, text, f.since
}

// missingRule returns the error for a rule that the Role or ClusterRole of the gateway lacks.
func (f *feed) missingRule(verb string) string {
	names := ""
	if f.name != "" {
		names = fmt.Sprintf(", resourceNames: [%s]", f.name)
	}
	place, role := "namespace "+f.namespace, "Role there or its ClusterRole"
	if f.namespace == "" {
		place, role = "all namespaces", "ClusterRole"
	}
	return fmt.Sprintf("the gateway may not %s %s in %s: its %s needs the rule {apiGroups: [%q], resources: [%s], verbs: [list, watch]%s}",
		verb, f.resource, place, role, f.group, f.resource, names)
}

// describe returns why a request with a verb failed, without the address of the API server. It returns
// an empty string for nil.
func (f *feed) describe(verb string, err error) string {
	status := apierrors.APIStatus(nil)
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return f.missingRule(verb)
	case apierrors.IsUnauthorized(err):
		return "the Kubernetes API does not accept the gateway's credentials"
	case errors.As(err, &status):
		return fmt.Sprintf("the Kubernetes API answers with %q", status.Status().Reason)
	}
	return "the Kubernetes API cannot be reached"
}

// ListWithContext implements cache.ListerWatcher. It repeats the request: see try.
func (f *feed) ListWithContext(ctx context.Context, options metav1.ListOptions) (list runtime.Object, err error) {
	err = f.try(ctx, "list", func() (err error) {
		list, err = f.ListWatch.ListWithContext(ctx, options)
		return err
	})
	return list, err
}

// WatchWithContext implements cache.ListerWatcher. It repeats the request: see try.
func (f *feed) WatchWithContext(ctx context.Context, options metav1.ListOptions) (events apiwatch.Interface, err error) {
	err = f.try(ctx, "watch", func() (err error) {
		events, err = f.ListWatch.WatchWithContext(ctx, options)
		return err
	})
	return events, err
}

// IsWatchListSemanticsUnSupported makes the informer list first and watch then. A streamed list
// saves nothing for a few objects, and the required verbs would depend on the server's version.
func (f *feed) IsWatchListSemanticsUnSupported() bool { return true }

// try repeats a request until it succeeds or ctx ends, and records its errors. It returns the
// errors after which the informer lists again.
func (f *feed) try(ctx context.Context, verb string, request func() error) error {
	backoff := minBackoff
	for {
		err := request()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
			return err
		}
		f.note(verb, err)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff):
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// note records the result of the last request with a verb.
func (f *feed) note(verb string, err error) {
	f.mutex.Lock()
	previous := f.problems[verb]
	f.problems[verb] = err
	if f.problems["list"] == nil && f.problems["watch"] == nil {
		f.since = time.Time{}
	} else if f.since.IsZero() {
		f.since = time.Now()
	}
	f.mutex.Unlock()
	if f.describe(verb, previous) != f.describe(verb, err) {
		f.onChange()
	}
}
