//go:build e2e

// Package cluster holds the end-to-end tests of what the gateway does in a
// Kubernetes cluster: on a real kube-apiserver with RBAC, and real Prometheus
// servers that stand for pods. The addresses of the pods exist in the API only:
// a network of the tests leads from them to loopback.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// monitoring is the namespace of the tiers, as on OpenShift.
	monitoring = "openshift-monitoring"
	// soon is how long a change in the cluster may take to be followed.
	soon = 2 * time.Second
	// eventually bounds what has no bound of its own.
	eventually = 30 * time.Second
)

// environment is what all tests share.
type environment struct {
	dir                     string
	prometheusPath          string
	kustomizePath, helmPath string
	kubernetes              *stack.Kubernetes
	api                     dynamic.Interface // as an administrator
	kubeconfig              string            // of the gateway, with the rights of deploy/ and no others
}

var shared environment

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the end-to-end tests in a cluster:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	ctx := context.Background()
	if shared.dir, err = os.MkdirTemp("", "tiered-prometheus-cluster-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.dir)) }()
	var serverPath string
	for name, path := range map[string]*string{"prometheus": &shared.prometheusPath, "kube-apiserver": &serverPath, "kustomize": &shared.kustomizePath, "helm": &shared.helmPath} {
		if *path, err = stack.Tool(ctx, os.Stderr, name); err != nil {
			return 1, err
		}
	}
	if shared.kubernetes, err = stack.StartKubernetes(ctx, serverPath, shared.dir); err != nil {
		return 1, err
	}
	defer shared.kubernetes.Stop()
	if err = shared.prepare(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// prepare makes the namespaces and the account of the gateway.
func (e *environment) prepare(ctx context.Context) error {
	file, err := e.kubernetes.Kubeconfig("admin", e.kubernetes.AdminToken())
	if err != nil {
		return err
	}
	settings, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return err
	}
	settings.QPS, settings.Burst = 1000, 1000
	if e.api, err = dynamic.NewForConfig(settings); err != nil {
		return err
	}
	for _, name := range []string{monitoring, "monitoring", "perses", "shop"} {
		if err := e.apply(ctx, parse(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", name))[0]); err != nil {
			return err
		}
	}
	manifests, err := e.render(ctx, "overlays/openshift")
	if err != nil {
		return err
	}
	for _, each := range manifests {
		switch each.GetKind() {
		case "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
			if err := e.apply(ctx, each); err != nil {
				return err
			}
		}
	}
	e.kubeconfig, err = e.account(ctx, "perses", "tierproxy")
	return err
}

// render renders a kustomization of deploy/.
func (e *environment) render(ctx context.Context, path string) ([]*unstructured.Unstructured, error) {
	root, err := stack.Root()
	if err != nil {
		return nil, err
	}
	return e.build(ctx, filepath.Join(root, "deploy", path))
}

// build renders the kustomization in a directory.
func (e *environment) build(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, e.kustomizePath, "build", dir)
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w\n%s", dir, err, &stderr)
	}
	return parse(string(text)), nil
}

// renderWith renders an overlay of deploy/ with components of deploy/.
func (e *environment) renderWith(ctx context.Context, overlay string, components ...string) ([]*unstructured.Unstructured, error) {
	root, err := stack.Root()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.dir, "kustomization-")
	if err != nil {
		return nil, err
	}
	deploy, err := filepath.Rel(dir, filepath.Join(root, "deploy"))
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("kind: Kustomization\nresources: [%s/overlays/%s]\ncomponents:\n", deploy, overlay)
	for _, component := range components {
		text += fmt.Sprintf("- %s/components/%s\n", deploy, component)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return e.build(ctx, dir)
}

// parse reads the documents of a YAML text.
func parse(text string) []*unstructured.Unstructured {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var list []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			panic(fmt.Errorf("read a manifest: %w\n%s", err, text))
		}
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
}

// resources are the names that the API has for kinds, and whether they live in
// namespaces.
var resources = map[string]struct {
	name       string
	namespaced bool
}{
	"ConfigMap": {"configmaps", true}, "Deployment": {"deployments", true}, "Namespace": {"namespaces", false},
	"NetworkPolicy": {"networkpolicies", true}, "PodDisruptionBudget": {"poddisruptionbudgets", true},
	"Service": {"services", true}, "ServiceAccount": {"serviceaccounts", true}, "EndpointSlice": {"endpointslices", true},
	"Role": {"roles", true}, "RoleBinding": {"rolebindings", true}, "ClusterRole": {"clusterroles", false}, "ClusterRoleBinding": {"clusterrolebindings", false},
	"CustomResourceDefinition": {"customresourcedefinitions", false}, "ServiceMonitor": {"servicemonitors", true}, "PodMonitor": {"podmonitors", true},
	"PrometheusRule": {"prometheusrules", true}, "Ingress": {"ingresses", true}, "HTTPRoute": {"httproutes", true}, "Route": {"routes", true},
	"PersesGlobalDatasource": {"persesglobaldatasources", false}, "PersesDashboard": {"persesdashboards", true},
}

func (e *environment) resource(object *unstructured.Unstructured) dynamic.ResourceInterface {
	known, found := resources[object.GetKind()]
	if !found {
		panic("the tests do not know the kind " + object.GetKind())
	}
	version := object.GroupVersionKind().GroupVersion()
	client := e.api.Resource(schema.GroupVersionResource{Group: version.Group, Version: version.Version, Resource: known.name})
	if known.namespaced {
		return client.Namespace(object.GetNamespace())
	}
	return client
}

func (e *environment) apply(ctx context.Context, object *unstructured.Unstructured, dryRun ...string) error {
	_, err := e.resource(object).Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "test", Force: true, DryRun: dryRun})
	if err != nil {
		return fmt.Errorf("apply the %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// account returns the path of a kubeconfig with a token of a ServiceAccount.
func (e *environment) account(ctx context.Context, namespace, name string) (string, error) {
	request := parse("{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, spec: {expirationSeconds: 3600}}")[0]
	request.SetName(name)
	accounts := e.api.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}).Namespace(namespace)
	answer, err := accounts.Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", fmt.Errorf("get a token of %s/%s: %w", namespace, name, err)
	}
	token, _, _ := unstructured.NestedString(answer.Object, "status", "token")
	return e.kubernetes.Kubeconfig(name, token)
}

// apply applies manifests, and takes them away after the test.
func apply(t *testing.T, text string) {
	t.Helper()
	for _, object := range parse(text) {
		require.NoError(t, shared.apply(t.Context(), object))
		t.Cleanup(func() { remove(t, object) })
	}
}

// maySeeServices lets the gateway see the Services of a namespace.
func maySeeServices(t *testing.T, namespace string) {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {namespace: %[1]s, name: all}
rules: [{apiGroups: ["", discovery.k8s.io], resources: [services, endpointslices], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: %[1]s, name: all}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: all}
subjects: [{kind: ServiceAccount, namespace: perses, name: tierproxy}]
`, namespace))
}

func remove(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	// The context of the test is over when it cleans up.
	err := shared.resource(object).Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(t, err)
	}
}

// network leads from the addresses of the cluster to loopback.
type network struct {
	mutex  sync.Mutex
	routes map[string]string
}

func (n *network) route(address, to string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.routes == nil {
		n.routes = map[string]string{}
	}
	n.routes[address] = to
}

func (n *network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	n.mutex.Lock()
	to, found := n.routes[address]
	n.mutex.Unlock()
	if !found {
		return nil, &net.OpError{Op: "dial", Net: protocol, Err: fmt.Errorf("nothing is at %s", address)}
	}
	return (&net.Dialer{}).DialContext(ctx, protocol, to)
}

// runningGateway is a Manager in this process, asked over HTTP.
type runningGateway struct {
	*datasource.Manager
	url string
	log *logrustest.Hook
}

// newGateway starts a gateway with the rights of deploy/. It probes often, so
// that tests need not wait.
func newGateway(t *testing.T, pods *network, change func(*config.Config)) *runningGateway {
	t.Helper()
	settings := config.Default()
	settings.Discovery.Kubeconfig = shared.kubeconfig
	settings.Probe.Interval = config.Duration(500 * time.Millisecond)
	if change != nil {
		change(&settings)
	}
	logger, hook := logrustest.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	manager := running.Start(t, settings, logger, core.WithNetwork(&upstream.Network{Dial: pods.dial}).(datasource.Option))
	server := httptest.NewServer(gateway.New(manager))
	t.Cleanup(server.Close)
	return &runningGateway{Manager: manager, url: server.URL, log: hook}
}

// Health returns everything that is known of the tiers.
func (g *runningGateway) Health() resolve.Health {
	own, err := core.Of(g.Manager).Resolver.Default()
	if err != nil {
		return resolve.Health{Status: resolve.StatusUnhealthy}
	}
	return own.Health(time.Now(), true)
}

// waitFor waits until the health of the gateway is as it should be, for at most
// the given time, and returns how long that took.
func (g *runningGateway) waitFor(t *testing.T, atMost time.Duration, what string, is func(resolve.Health) bool) time.Duration {
	t.Helper()
	started := time.Now()
	for time.Since(started) < atMost {
		if is(g.Health()) {
			return time.Since(started)
		}
		select {
		case <-t.Context().Done():
			t.FailNow()
		case <-time.After(10 * time.Millisecond):
		}
	}
	health, _ := json.MarshalIndent(g.Health(), "", " ")
	t.Fatalf("%s: not within %s; the health is %s", what, atMost, health)
	return 0
}

// answer is what the gateway answers.
type answer struct {
	status   int
	tier     string
	reason   string
	source   string
	body     string
	Data     json.RawMessage `json:"data"`
	Warnings []string        `json:"warnings"`
}

// ask asks an endpoint of the Prometheus API.
func (g *runningGateway) ask(ctx context.Context, endpoint string, parameters url.Values) (answer, error) {
	return g.askWith(ctx, endpoint, parameters, nil)
}

// askWith is ask with request headers.
func (g *runningGateway) askWith(ctx context.Context, endpoint string, parameters url.Values, header http.Header) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/api/v1/"+endpoint+"?"+parameters.Encode(), http.NoBody)
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	got := answer{status: response.StatusCode, tier: response.Header.Get("X-Tier"), reason: response.Header.Get("X-Tier-Reason"), source: response.Header.Get("X-Tier-Source"), body: string(body)}
	if err == nil && json.Valid(body) {
		err = json.Unmarshal(body, &got)
	}
	return got, err
}
