package config

// DiscoveryConfig finds the tiers in the cluster that the gateway runs in. Discovery
// does not look for a tier whose URL is configured.
type DiscoveryConfig struct {
	// Enabled enables discovery. Outside of a cluster it has no effect.
	Enabled bool `yaml:"enabled" contract:"DATASOURCE_DISCOVERY_ENABLED"`
	// Kubeconfig is the path of a kubeconfig file, for development outside of
	// a cluster. Empty: the cluster of the pod.
	Kubeconfig string `yaml:"kubeconfig"`
	// Namespaces are the namespaces whose Services datasources may name as their tiers.
	// tierproxy sends no credential to such a Service unless destinations has one for
	// it. Global datasources and those of listed projects may also name the gateway's
	// own Services, in any namespace.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// Replicas makes the gateway query the replicas behind the Service of a hot tier
	// directly. Each query goes to one replica, so that a panel does not alternate
	// between their answers. If it is off, or without EndpointSlices, tierproxy queries
	// the Service.
	Replicas bool `yaml:"replicas"`
	// Hot is the Service of the hot tier, or the selector of the Services of several.
	Hot ServiceConfig `yaml:"hot"`
	// Cold is the Service of the cold tier.
	Cold ServiceConfig `yaml:"cold"`
}

// ServiceConfig names a Service and one of its ports.
type ServiceConfig struct {
	// Namespace is the namespace of the Service.
	Namespace string `yaml:"namespace"`
	// Name is the name of the Service.
	Name string `yaml:"name"`
	// Selector is a label selector. It overrides the name. For hot, each Service that it
	// matches is a hot tier. For cold, it must match exactly one Service.
	Selector string `yaml:"selector"`
	// Port is the number or the name of the port. Empty: the only port, or the one with
	// a usual name, such as web, http or https.
	Port string `yaml:"port"`
	// Scheme is http or https. Empty: tierproxy takes it from the appProtocol or the
	// name of the port, or from the serving certificate annotation of OpenShift. The
	// default is http, and https for the ports 443 and 8443.
	Scheme string `yaml:"scheme"`
	// AllNamespaces looks for Services in every namespace. It requires a selector and no
	// namespace, and the gateway needs a ClusterRole.
	AllNamespaces bool `yaml:"all_namespaces"`
}

// dropDefaultNamespaces removes the default namespace of Services that are looked for in
// every namespace.
func (c *DiscoveryConfig) dropDefaultNamespaces() {
	standard := Default().Discovery
	for service, namespace := range map[*ServiceConfig]string{&c.Hot: standard.Hot.Namespace, &c.Cold: standard.Cold.Namespace} {
		if service.AllNamespaces && service.Namespace == namespace {
			service.Namespace = ""
		}
	}
}
