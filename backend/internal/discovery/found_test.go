package discovery

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestChooseAll_LeavesOutWhatCannotBeUsed(t *testing.T) {
	selecting := Reference{Namespace: "monitoring", Selector: "app=prometheus", Port: "web", Scheme: "https"}
	web := corev1.ServicePort{Name: "web", Port: 9090}
	named := func(name string, change func(*corev1.Service)) *corev1.Service {
		return service(func(s *corev1.Service) {
			if s.Name = name; change != nil {
				change(s)
			}
		}, web)
	}
	headless := named("headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	deleted := named("deleted", func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{} })
	found := func(names ...string) (list []Reference) {
		for _, name := range names {
			list = append(list, Reference{Namespace: "monitoring", Name: name, Port: "web", Scheme: "https"})
		}
		return list
	}
	for name, test := range map[string]struct {
		services []*corev1.Service
		found    []Reference
		state    State
		message  string
	}{
		"none":          {state: StateAbsent, message: "no Service in namespace monitoring matches app=prometheus"},
		"several":       {services: []*corev1.Service{named("a", nil), named("b", nil)}, found: found("a", "b"), state: StateFound},
		"headless":      {[]*corev1.Service{named("a", nil), headless}, found("a"), StateFound, "the selector app=prometheus matches Services that tierproxy does not use: the Service monitoring/headless is headless, and its namespace has another one that matches"},
		"headless only": {services: []*corev1.Service{headless}, found: found("headless"), state: StateFound},
		"deleted":       {[]*corev1.Service{deleted, named("e", nil)}, found("e"), StateFound, "the selector app=prometheus matches Services that tierproxy does not use: the Service monitoring/deleted is being deleted"},
		"another port, and ExternalName": {
			[]*corev1.Service{named("a", nil), named("b", func(s *corev1.Service) { s.Spec.Ports[0].Name = "x" }), named("c", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName })},
			found("a"), StateFound,
			"the selector app=prometheus matches Services that tierproxy does not use: the Service monitoring/b has no port web: it has x 9090; the Service monitoring/c is of type ExternalName, which is not supported: configure the URL instead",
		},
		"none of use": {[]*corev1.Service{deleted}, nil, StateUnusable, "the selector app=prometheus matches Services that tierproxy does not use: the Service monitoring/deleted is being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			got, state := chooseAll(selecting, test.services)
			require.Equal(t, test.found, got)
			require.Equal(t, &Service{State: test.state, Namespace: "monitoring", Message: test.message}, state)
		})
	}
}

func TestChooseAll_IsBounded(t *testing.T) {
	var services []*corev1.Service
	for i := range MaxFound + 50 {
		services = append(services, service(func(s *corev1.Service) {
			s.Name = fmt.Sprintf("prometheus-%03d", i)
			if i < 20 {
				s.Spec.ClusterIP = corev1.ClusterIPNone
			}
		}, corev1.ServicePort{Name: "web", Port: 9090}))
	}
	found, state := chooseAll(Reference{AllNamespaces: true, Selector: "app"}, services)
	require.Len(t, found, MaxFound)
	require.Equal(t, "prometheus-020", found[0].Name)
	require.Equal(t, StateFound, state.State)
	require.Contains(t, state.Message, "the selector app matches 230 Services that can be used: tierproxy uses the first 200 by namespace and name; the selector app matches Services that tierproxy does not use: ")
	require.Contains(t, state.Message, "monitoring/prometheus-004 is headless, and its namespace has another one that matches; …")
	require.Less(t, len(state.Message), 1000)
}

func TestResolveAll_WithoutASelector(t *testing.T) {
	d := &Discovery{watches: newWatches()}
	named := Reference{Namespace: "monitoring", Name: "prometheus", Port: "web"}
	found := d.ResolveAll(named)
	require.Equal(t, Found{State: StateFound, Services: []Reference{named}}, found)
	require.True(t, found.Contains("monitoring", "prometheus"))
	require.False(t, found.Contains("elsewhere", "prometheus"))
}

// What a selector finds stays in use as long as somebody asks for it.
func TestResolveAll_KeepsTheWatchesOfWhatIsFound(t *testing.T) {
	var ended []string
	d := watching(3, 0, &ended)
	selecting := Reference{Selector: "app", AllNamespaces: true}
	require.Equal(t, Found{State: StateUnknown, Message: "the first lookup of the Service */{app} has not finished yet"}, d.ResolveAll(selecting))
	w := newWatch(watched{selecting, true}, nil, nil)
	named := []Reference{{Namespace: "monitoring", Name: "prometheus-0"}, {Namespace: "monitoring", Name: "prometheus-2"}}
	w.state.Store(&snapshot{Service{State: StateFound}, named})
	d.watches.Add(w.watched, w)
	require.Equal(t, Found{State: StateFound, Services: named}, d.ResolveAll(selecting))
	unused, _ := d.watches.Peek(watched{reference: Reference{Namespace: "monitoring", Name: "prometheus-1"}})
	_, oldest, _ := d.watches.GetOldest()
	require.Same(t, unused, oldest)
	require.Equal(t, StateUnknown, d.Resolve(selecting).State, "exactly one Service is another question")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.WaitAll(ctx, selecting) // It does not outlast ctx.
}

func TestReference_AllNamespaces(t *testing.T) {
	reference := Reference{Namespace: "monitoring", Selector: "app=prometheus", AllNamespaces: true}
	require.Equal(t, "*/{app=prometheus}", reference.String())
	_, none := choose(reference, nil)
	require.Equal(t, "no Service in any namespace matches app=prometheus", none.Message)
	elsewhere := service(func(s *corev1.Service) { s.Namespace = "elsewhere" })
	_, several := choose(reference, []*corev1.Service{service(nil), elsewhere})
	require.Equal(t, "the selector app=prometheus matches 2 Services: make it match one of elsewhere/prometheus, monitoring/prometheus", several.Message)
	reference.Selector, reference.Name = "", "prometheus"
	require.Equal(t, "monitoring/prometheus", reference.String(), "a name needs a namespace")

	f := &feed{feedOptions: feedOptions{resource: "services"}, problems: map[string]error{"list": errForbidden}}
	forbidden, text, _ := f.problem()
	require.True(t, forbidden)
	require.Equal(t, `the gateway may not list services in all namespaces: its ClusterRole needs the rule {apiGroups: [""], resources: [services], verbs: [list, watch]}`, text)
}
