package discovery

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pointer[T any](value T) *T { return &value }

func service(change func(*corev1.Service), ports ...corev1.ServicePort) *corev1.Service {
	made := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "prometheus", Annotations: map[string]string{}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: ports, Selector: map[string]string{"app": "prometheus"}},
	}
	if change != nil {
		change(made)
	}
	return made
}

func TestDescribeService_PortAndScheme(t *testing.T) {
	port := func(name string, number int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: number}
	}
	openshift := func(s *corev1.Service) { s.Annotations[servingCertificate[0]] = "prometheus-k8s-tls" }
	for name, each := range map[string]struct {
		reference Reference
		service   *corev1.Service
		url       string
		message   string
	}{
		"OpenShift":                          {service: service(openshift, port("web", 9091), port("tenancy", 9092)), url: "https://prometheus.monitoring.svc:9091"},
		"kube-prometheus-stack":              {service: service(nil, port("http-web", 9090), port("reloader-web", 8080)), url: "http://prometheus.monitoring.svc:9090"},
		"Thanos Query":                       {service: service(nil, port("grpc", 10901), port("http", 10902)), url: "http://prometheus.monitoring.svc:10902"},
		"Mimir":                              {service: service(nil, port("http-metrics", 8080), port("grpc", 9095)), url: "http://prometheus.monitoring.svc:8080"},
		"the only port, without a name":      {service: service(nil, port("", 80)), url: "http://prometheus.monitoring.svc:80"},
		"by number":                          {reference: Reference{Port: "9092"}, service: service(nil, port("web", 9091), port("tenancy", 9092)), url: "http://prometheus.monitoring.svc:9092"},
		"by name":                            {reference: Reference{Port: "tenancy"}, service: service(nil, port("web", 9091), port("tenancy", 9092)), url: "http://prometheus.monitoring.svc:9092"},
		"UDP does not count":                 {service: service(nil, corev1.ServicePort{Name: "web", Port: 1, Protocol: corev1.ProtocolUDP}, port("x", 2)), url: "http://prometheus.monitoring.svc:2"},
		"appProtocol before the name":        {service: service(nil, corev1.ServicePort{Name: "http", Port: 1, AppProtocol: pointer("HTTPS")}), url: "https://prometheus.monitoring.svc:1"},
		"appProtocol with a prefix":          {service: service(nil, corev1.ServicePort{Name: "x", Port: 1, AppProtocol: pointer("kubernetes.io/https")}), url: "https://prometheus.monitoring.svc:1"},
		"the name of the port":               {service: service(nil, port("https-web", 1)), url: "https://prometheus.monitoring.svc:1"},
		"the name before the annotation":     {service: service(openshift, port("http-web", 1)), url: "http://prometheus.monitoring.svc:1"},
		"the name of the target port":        {service: service(nil, corev1.ServicePort{Name: "x", Port: 1, TargetPort: intstr.FromString("https")}), url: "https://prometheus.monitoring.svc:1"},
		"the number of the port":             {service: service(nil, port("x", 8443)), url: "https://prometheus.monitoring.svc:8443"},
		"the setting before everything else": {reference: Reference{Scheme: "http"}, service: service(openshift, port("https", 443)), url: "http://prometheus.monitoring.svc:443"},

		"no such port":   {reference: Reference{Port: "web"}, service: service(nil, port("http", 1)), message: "the Service monitoring/prometheus has no port web: it has http 1"},
		"ambiguous port": {service: service(nil, port("one", 1), port("two", 2)), message: "the port of the Service monitoring/prometheus is ambiguous: set one of one 1, two 2"},
		"a name elsewhere": {
			service: service(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "169.254.169.254"
			}, port("web", 80)),
			message: "the Service monitoring/prometheus is of type ExternalName, which is not supported: configure the URL instead",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := describeService(each.reference, each.service, nil, false)
			require.Equal(t, each.url, got.URL())
			require.Equal(t, each.message, got.Message)
			require.Equal(t, each.message == "", got.State == StateFound, got.State)
		})
	}
}

func TestChoose_OneService(t *testing.T) {
	byName, bySelector := Reference{Namespace: "monitoring", Name: "prometheus"}, Reference{Namespace: "monitoring", Selector: "app=prometheus"}
	_, none := choose(byName, nil)
	require.Equal(t, StateAbsent, none.State)
	require.Equal(t, "there is no Service monitoring/prometheus", none.Message)
	_, none = choose(bySelector, nil)
	require.Equal(t, "no Service in namespace monitoring matches app=prometheus", none.Message)
	other := service(func(s *corev1.Service) { s.Name = "operated" })
	_, several := choose(bySelector, []*corev1.Service{service(nil), other})
	require.Equal(t, StateUnusable, several.State)
	require.Equal(t, "the selector app=prometheus matches 2 Services: make it match one of operated, prometheus", several.Message)
	_, several = choose(bySelector, slices.Repeat([]*corev1.Service{other}, 1000))
	require.Equal(t, "the selector app=prometheus matches 1000 Services: make it match one of operated, operated, operated, operated, operated, …", several.Message)
	one, problem := choose(bySelector, []*corev1.Service{other})
	require.Nil(t, problem)
	require.Same(t, other, one)
}

func endpoint(address, pod string, ready, terminating *bool) discoveryv1.Endpoint {
	made := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready, Terminating: terminating}}
	if pod != "" {
		made.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
	}
	return made
}

func slice(family discoveryv1.AddressType, port string, number int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{AddressType: family, Endpoints: endpoints, Ports: []discoveryv1.EndpointPort{
		{Name: pointer("metrics"), Port: pointer(int32(1))}, {Name: &port, Port: &number},
	}}
}

func TestDescribeService_Endpoints(t *testing.T) {
	web := corev1.ServicePort{Name: "web", Port: 9091}
	got := describeService(Reference{}, service(nil, web), []*discoveryv1.EndpointSlice{
		slice(discoveryv1.AddressTypeIPv6, "web", 9090, endpoint("fd00::2", "p-1", nil, nil), endpoint("fd00::3", "", nil, nil)),
		slice(discoveryv1.AddressTypeIPv4, "web", 9090, endpoint("10.0.0.2", "p-1", nil, nil), endpoint("10.0.0.9", "p-0", pointer(true), pointer(true)), endpoint("10.0.0.4", "p-2", pointer(false), nil)),
		// The new pod of that name, while the old one is still being stopped.
		slice(discoveryv1.AddressTypeIPv4, "web", 9090, endpoint("10.0.0.1", "p-0", pointer(true), nil)),
		slice(discoveryv1.AddressTypeFQDN, "web", 9090, endpoint("localhost", "", nil, nil)),
		slice(discoveryv1.AddressTypeIPv4, "other", 9090, endpoint("10.0.0.7", "p-7", nil, nil)),
	}, true)
	require.Equal(t, StateFound, got.State)
	require.Equal(t, []Endpoint{
		{Name: "[fd00::3]:9090", Address: "[fd00::3]:9090", Ready: true},
		{Name: "p-0", Address: "10.0.0.1:9090", Ready: true},
		{Name: "p-1", Address: "10.0.0.2:9090", Ready: true},
		{Name: "p-2", Address: "10.0.0.4:9090"},
	}, got.Endpoints)

	got = describeService(Reference{}, service(nil, web), []*discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv4, "web", 9090, endpoint("10.0.0.4", "p-2", pointer(false), nil))}, true)
	require.Equal(t, StateNotReady, got.State)
	require.Equal(t, "the Service monitoring/prometheus has no ready endpoint: 1 endpoints, all of them not ready", got.Message)
	require.Len(t, got.Endpoints, 1)
	got = describeService(Reference{}, service(nil, web), nil, true)
	require.Equal(t, StateNotReady, got.State)
	require.NotNil(t, got.Endpoints)
	// Whoever manages the addresses of a Service by hand may have no slices.
	got = describeService(Reference{}, service(func(s *corev1.Service) { s.Spec.Selector = nil }, web), nil, true)
	require.Equal(t, StateFound, got.State)
	require.Nil(t, got.Endpoints)
}
