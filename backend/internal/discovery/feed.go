package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// firstPause and longestPause are the pauses between two tries of a request
	// that fails: short, because it is a matter of a few requests, and what is
	// known grows old meanwhile.
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Second
)

// feedOptions say what a feed holds.
type feedOptions struct {
	client     *rest.RESTClient
	parameters runtime.ParameterCodec
	// group and resource are names of the Kubernetes API, such as
	// discovery.k8s.io and endpointslices.
	group, resource string
	// object and list are of the types that are read.
	object runtime.Object
	list   func() runtime.Object
	// namespace, field and label select the objects.
	namespace    string
	field, label string
	// name is the only object that is read, or empty.
	name string
	// onChange is called when something has changed. It must not block.
	onChange func()
}

// feed holds the objects of one kind that a selector finds, kept up to date by
// an informer.
type feed struct {
	feedOptions
	informer cache.SharedIndexInformer

	mutex    sync.Mutex
	problems map[string]error // by verb: why requests fail at present
	since    time.Time        // since when there is a problem
}

func newFeed(options feedOptions) *feed {
	f := &feed{feedOptions: options, problems: map[string]error{}}
	f.informer = cache.NewSharedIndexInformer(f, options.object, 0, cache.Indexers{})
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.onChange() },
		UpdateFunc: func(any, any) { f.onChange() },
		DeleteFunc: func(any) { f.onChange() },
	}
	// It fails for an informer that was stopped.
	_, _ = f.informer.AddEventHandler(changed)
	return f
}

// run fills the feed until ctx ends.
func (f *feed) run(ctx context.Context) {
	go func() {
		select {
		case <-f.informer.HasSyncedChecker().Done():
			f.onChange() // An empty list changes something too: now it is known.
		case <-ctx.Done():
		}
	}()
	f.informer.RunWithContext(ctx)
}

// synced tells whether the objects have been read once.
func (f *feed) synced() bool { return f.informer.HasSynced() }

// problem says why what the feed holds may be out of date, and since when;
// empty when it is not.
func (f *feed) problem() (forbidden bool, text string, since time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	// What is not allowed is said first: it does not pass by itself.
	for _, verb := range []string{"list", "watch"} {
		if err := f.problems[verb]; apierrors.IsForbidden(err) {
			return true, f.missingRule(verb), f.since
		}
	}
	for _, verb := range []string{"list", "watch"} {
		if err := f.problems[verb]; err != nil {
			return false, describe(err), f.since
		}
	}
	return false, "", time.Time{}
}

// missingRule names the rule that the role of the gateway lacks.
func (f *feed) missingRule(verb string) string {
	names := ""
	if f.name != "" {
		names = fmt.Sprintf(", resourceNames: [%s]", f.name)
	}
	return fmt.Sprintf("the gateway may not %s %s in namespace %s: its Role there needs the rule {apiGroups: [%q], resources: [%s], verbs: [list, watch]%s}",
		verb, f.resource, f.namespace, f.group, f.resource, names)
}

// describe says why a request failed, without the address of the API server.
func describe(err error) string {
	if apierrors.IsUnauthorized(err) {
		return "the Kubernetes API does not accept the gateway's credentials"
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return fmt.Sprintf("the Kubernetes API answers with %q", status.Status().Reason)
	}
	return "the Kubernetes API cannot be reached"
}

// ListWithContext implements cache.ListerWatcher.
func (f *feed) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	var list runtime.Object
	err := f.try(ctx, "list", func() error {
		list = f.list()
		return f.request(options).Do(ctx).Into(list)
	})
	return list, err
}

// WatchWithContext implements cache.ListerWatcher.
func (f *feed) WatchWithContext(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	var events apiwatch.Interface
	err := f.try(ctx, "watch", func() (err error) {
		options.Watch = true
		events, err = f.request(options).Watch(ctx)
		return err
	})
	return events, err
}

// List implements cache.ListerWatcher, and is not called.
func (f *feed) List(options metav1.ListOptions) (runtime.Object, error) {
	return f.ListWithContext(context.Background(), options)
}

// Watch implements cache.ListerWatcher, and is not called.
func (f *feed) Watch(options metav1.ListOptions) (apiwatch.Interface, error) {
	return f.WatchWithContext(context.Background(), options)
}

// IsWatchListSemanticsUnSupported keeps the informer to a list and a watch
// after it: for a handful of objects a streamed list saves nothing, and which
// verbs a role needs would depend on the version of the server.
func (f *feed) IsWatchListSemanticsUnSupported() bool { return true }

func (f *feed) request(options metav1.ListOptions) *rest.Request {
	options.FieldSelector, options.LabelSelector = f.field, f.label
	return f.client.Get().Namespace(f.namespace).Resource(f.resource).VersionedParams(&options, f.parameters)
}

// try repeats a request until it succeeds or ctx ends, and notes how it fares.
// Errors that the informer answers with a fresh list are returned to it.
func (f *feed) try(ctx context.Context, verb string, request func() error) error {
	pause := firstPause
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
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		}
	}
}

// note keeps how the last request with a verb ended.
func (f *feed) note(verb string, err error) {
	f.mutex.Lock()
	previous := f.problems[verb]
	f.problems[verb] = err
	failing := slices.ContainsFunc([]string{"list", "watch"}, func(verb string) bool { return f.problems[verb] != nil })
	switch {
	case !failing:
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = time.Now()
	}
	f.mutex.Unlock()
	if text(previous) != text(err) {
		f.onChange()
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	// The port that a connection came from is another one each time.
	line, _, _ := strings.Cut(describe(err)+fmt.Sprint(apierrors.IsForbidden(err)), "\n")
	return line
}
