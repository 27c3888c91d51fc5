//go:build e2e

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestInstallation_OnKubernetes runs the commands of the documentation on a real API
// server and a real Perses, from nothing to the first panel.
func TestInstallation_OnKubernetes(t *testing.T) {
	p := newInstallation(t, "kubernetes", "monitoring", tierService{"kube-prometheus-stack-prometheus", "http-web", 9090}, tierService{"thanos-query", "http", 10902})
	kubelet := p.playKubelet(t, nil)
	output := p.run(t, p.commands(t, "kubernetes"))
	require.NoError(t, kubelet.wait(), output)

	require.Contains(t, output, `deployment "tierproxy" successfully rolled out`)
	requireTier(t, output)
	p.requireFirstPanel(t)
	for _, each := range [][3]string{
		{"monitoring.coreos.com/v1", "PrometheusRule", "tierproxy"}, {"monitoring.coreos.com/v1", "ServiceMonitor", "tierproxy"},
		{"monitoring.coreos.com/v1", "PodMonitor", "tierproxy"}, {"perses.dev/v1alpha2", "PersesGlobalDatasource", "metrics"},
		{"apps/v1", "Deployment", "perses"},
	} {
		_, err := find(t.Context(), each[0], each[1], each[2])
		require.NoError(t, err, each)
	}
	deployment, err := find(t.Context(), "apps/v1", "Deployment", "tierproxy")
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(deployment.Object), "image:registry.example.com/tierproxy:0.2.0")
}

// TestInstallation_OnOpenShift plays the part of OpenShift where it is more than
// Kubernetes: the Services of its monitoring speak TLS, and their authority is in a
// ConfigMap.
func TestInstallation_OnOpenShift(t *testing.T) {
	p := newInstallation(t, "openshift", monitoring, tierService{"prometheus-k8s", "web", 9091}, tierService{"thanos-querier", "web", 9091})
	kubelet := p.playKubelet(t, func(ctx context.Context) error {
		// What the service-ca operator does.
		found, err := find(ctx, "v1", "ConfigMap", "tierproxy-service-ca")
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(found.Object, string(p.authority.PEM), "data", "service-ca.crt"); err != nil {
			return err
		}
		_, err = shared.resource(found).Update(ctx, found, metav1.UpdateOptions{})
		return err
	})
	output := p.run(t, p.commands(t, "openshift"))
	require.NoError(t, kubelet.wait(), output)
	require.Contains(t, output, `deployment "tierproxy" successfully rolled out`)
	requireTier(t, output)
	p.requireFirstPanel(t)
}

// requireTier checks that the answer to the first query says which tier gave it.
func requireTier(t *testing.T, output string) {
	t.Helper()
	require.Regexp(t, `(?m)^X-Tier: (hot|cold)\r$`, output)
	require.Regexp(t, `(?m)^X-Tier-Reason: [a-z-]+\r$`, output)
	require.Contains(t, output, `"resultType":"vector","result":[{`)
}

// tierService is the Service of a tier, with the port that the gateway asks.
type tierService struct {
	name, portName string
	port           int
}

// installation is a cluster without tierproxy, and a place with the manifests
// and the programs of somebody who installs it.
type installation struct {
	directory, programs, home string
	perses                    *persesSite
	pods                      *network
	authority                 *certificates.Authority // of the Services on OpenShift
	address                   string                  // host and port that tierproxy is to listen on
}

// newInstallation makes the Services of both tiers, with a Prometheus behind
// them, and a Perses.
func newInstallation(t *testing.T, overlay, namespace string, hot, cold tierService) *installation {
	t.Helper()
	p := newReplicaPair(t)
	pod := p.list[0]
	in := &installation{
		directory: t.TempDir(), programs: t.TempDir(), home: t.TempDir(), pods: p.pods, authority: certificates.NewAuthority(t),
	}
	if namespace == monitoring {
		dir := t.TempDir()
		pair := in.authority.Issue(time.Now().Add(time.Hour), hot.name+"."+namespace+".svc", cold.name+"."+namespace+".svc")
		pod.certificate, pod.key = pair.Write(t, dir)
		apply(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: cluster-monitoring-view}, rules: []}")
	}
	require.NoError(t, p.start(t.Context(), pod))
	base, err := url.Parse(pod.server.URL)
	require.NoError(t, err)
	for _, each := range []tierService{hot, cold} {
		annotations := "{}"
		if namespace == monitoring {
			annotations = "{service.beta.openshift.io/serving-cert-secret-name: tls}"
		}
		apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %[1]s, name: %[2]s, annotations: %[6]s}
spec: {selector: {app: %[2]s}, ports: [{name: %[3]s, port: %[4]d}, {name: other, port: 1}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: %[1]s, name: %[2]s-abcde, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
ports: [{name: %[3]s, port: %[4]d}]
endpoints: [{addresses: [%[5]s], conditions: {ready: true}, targetRef: {kind: Pod, name: %[2]s-0, namespace: %[1]s}}]
`, namespace, each.name, each.portName, each.port, p.at[pod], annotations))
		for _, host := range []string{p.at[pod], each.name + "." + namespace + ".svc"} {
			in.pods.route(fmt.Sprintf("%s:%d", host, each.port), base.Host)
		}
	}
	applyKinds(t)
	in.perses = startPerses(t)

	root, err := stack.Root()
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(filepath.Join(in.directory, "deploy"), os.DirFS(filepath.Join(root, "deploy"))))
	// Where the gateway will listen: here no name of a Service leads to it.
	port, err := stack.FreePort()
	require.NoError(t, err)
	in.address = fmt.Sprintf("127.0.0.1:%d", port)
	example := filepath.Join(in.directory, "deploy", "examples", "datasource.yaml")
	text, err := os.ReadFile(example)
	require.NoError(t, err)
	require.Contains(t, string(text), "http://tierproxy:9190/")
	require.NoError(t, os.WriteFile(example, []byte(strings.Replace(string(text), "tierproxy:9190", in.address, 1)), 0o600))
	for _, name := range []string{"kubectl", "percli", "helm"} {
		path, err := stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(in.programs, name)))
	}
	t.Cleanup(func() { takeAway(t, overlay) })
	return in
}

// commands are those of the documentation for a surrounding.
func (*installation) commands(t *testing.T, check string) string {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	blocks, err := documents.Of(root, check)
	require.NoError(t, err)
	return documents.Script(blocks)
}

// run runs commands as an administrator of the cluster does.
func (in *installation) run(t *testing.T, script string) string {
	t.Helper()
	kubeconfig, err := shared.kubernetes.Kubeconfig("admin", shared.kubernetes.AdminToken())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = in.directory
	command.Env = append(os.Environ(), "PATH="+in.programs+":"+os.Getenv("PATH"), "HOME="+in.home, "KUBECONFIG="+kubeconfig, "PERSES="+in.perses.server.URL)
	started := time.Now()
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	t.Logf("the commands took %s:\n%s", time.Since(started).Round(time.Millisecond), output)
	return string(output)
}

// takeAway removes what an overlay brought, but for what the other tests share:
// the account of the gateway, and its rights on OpenShift.
func takeAway(t *testing.T, overlay string) {
	t.Helper()
	manifests, err := shared.render(context.WithoutCancel(t.Context()), "overlays/"+overlay)
	require.NoError(t, err)
	for _, each := range manifests {
		if each.GetKind() == "ServiceAccount" || overlay == "openshift" && strings.Contains(each.GetKind(), "Role") {
			continue
		}
		remove(t, each)
	}
}

// find gets a resource of namespace perses, or of none.
func find(ctx context.Context, version, kind, name string) (*unstructured.Unstructured, error) {
	wanted := &unstructured.Unstructured{}
	wanted.SetAPIVersion(version)
	wanted.SetKind(kind)
	wanted.SetNamespace("perses")
	return shared.resource(wanted).Get(ctx, name, metav1.GetOptions{})
}

// kubelet plays the part of everything in a cluster that makes a pod of a
// Deployment: the API server alone only remembers it.
type kubelet struct{ ended chan error }

// wait waits until the pod runs, and returns what went wrong with it.
func (k *kubelet) wait() error { return <-k.ended }

// playKubelet waits for the Deployment of tierproxy, runs its container with the
// mounts that the pod would have and the rights of its account, and reports that
// it is available. operator does what other operators of the cluster do first.
func (in *installation) playKubelet(t *testing.T, operator func(context.Context) error) *kubelet {
	t.Helper()
	k := &kubelet{ended: make(chan error, 1)}
	mounts := t.TempDir()
	var manager *datasource.Manager
	server := &http.Server{ReadHeaderTimeout: minute}
	ctx, cancel := context.WithTimeout(t.Context(), 2*minute)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		k.ended <- func() error {
			var deployment *unstructured.Unstructured
			for {
				found, err := find(ctx, "apps/v1", "Deployment", "tierproxy")
				if err == nil {
					deployment = found
					break
				}
				if !apierrors.IsNotFound(err) {
					return fmt.Errorf("wait for the Deployment: %w", err)
				}
				select {
				case <-ctx.Done():
					return fmt.Errorf("wait for the Deployment: %w", ctx.Err())
				case <-time.After(20 * time.Millisecond):
				}
			}
			if operator != nil {
				if err := operator(ctx); err != nil {
					return fmt.Errorf("do what an operator does: %w", err)
				}
			}
			settings, err := in.mount(ctx, deployment, mounts)
			if err != nil {
				return err
			}
			if manager, err = in.startContainer(ctx, settings); err != nil {
				return err
			}
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", in.address)
			if err != nil {
				return err
			}
			server.Handler = gateway.New(manager)
			go func() {
				if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
					t.Errorf("tierproxy no longer listens on %s: %s", in.address, err)
				}
			}()
			return reportAvailable(ctx, deployment)
		}()
	}()
	t.Cleanup(func() {
		cancel()
		<-stopped
		_ = server.Close()
		if manager != nil {
			require.NoError(t, manager.Close())
		}
	})
	return k
}

// mount writes the ConfigMaps of a pod below a directory, and returns the
// configuration of tierproxy among them, led there.
func (in *installation) mount(ctx context.Context, deployment *unstructured.Unstructured, directory string) (string, error) {
	volumes, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "volumes")
	if err != nil {
		return "", err
	}
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return "", fmt.Errorf("the pod has %d containers: %w", len(containers), err)
	}
	container, _ := containers[0].(map[string]any)
	paths := map[any]string{}
	for _, each := range container["volumeMounts"].([]any) {
		mounted := each.(map[string]any)
		paths[mounted["name"]] = mounted["mountPath"].(string)
	}
	replace := []string{"http://perses:8080", in.perses.server.URL}
	for _, each := range volumes {
		volume := each.(map[string]any)
		if optional, _, _ := unstructured.NestedBool(volume, "secret", "optional"); optional {
			continue // The token of the admin address, which is not served here.
		}
		name, _, _ := unstructured.NestedString(volume, "configMap", "name")
		found, err := find(ctx, "v1", "ConfigMap", name)
		if err != nil {
			return "", fmt.Errorf("the pod does not start without the ConfigMap %q: %w", name, err)
		}
		data, _, _ := unstructured.NestedStringMap(found.Object, "data")
		path := paths[volume["name"]]
		replace = append(replace, path, filepath.Join(directory, path))
		if err := os.MkdirAll(filepath.Join(directory, path), 0o700); err != nil {
			return "", err
		}
		for file, text := range data {
			if err := os.WriteFile(filepath.Join(directory, path, file), []byte(text), 0o600); err != nil {
				return "", err
			}
		}
	}
	var settings string
	for _, each := range container["args"].([]any) {
		if path, found := strings.CutPrefix(each.(string), "--config="); found {
			settings = filepath.Join(directory, path)
		}
	}
	text, err := os.ReadFile(settings)
	if err != nil {
		return "", err
	}
	return settings, os.WriteFile(settings, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o600)
}

// startContainer starts tierproxy with a configuration and the rights of its
// account, in the network of the tests.
func (in *installation) startContainer(ctx context.Context, file string) (*datasource.Manager, error) {
	settings, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	if settings.Discovery.Kubeconfig, err = shared.account(ctx, "perses", "tierproxy"); err != nil {
		return nil, err
	}
	settings.Probe.Interval = config.Duration(500 * time.Millisecond)
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	manager, err := datasource.NewManager(settings, logger, core.WithNetwork(&upstream.Network{Dial: in.pods.dial}).(datasource.Option))
	if err != nil {
		return nil, err
	}
	return manager, manager.Start(context.WithoutCancel(ctx))
}

// reportAvailable writes the status of a Deployment whose pods are ready.
func reportAvailable(ctx context.Context, deployment *unstructured.Unstructured) error {
	replicas, _, err := unstructured.NestedInt64(deployment.Object, "spec", "replicas")
	if err != nil {
		return err
	}
	status := map[string]any{"observedGeneration": deployment.GetGeneration()}
	for _, each := range []string{"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"} {
		status[each] = replicas
	}
	deployment = deployment.DeepCopy()
	deployment.Object["status"] = status
	_, err = shared.resource(deployment).UpdateStatus(ctx, deployment, metav1.UpdateOptions{})
	return err
}

// requireFirstPanel asks what the panel of the example asks, as Perses keeps it.
func (in *installation) requireFirstPanel(t *testing.T) {
	t.Helper()
	status, body, err := stack.Get(t.Context(), in.perses.server.URL+"/api/v1/projects/first/dashboards/first-panel", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", body)
	_, after, found := strings.Cut(string(body), `"query":"`)
	require.True(t, found, "%s", body)
	query, _, _ := strings.Cut(after, `"`)
	through := &runningGateway{url: in.perses.server.URL + "/proxy/globaldatasources/metrics"}
	end := time.Now()
	got, err := through.ask(t.Context(), "query_range", panel.RangeQuery(query, end, 5*minute, 15*time.Second))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status, "%s, asked of tierproxy at %s", got.body, in.address)
	require.Equal(t, "hot", got.tier, got.reason)
	require.Contains(t, got.body, `"values":[[`)
}
