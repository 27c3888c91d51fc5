package discovery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// MaxFound is the maximum number of Services that one selector finds.
const MaxFound = 200

// Found is what a reference finds that may match several Services. It is immutable.
type Found struct {
	// State is StateFound if Services is not empty. Otherwise it says why there is no Service:
	// StateUnknown, StateAbsent, StateForbidden, or StateUnusable if the selector matches only
	// Services that cannot be used.
	State State
	// Message describes a problem, or is empty. It names the matching Services that are left out
	// and says why.
	Message string
	// Stale is set while the API server is unavailable. The other fields are then the last
	// known state, and Message says since when.
	Stale bool
	// Services are the Services by name, sorted by namespace and name, at most MaxFound. They
	// have the port and the scheme of the selecting reference.
	Services []Reference
}

// Contains reports whether the named Service is one of those found.
func (f Found) Contains(namespace, name string) bool {
	return slices.ContainsFunc(f.Services, func(service Reference) bool { return service.Namespace == namespace && service.Name == name })
}

// ResolveAll returns the Services that a selector finds. It starts to watch a new selector, whose
// state is unknown at first, and the Services that it finds: Resolve returns the state of each
// of them. OnChange is called with the selecting reference when Found changes, and with the
// reference of a Service when that Service changes.
//
// A reference without a selector is found as it is: Resolve says whether the Service exists.
// ResolveAll never blocks.
func (d *Discovery) ResolveAll(reference Reference) Found {
	if reference.Selector == "" {
		return Found{State: StateFound, Services: []Reference{reference}}
	}
	found := d.watch(watched{reference, true}).found()
	for _, service := range found.Services {
		d.Resolve(service)
	}
	return found
}

// WaitAll blocks until the first lookups of a selector and of the Services that it finds succeed
// or fail, or until ctx ends.
func (d *Discovery) WaitAll(ctx context.Context, reference Reference) {
	if reference.Selector != "" {
		d.watch(watched{reference, true}).wait(ctx)
	}
	for _, service := range d.ResolveAll(reference).Services {
		d.Wait(ctx, service)
	}
}

// chooseAll returns the Services to use by name, and the state of the selector without them.
func chooseAll(reference Reference, services []*corev1.Service) ([]Reference, *Service) {
	var (
		found   []Reference
		leftOut []string
		unnamed int // Services beyond MaxFound
	)
	hasAddress := map[string]bool{} // namespaces with a Service to use that is not headless
	for _, service := range services {
		if unfit(reference, service) == "" && service.Spec.ClusterIP != corev1.ClusterIPNone {
			hasAddress[service.Namespace] = true
		}
	}
	for _, service := range services {
		reason := unfit(reference, service)
		if reason == "" && service.Spec.ClusterIP == corev1.ClusterIPNone && hasAddress[service.Namespace] {
			// The operator of Prometheus makes one beside the Service of the chart.
			reason = fmt.Sprintf("the Service %s/%s is headless, and its namespace has another one that matches", service.Namespace, service.Name)
		}
		switch {
		case reason != "":
			leftOut = append(leftOut, reason)
		case len(found) == MaxFound:
			unnamed++
		default:
			found = append(found, Reference{Namespace: service.Namespace, Name: service.Name, Port: reference.Port, Scheme: reference.Scheme})
		}
	}
	if len(services) == 0 {
		return nil, absent(reference)
	}
	state := &Service{State: StateFound, Namespace: reference.namespace()}
	if len(found) == 0 {
		state.State = StateUnusable
	}
	var messages []string
	if unnamed > 0 {
		messages = append(messages, fmt.Sprintf("the selector %s matches %d Services that can be used: tierproxy uses the first %d by namespace and name", reference.Selector, MaxFound+unnamed, MaxFound))
	}
	if len(leftOut) > 0 {
		messages = append(messages, fmt.Sprintf("the selector %s matches Services that tierproxy does not use: %s", reference.Selector, firstOf(leftOut, "; ")))
	}
	state.Message = strings.Join(messages, "; ")
	return found, state
}

// unfit returns why a selector for several Services leaves a Service out, or an empty string.
func unfit(reference Reference, service *corev1.Service) string {
	name := service.Namespace + "/" + service.Name
	switch {
	case service.DeletionTimestamp != nil:
		return fmt.Sprintf("the Service %s is being deleted", name)
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return externalName(service)
	}
	if _, problem := choosePort(reference, service); problem != nil {
		return problem.Message
	}
	return ""
}

// firstOf joins the first maxNames elements of a list.
func firstOf(list []string, separator string) string {
	if len(list) > maxNames {
		return strings.Join(list[:maxNames], separator) + separator + "…"
	}
	return strings.Join(list, separator)
}
