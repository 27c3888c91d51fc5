package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Reference names a Service and one of its ports. It is comparable.
type Reference struct {
	// Namespace is the namespace of the Service.
	Namespace string
	// Name is the name of the Service. Selector is a label selector; if it is set, it
	// overrides Name. Resolve expects that it matches exactly one Service, ResolveAll that it
	// matches at least one.
	Name, Selector string
	// Port is the number or the name of the port. Empty: the only port, or the one with a
	// usual name of a web port.
	Port string
	// Scheme is http or https. Empty: the scheme follows from the Service.
	Scheme string
	// AllNamespaces makes Selector look in all namespaces instead of Namespace. The gateway
	// then needs a ClusterRole. It has no effect on a reference by name.
	AllNamespaces bool
}

// String returns the namespace and the name or selector of the Service. The namespace is * if the
// selector looks in all namespaces.
func (r Reference) String() string {
	if r.Selector != "" {
		return fmt.Sprintf("%s/{%s}", cmp.Or(r.namespace(), "*"), r.Selector)
	}
	return r.Namespace + "/" + r.Name
}

// namespace returns the namespace that is searched. Empty: all namespaces.
func (r Reference) namespace() string {
	if r.AllNamespaces && r.Selector != "" {
		return ""
	}
	return r.Namespace
}

// State is the state of a Service.
type State string

// The states of a Service.
const (
	StateUnknown   State = "unknown"            // the first lookup has not finished
	StateFound     State = "found"              // the Service can be used
	StateAbsent    State = "absent"             // the Service does not exist
	StateNotReady  State = "no-ready-endpoints" // the Service has no ready endpoint
	StateForbidden State = "forbidden"          // the gateway may not read the Service
	StateUnusable  State = "unusable"           // the reference does not fit the Service
)

// States returns all states.
func States() []State {
	return []State{StateUnknown, StateFound, StateAbsent, StateNotReady, StateForbidden, StateUnusable}
}

// Service is the state of a Service. It is immutable.
type Service struct {
	// State says whether the Service can be used. Message describes a problem, or is empty.
	State   State
	Message string
	// Stale is set while the API server is unavailable. The other fields are then the last
	// known state, and Message says since when.
	Stale bool
	// Namespace and Name identify the Service. Name is empty while no Service matches the
	// selector.
	Namespace, Name string
	// Host is the DNS name of the Service, which is also the name in its certificate. Scheme
	// is http or https. Host, Scheme and Port are empty unless the Service exists.
	Host, Scheme string
	Port         int
	// Endpoints are the servers behind the Service, sorted by name. They are nil if they are
	// unknown; clients then connect to the Service itself.
	Endpoints []Endpoint
}

// Endpoint is one server behind a Service.
type Endpoint struct {
	// Name is the name of the pod, or the address without a pod.
	Name string
	// Address is the IP address and the port.
	Address string
	// Ready is set if the endpoint is ready and not terminating.
	Ready bool
}

// Base returns the base URL of a Service that exists.
func (s *Service) Base() *url.URL {
	return &url.URL{Scheme: s.Scheme, Host: net.JoinHostPort(s.Host, strconv.Itoa(s.Port))}
}

// URL returns the base URL of the Service, or an empty string if it does not exist.
func (s *Service) URL() string {
	if s.Host == "" {
		return ""
	}
	return s.Base().String()
}

// unusable returns the state of a Service that exists but does not fit the reference.
func unusable(namespace, name, format string, arguments ...any) *Service {
	return &Service{State: StateUnusable, Namespace: namespace, Name: name, Message: fmt.Sprintf(format, arguments...)}
}

// absent returns the state of a Service that does not exist.
func absent(reference Reference) *Service {
	text := "there is no Service " + reference.String()
	switch namespace := reference.namespace(); {
	case reference.Selector == "":
	case namespace == "":
		text = fmt.Sprintf("no Service in any namespace matches %s", reference.Selector)
	default:
		text = fmt.Sprintf("no Service in namespace %s matches %s", namespace, reference.Selector)
	}
	return &Service{State: StateAbsent, Namespace: reference.namespace(), Name: reference.Name, Message: text}
}

// choose returns the only Service found, or the state that describes why there is none.
func choose(reference Reference, services []*corev1.Service) (*corev1.Service, *Service) {
	switch len(services) {
	case 0:
		return nil, absent(reference)
	case 1:
		return services[0], nil
	}
	var names []string
	for _, service := range services {
		name := service.Name
		if reference.namespace() == "" {
			name = service.Namespace + "/" + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return nil, unusable(reference.namespace(), "", "the selector %s matches %d Services: make it match one of %s", reference.Selector, len(names), firstOf(names, ", "))
}

// maxNames is the maximum number of Services that a message names.
const maxNames = 5

// describeService returns the state of a Service. slicesKnown is false if the gateway may not
// read the EndpointSlices.
func describeService(reference Reference, service *corev1.Service, list []*discoveryv1.EndpointSlice, slicesKnown bool) *Service {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		// Anyone who may write Services can point an ExternalName to any host.
		return unusable(service.Namespace, service.Name, "%s", externalName(service))
	}
	port, problem := choosePort(reference, service)
	if problem != nil {
		return problem
	}
	described := &Service{
		State: StateFound, Namespace: service.Namespace, Name: service.Name,
		Host: service.Name + "." + service.Namespace + ".svc", Port: int(port.Port), Scheme: schemeOf(reference, service, port),
	}
	if !slicesKnown || (len(list) == 0 && len(service.Spec.Selector) == 0 && service.Spec.ClusterIP != corev1.ClusterIPNone) {
		return described
	}
	described.Endpoints = endpoints(list, port.Name)
	if !slices.ContainsFunc(described.Endpoints, func(endpoint Endpoint) bool { return endpoint.Ready }) {
		described.State = StateNotReady
		described.Message = fmt.Sprintf("the Service %s/%s has no ready endpoint: %d endpoints, all of them not ready", service.Namespace, service.Name, len(described.Endpoints))
		if len(described.Endpoints) == 0 {
			described.Message = fmt.Sprintf("the Service %s/%s has no endpoints: its selector matches no pod, or no pod has started", service.Namespace, service.Name)
		}
	}
	return described
}

func externalName(service *corev1.Service) string {
	return fmt.Sprintf("the Service %s/%s is of type ExternalName, which is not supported: configure the URL instead", service.Namespace, service.Name)
}

// webPorts are usual names for ports with the Prometheus API, in order of preference.
var webPorts = []string{"web", "https-web", "http-web", "https", "http", "https-metrics", "http-metrics", "http-query", "api"}

// choosePort returns the port of a reference, or the state that says why it is ambiguous.
func choosePort(reference Reference, service *corev1.Service) (*corev1.ServicePort, *Service) {
	var offered []string
	byName := map[string]*corev1.ServicePort{}
	var candidates []*corev1.ServicePort
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		offered = append(offered, strings.TrimPrefix(port.Name+" "+strconv.Itoa(int(port.Port)), " "))
		candidates = append(candidates, port)
		byName[port.Name] = port
		if reference.Port != "" && (port.Name == reference.Port || strconv.Itoa(int(port.Port)) == reference.Port) {
			return port, nil
		}
	}
	list := strings.Join(offered, ", ")
	if reference.Port != "" {
		return nil, unusable(service.Namespace, service.Name, "the Service %s/%s has no port %s: it has %s", service.Namespace, service.Name, reference.Port, list)
	}
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	for _, name := range webPorts {
		if port, ok := byName[name]; ok {
			return port, nil
		}
	}
	return nil, unusable(service.Namespace, service.Name, "the port of the Service %s/%s is ambiguous: set one of %s", service.Namespace, service.Name, list)
}

// servingCertificate are the annotations that request a serving certificate on OpenShift. A
// Service with one of them uses TLS.
var servingCertificate = []string{"service.beta.openshift.io/serving-cert-secret-name", "service.alpha.openshift.io/serving-cert-secret-name"}

// schemeOf returns the scheme of a port: from the reference, the appProtocol, the names of the
// port, the serving certificate annotation, or the port number, in this order.
func schemeOf(reference Reference, service *corev1.Service, port *corev1.ServicePort) string {
	if reference.Scheme != "" {
		return reference.Scheme
	}
	var hints []string
	if port.AppProtocol != nil {
		hints = append(hints, strings.ToLower(*port.AppProtocol))
	}
	for _, name := range append(hints, port.Name, port.TargetPort.StrVal) {
		switch {
		case name == "https" || strings.HasPrefix(name, "https-") || strings.HasSuffix(name, "-https") || strings.HasSuffix(name, "/https"):
			return "https"
		case name == "http" || strings.HasPrefix(name, "http-") || strings.HasSuffix(name, "-http") || strings.HasSuffix(name, "/http"):
			return "http"
		}
	}
	for _, annotation := range servingCertificate {
		if service.Annotations[annotation] != "" {
			return "https"
		}
	}
	if port.Port == 443 || port.Port == 8443 {
		return "https"
	}
	return "http"
}

// endpoints returns the endpoints of a port. A pod with IPv4 and IPv6 addresses appears once,
// with its IPv4 address.
func endpoints(list []*discoveryv1.EndpointSlice, portName string) []Endpoint {
	byName := map[string]Endpoint{}
	family := map[string]discoveryv1.AddressType{}
	for _, slice := range list {
		if slice.AddressType != discoveryv1.AddressTypeIPv4 && slice.AddressType != discoveryv1.AddressTypeIPv6 {
			continue
		}
		port := portOf(slice, portName)
		if port == 0 {
			continue
		}
		for _, candidate := range slice.Endpoints {
			if len(candidate.Addresses) == 0 {
				continue
			}
			endpoint := Endpoint{
				Address: net.JoinHostPort(candidate.Addresses[0], strconv.Itoa(port)),
				// Kubernetes defines nil as unknown, which counts as ready.
				Ready: (candidate.Conditions.Ready == nil || *candidate.Conditions.Ready) && (candidate.Conditions.Terminating == nil || !*candidate.Conditions.Terminating),
			}
			endpoint.Name = endpoint.Address
			if candidate.TargetRef != nil && candidate.TargetRef.Kind == "Pod" && candidate.TargetRef.Name != "" {
				endpoint.Name = candidate.TargetRef.Name
			}
			previous, isDuplicate := byName[endpoint.Name]
			// A recreated pod may still appear with its old address.
			if !isDuplicate || (endpoint.Ready && !previous.Ready) ||
				(endpoint.Ready == previous.Ready && slice.AddressType == discoveryv1.AddressTypeIPv4 && family[endpoint.Name] != slice.AddressType) {
				byName[endpoint.Name], family[endpoint.Name] = endpoint, slice.AddressType
			}
		}
	}
	sorted := slices.AppendSeq([]Endpoint{}, maps.Values(byName))
	slices.SortFunc(sorted, func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return sorted
}

// portOf returns the number of a port in a slice, or 0.
func portOf(slice *discoveryv1.EndpointSlice, name string) int {
	for _, port := range slice.Ports {
		isNamed := (port.Name == nil && name == "") || (port.Name != nil && *port.Name == name)
		if isNamed && port.Port != nil {
			return int(*port.Port)
		}
	}
	return 0
}

// outdated returns a copy of the state that is marked as stale since a time.
func (s *Service) outdated(problem string, since time.Time) *Service {
	changed := *s
	changed.Stale = true
	changed.Message = fmt.Sprintf("%s since %s: tierproxy uses the last known state", problem, since.UTC().Format(time.RFC3339))
	if s.Message != "" {
		changed.Message = s.Message + "; " + changed.Message
	}
	return &changed
}
