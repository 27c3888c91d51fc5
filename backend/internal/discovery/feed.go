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
	// minBackoff and maxBackoff bound the backoff of failing requests. They are short, because
	// discovery sends few requests and its state gets outdated.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// feedOptions select the objects of a feed.
type feedOptions struct {
	client     *rest.RESTClient
	parameters runtime.ParameterCodec
	// group and resource are names of the Kubernetes API, such as
	// discovery.k8s.io and endpointslices.
	group, resource string
	// object and list have the types of the objects and of their list.
	object runtime.Object
	list   func() runtime.Object
	// namespace, field and label select the objects.
	namespace    string
	field, label string
	// name is the name of the only object, or empty.
	name string
	// onChange is called after each change. It must not block.
	onChange func()
}

// feed holds the objects of one kind that match a selector. An informer keeps it up to date.
type feed struct {
	feedOptions
	informer cache.SharedIndexInformer

	mutex    sync.Mutex
	problems map[string]error // the current error of each verb
	since    time.Time        // start of the problem; zero without one
}

func newFeed(options feedOptions) *feed {
	f := &feed{feedOptions: options, problems: map[string]error{}}
	f.informer = cache.NewSharedIndexInformer(f, options.object, 0, cache.Indexers{})
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.onChange() },
		UpdateFunc: func(any, any) { f.onChange() },
		DeleteFunc: func(any) { f.onChange() },
	}
	// It fails only for an informer that was stopped.
	_, _ = f.informer.AddEventHandler(changed)
	return f
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

// problem returns why the feed may be outdated, and since when. text is empty without a problem.
func (f *feed) problem() (forbidden bool, text string, since time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	// A missing permission comes first, because it does not resolve itself.
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

// missingRule returns the error for a rule that the Role of the gateway lacks.
func (f *feed) missingRule(verb string) string {
	names := ""
	if f.name != "" {
		names = fmt.Sprintf(", resourceNames: [%s]", f.name)
	}
	return fmt.Sprintf("the gateway may not %s %s in namespace %s: its Role there needs the rule {apiGroups: [%q], resources: [%s], verbs: [list, watch]%s}",
		verb, f.resource, f.namespace, f.group, f.resource, names)
}

// describe returns why a request failed, without the address of the API server.
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

// List implements cache.ListerWatcher. The informer does not call it.
func (f *feed) List(options metav1.ListOptions) (runtime.Object, error) {
	return f.ListWithContext(context.Background(), options)
}

// Watch implements cache.ListerWatcher. The informer does not call it.
func (f *feed) Watch(options metav1.ListOptions) (apiwatch.Interface, error) {
	return f.WatchWithContext(context.Background(), options)
}

// IsWatchListSemanticsUnSupported makes the informer list first and watch then. A streamed list
// saves nothing for a few objects, and the required verbs would depend on the server's version.
func (f *feed) IsWatchListSemanticsUnSupported() bool { return true }

func (f *feed) request(options metav1.ListOptions) *rest.Request {
	options.FieldSelector, options.LabelSelector = f.field, f.label
	return f.client.Get().Namespace(f.namespace).Resource(f.resource).VersionedParams(&options, f.parameters)
}

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
	// The error may contain a source port, which changes each time.
	line, _, _ := strings.Cut(describe(err)+fmt.Sprint(apierrors.IsForbidden(err)), "\n")
	return line
}
