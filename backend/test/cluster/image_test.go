//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestImage_RunsAsInAPod runs tierproxy with the files of the image and of the
// mounts only. They belong to another user, and none can be written. The
// configuration is that of the OpenShift overlay. The address of the API server and
// the token are where a pod has them. tierproxy finds the Services.
func TestImage_RunsAsInAPod(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may change the root directory of a process: the image is not tested")
	}
	require.NoError(t, os.Chmod(shared.dir, 0o755)) // The process is to look through it.
	root, err := stack.Root()
	require.NoError(t, err)
	directory := buildImage(t, "Containerfile", root, goImage()).root

	// The mounts of the pod.
	kubeconfig, err := os.ReadFile(shared.kubeconfig)
	require.NoError(t, err)
	_, token, found := strings.Cut(string(kubeconfig), "token: ")
	require.True(t, found)
	token, _, _ = strings.Cut(token, "\n")
	authority, err := os.ReadFile(shared.kubernetes.CAFile)
	require.NoError(t, err)
	manifests, err := shared.render(t.Context(), "overlays/openshift")
	require.NoError(t, err)
	var config string
	for _, each := range manifests {
		if data, ok := each.Object["data"].(map[string]any); ok && data["tierproxy.yaml"] != nil {
			config, _ = data["tierproxy.yaml"].(string)
		}
	}
	require.NotEmpty(t, config)
	for path, text := range map[string]string{
		"var/run/secrets/kubernetes.io/serviceaccount/token":  token,
		"var/run/secrets/kubernetes.io/serviceaccount/ca.crt": string(authority),
		"etc/tierproxy/tierproxy.yaml":                        config,
		"etc/tierproxy-service-ca/service-ca.crt":             string(authority),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(directory, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(directory, path), []byte(text), 0o644))
	}
	require.NoError(t, os.Chmod(directory, 0o755))
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1")+"---\n"+openshift("thanos-querier", 9091)+"---\n"+slice("thanos-querier", 9091, "thanos-querier-abc=10.0.0.3"))

	server, err := url.Parse(shared.kubernetes.URL)
	require.NoError(t, err)
	port, err := stack.FreePort()
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	var log strings.Builder
	running := exec.CommandContext(t.Context(), "/tierproxy", "--config=/etc/tierproxy/tierproxy.yaml", "--web.listen-address="+address)
	running.Path = "/tierproxy"
	running.Err = nil // It is looked for in the new root.
	running.Dir = "/"
	running.Env = []string{"KUBERNETES_SERVICE_HOST=" + server.Hostname(), "KUBERNETES_SERVICE_PORT=" + server.Port()}
	running.Stdout, running.Stderr = &log, &log
	running.SysProcAttr = &syscall.SysProcAttr{Chroot: directory, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, running.Start())
	stopped := make(chan error, 1)
	go func() { stopped <- running.Wait() }()

	var health resolve.Health
	deadline := time.Now().Add(eventually)
	for health.Services["hot"].State != "found" || health.Services["cold"].State != "found" {
		require.True(t, time.Now().Before(deadline), "the health is %+v", health)
		<-time.After(20 * time.Millisecond)
		response, err := http.Get("http://" + address + "/api/v1/datasources/health")
		if err != nil {
			continue
		}
		require.NoError(t, json.NewDecoder(response.Body).Decode(&health))
		_ = response.Body.Close()
	}
	require.True(t, health.ServiceDiscovery)
	require.Equal(t, "https://prometheus-k8s.openshift-monitoring.svc:9091", health.PrometheusEndpoint)
	require.Equal(t, "https://thanos-querier.openshift-monitoring.svc:9091", health.ThanosEndpoint)
	require.Less(t, residentMegabytes(t, running.Process.Pid), 100)
	require.NoError(t, running.Process.Signal(syscall.SIGTERM))
	require.NoError(t, <-stopped, log.String())
	require.NotContains(t, log.String(), token)
}

// residentMegabytes is how much memory a process holds.
func residentMegabytes(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	var kilobytes int
	_, after, found := strings.Cut(string(text), "VmRSS:")
	require.True(t, found)
	_, err = fmt.Sscan(after, &kilobytes)
	require.NoError(t, err)
	t.Logf("tierproxy holds %d MB", kilobytes/1024)
	return kilobytes / 1024
}
