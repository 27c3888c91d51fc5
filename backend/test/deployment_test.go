//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestSidecarOverlay_PersesLoadsPluginAndDatasource runs Perses with the
// configuration of the sidecar overlay, with directories of the test. It loads the
// plugin beside the image's own, and provisions a valid datasource.
func TestSidecarOverlay_PersesLoadsPluginAndDatasource(t *testing.T) {
	root, err := stack.Root()
	require.NoError(t, err)
	overlay := filepath.Join(root, "deploy", "overlays", "sidecar", "perses")
	// Perses wants its directories in lower case.
	directory, err := os.MkdirTemp(shared.dir, "sidecar-")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(overlay, "perses.yaml"))
	require.NoError(t, err)
	config := string(text)
	for _, path := range []string{"/etc/perses/plugins-archive", "/etc/perses/provisioning", "/perses-plugins", "/plugins-archive", "/perses"} {
		require.Contains(t, config, " "+path+"\n")
		inside := filepath.Join(directory, "root", path)
		require.NoError(t, os.MkdirAll(inside, 0o700))
		config = strings.ReplaceAll(config, " "+path+"\n", " "+inside+"\n")
	}
	file := filepath.Join(directory, "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("frontend: {disable: true}\n"+config), 0o600))
	at := func(path string) string { return filepath.Join(directory, "root", path) }
	// What the image brings along, and what the init container copies.
	require.NotEmpty(t, shared.modules)
	pack(t, filepath.Join(shared.path("modules"), shared.modules[0].Name), at("/etc/perses/plugins-archive/Own-1.0.0.tar.gz"))
	require.NoError(t, os.CopyFS(at("/plugins-archive"), os.DirFS(shared.archive)))
	provisioned, err := os.ReadFile(filepath.Join(overlay, "datasource.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(at("/etc/perses/provisioning/datasource.yaml"), provisioned, 0o600))

	port, err := stack.FreePort()
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	server, err := stack.Start(t.Context(), stack.Command{
		Name: "perses", Path: shared.persesPath, LogDir: directory, ReadyURL: "http://" + address + "/api/v1/health",
		Arguments: []string{"--config", file, "--web.listen-address", address},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })

	_, body, err := stack.Get(t.Context(), "http://"+address+"/api/v1/plugins", nil)
	require.NoError(t, err)
	var loaded []struct {
		Metadata struct{ Name string } `json:"metadata"`
		Status   struct {
			IsLoaded bool   `json:"isLoaded"`
			Error    string `json:"error"`
		} `json:"status"`
	}
	require.NoError(t, json.Unmarshal(body, &loaded), string(body))
	require.Len(t, loaded, 3, string(body))
	for _, each := range loaded {
		require.True(t, each.Status.IsLoaded, "%s: %s", each.Metadata.Name, each.Status.Error)
	}
	require.Contains(t, string(body), `"name":"TieredPrometheus"`)
	require.Contains(t, string(body), `"name":"TieredPrometheusAnnotations"`)
	status, body, err := stack.Get(t.Context(), "http://"+address+"/api/v1/globaldatasources/metrics", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s\n%s", body, server.LogTail())
	require.Contains(t, string(body), `"kind":"TieredPrometheusDatasource"`)
}

// pack makes an archive of a plugin module, its files at the root.
func pack(t *testing.T, directory, path string) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	require.NoError(t, archive.AddFS(os.DirFS(directory)))
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	require.NoError(t, file.Close())
}
