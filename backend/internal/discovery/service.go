package discovery

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Reference names a Service and one of its ports. It is comparable.
type Reference struct {
	// Namespace is where the Service is.
	Namespace string
	// Name is that of the Service. Selector, a label selector that exactly one
	// Service matches, finds it instead where it is set.
	Name, Selector string
	// Port is the number or the name of the port. Empty: the only port, or the
	// one whose name is that of a web port.
	Port string
	// Scheme is http or https. Empty: what the Service says of the port.
	Scheme string
}

// String names the Service for people.
func (r Reference) String() string {
	if r.Selector != "" {
		return fmt.Sprintf("%s/{%s}", r.Namespace, r.Selector)
	}
	return r.Namespace + "/" + r.Name
}

// State says what is known of a Service.
type State string

// The states of a Service.
const (
	StateUnknown   State = "unknown"            // nothing has been learned yet
	StateFound     State = "found"              // it can be asked
	StateAbsent    State = "absent"             // there is no such Service
	StateNotReady  State = "no-ready-endpoints" // there is one, but nothing ready behind it
	StateForbidden State = "forbidden"          // the gateway may not look
	StateUnusable  State = "unusable"           // there is one, but it cannot be asked as it is named
)

// States returns all states.
func States() []State {
	return []State{StateUnknown, StateFound, StateAbsent, StateNotReady, StateForbidden, StateUnusable}
}

// Service is what is known of a Service. It is not changed after it was made.
type Service struct {
	// State says whether it can be asked, and Message why not, or how it is
	// asked where that is not as it should be; empty where all is well.
	State   State
	Message string
	// Stale is set while the API server cannot be asked: then the rest is what
	// was known last, and Message says since when.
	Stale bool
	// Namespace and Name are those of the Service; Name is empty while a
	// selector has found none.
	Namespace, Name string
	// Host is the name of the Service in the cluster's DNS, which is also the
	// one in its certificate; Port its port, and Scheme http or https. Empty
	// unless there is such a Service.
	Host, Scheme string
	Port         int
	// Endpoints are the servers behind the Service, sorted by name and address.
	// Nil where they are not known: then the Service is asked as a whole.
	Endpoints []Endpoint
	// Headless is set when the Service has no address of its own.
	Headless bool
}

// Endpoint is one server behind a Service.
type Endpoint struct {
	// Name is that of its pod; its address where it is no pod.
	Name string
	// Address is an IP address and a port.
	Address string
	// Ready is set when it says that it takes requests, and is not being
	// stopped.
	Ready bool
}

// URL is the base URL of the Service; empty where there is none.
func (s *Service) URL() string {
	if s.Host == "" {
		return ""
	}
	return s.Scheme + "://" + net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// equal tells whether two states are the same for whoever follows them.
func (s *Service) equal(other *Service) bool {
	return s.State == other.State && s.Message == other.Message && s.Stale == other.Stale && s.Name == other.Name &&
		s.Headless == other.Headless && s.URL() == other.URL() && slices.Equal(s.Endpoints, other.Endpoints) &&
		(s.Endpoints == nil) == (other.Endpoints == nil)
}

// unusable is the state of a Service that is there and cannot be asked.
func unusable(reference Reference, name, format string, arguments ...any) *Service {
	return &Service{State: StateUnusable, Namespace: reference.Namespace, Name: name, Message: fmt.Sprintf(format, arguments...)}
}

// choose picks the Service that a reference means. The second result is not
// nil when there is none, or more than one.
func choose(reference Reference, found []*corev1.Service) (*corev1.Service, *Service) {
	switch len(found) {
	case 0:
		text := "there is no Service " + reference.String()
		if reference.Selector != "" {
			text = fmt.Sprintf("no Service in namespace %s matches %s", reference.Namespace, reference.Selector)
		}
		return nil, &Service{State: StateAbsent, Namespace: reference.Namespace, Name: reference.Name, Message: text}
	case 1:
		return found[0], nil
	}
	var names []string
	for _, each := range found {
		names = append(names, each.Name)
	}
	slices.Sort(names)
	return nil, unusable(reference, "", "the selector %s matches %d Services: make it match one of %s", reference.Selector, len(names), strings.Join(names, ", "))
}

// describeService turns a Service and its slices into what the gateway needs of
// them. slicesKnown is false where the slices may not be read.
func describeService(reference Reference, service *corev1.Service, list []*discoveryv1.EndpointSlice, slicesKnown bool) *Service {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		// It is a name in the DNS that whoever may write Services points anywhere.
		return unusable(reference, service.Name, "the Service %s/%s is of type ExternalName, which is not followed: configure the URL instead", service.Namespace, service.Name)
	}
	port, problem := choosePort(reference, service)
	if problem != nil {
		return problem
	}
	described := &Service{
		State: StateFound, Namespace: service.Namespace, Name: service.Name,
		Host: service.Name + "." + service.Namespace + ".svc", Port: int(port.Port), Scheme: schemeOf(reference, service, port),
		Headless: service.Spec.ClusterIP == corev1.ClusterIPNone,
	}
	if !slicesKnown || (len(list) == 0 && len(service.Spec.Selector) == 0 && !described.Headless) {
		return described
	}
	described.Endpoints = endpoints(list, port.Name)
	if !slices.ContainsFunc(described.Endpoints, func(each Endpoint) bool { return each.Ready }) {
		described.State = StateNotReady
		described.Message = fmt.Sprintf("nothing that is ready stands behind the Service %s/%s: %d endpoints, all of them not ready", service.Namespace, service.Name, len(described.Endpoints))
		if len(described.Endpoints) == 0 {
			described.Message = fmt.Sprintf("nothing stands behind the Service %s/%s: its selector matches no pod, or none has started", service.Namespace, service.Name)
		}
	}
	return described
}

// webPorts are names that ports of the Prometheus API have, in order.
var webPorts = []string{"web", "https-web", "http-web", "https", "http", "https-metrics", "http-metrics", "http-query", "api"}

// choosePort finds the port that a reference means. The second result is not
// nil where that is not clear.
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
		return nil, unusable(reference, service.Name, "the Service %s/%s has no port %s: it has %s", service.Namespace, service.Name, reference.Port, list)
	}
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	for _, name := range webPorts {
		if port, found := byName[name]; found {
			return port, nil
		}
	}
	return nil, unusable(reference, service.Name, "which port of the Service %s/%s is meant is not clear: name one of %s", service.Namespace, service.Name, list)
}

// servingCertificate are the annotations by which a Service of OpenShift asks
// for a certificate: then it speaks TLS, whatever its ports are called.
var servingCertificate = []string{"service.beta.openshift.io/serving-cert-secret-name", "service.alpha.openshift.io/serving-cert-secret-name"}

// schemeOf finds out whether a port speaks TLS: by the setting, what the port
// says of its protocol, its names, and its number.
func schemeOf(reference Reference, service *corev1.Service, port *corev1.ServicePort) string {
	if reference.Scheme != "" {
		return reference.Scheme
	}
	var said []string
	if port.AppProtocol != nil {
		said = append(said, strings.ToLower(*port.AppProtocol))
	}
	for _, each := range append(said, port.Name, port.TargetPort.StrVal) {
		switch {
		case each == "https" || strings.HasPrefix(each, "https-") || strings.HasSuffix(each, "-https") || strings.HasSuffix(each, "/https"):
			return "https"
		case each == "http" || strings.HasPrefix(each, "http-") || strings.HasSuffix(each, "-http") || strings.HasSuffix(each, "/http"):
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

// endpoints lists what is behind a port of that name. A pod with addresses of
// both families is listed once.
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
		for _, each := range slice.Endpoints {
			if len(each.Addresses) == 0 {
				continue
			}
			endpoint := Endpoint{
				Address: net.JoinHostPort(each.Addresses[0], strconv.Itoa(port)),
				// Ready is nil where that is not known, which counts as ready.
				Ready: (each.Conditions.Ready == nil || *each.Conditions.Ready) && (each.Conditions.Terminating == nil || !*each.Conditions.Terminating),
			}
			endpoint.Name = endpoint.Address
			if each.TargetRef != nil && each.TargetRef.Kind == "Pod" && each.TargetRef.Name != "" {
				endpoint.Name = each.TargetRef.Name
			}
			known, twice := byName[endpoint.Name]
			// A pod that was made anew may still be listed with its old address.
			if !twice || (endpoint.Ready && !known.Ready) ||
				(endpoint.Ready == known.Ready && slice.AddressType == discoveryv1.AddressTypeIPv4 && family[endpoint.Name] != slice.AddressType) {
				byName[endpoint.Name], family[endpoint.Name] = endpoint, slice.AddressType
			}
		}
	}
	sorted := make([]Endpoint, 0, len(byName))
	for _, each := range byName {
		sorted = append(sorted, each)
	}
	slices.SortFunc(sorted, func(one, other Endpoint) int { return strings.Compare(one.Name, other.Name) })
	return sorted
}

// portOf is the port of the servers in a slice, or 0.
func portOf(slice *discoveryv1.EndpointSlice, name string) int {
	for _, port := range slice.Ports {
		isNamed := (port.Name == nil && name == "") || (port.Name != nil && *port.Name == name)
		if isNamed && port.Port != nil {
			return int(*port.Port)
		}
	}
	return 0
}

// outdated adds to a state that it may be out of date, and since when.
func (s *Service) outdated(problem string, since time.Time) *Service {
	changed := *s
	changed.Stale = true
	changed.Message = fmt.Sprintf("%s since %s: the state of then is used", problem, since.UTC().Format(time.RFC3339))
	if s.Message != "" {
		changed.Message = s.Message + "; " + changed.Message
	}
	return &changed
}
