package discovery

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ErrNoCluster is returned by New outside of a cluster.
var ErrNoCluster = errors.New("tierproxy does not run in a Kubernetes cluster, and no kubeconfig is set")

// queriesPerSecond and burst limit the requests of each client, so that the first lookup of
// MaxFound Services, a list and a watch each, does not wait for the limit. The default of the
// library is 5 and 10.
const (
	queriesPerSecond = 50
	burst            = 2 * MaxFound
)

// api holds the clients for the two API groups that discovery reads.
type api struct {
	core, discovery *rest.RESTClient
}

// connect returns the clients, without connecting.
func connect(kubeconfig string) (*api, error) {
	var (
		config *rest.Config
		err    error
	)
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else if config, err = rest.InClusterConfig(); errors.Is(err, rest.ErrNotInCluster) {
		return nil, ErrNoCluster
	}
	if err != nil {
		return nil, fmt.Errorf("read the credentials for the Kubernetes API: %w", err)
	}
	config.QPS, config.Burst = queriesPerSecond, burst
	config.UserAgent = "tierproxy (discovery)"
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

	known := runtime.NewScheme()
	metav1.AddToGroupVersion(known, schema.GroupVersion{Version: "v1"})
	if err := errors.Join(corev1.AddToScheme(known), discoveryv1.AddToScheme(known)); err != nil {
		return nil, fmt.Errorf("describe the Kubernetes API: %w", err)
	}
	client := func(version schema.GroupVersion, path string) (*rest.RESTClient, error) {
		config.GroupVersion, config.APIPath = &version, path
		return rest.RESTClientFor(config)
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(known).WithoutConversion()
	connected := &api{}
	if connected.core, err = client(corev1.SchemeGroupVersion, "/api"); err == nil {
		connected.discovery, err = client(discoveryv1.SchemeGroupVersion, "/apis")
	}
	if err != nil {
		return nil, fmt.Errorf("make the client of the Kubernetes API: %w", err)
	}
	return connected, nil
}
