package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// TestReload_HotsTenantTakesEffect changes the tenant of hot in the file. Datasources with another
// tenant have no hot tier, and here no other one.
func TestReload_HotsTenantTakesEffect(t *testing.T) {
	hot := faketier.New()
	t.Cleanup(hot.Close)
	hot.Handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, faketier.Vector("1")) })
	perses := fakeperses.Start(t, "", map[string]fakeperses.Datasource{
		"/globaldatasources/a": {Headers: `"X-Scope-OrgID":"a"`}, "/globaldatasources/b": {Headers: `"X-Scope-OrgID":"b"`}, "/globaldatasources/none": {},
	})
	path, address := filepath.Join(t.TempDir(), "tierproxy.yaml"), running.FreeAddress(t)
	configure := func(tenant string) {
		replaceFile(t, path, fmt.Sprintf("hot: {url: %q, tenant: %q}\ncold: {url: ''}\nperses: {url: %q}\n", hot.URL, tenant, perses.URL))
	}
	answered := func(datasource string) bool {
		response, err := http.Get("http://" + address + "/proxy/globaldatasources/" + datasource + "/api/v1/query?query=up")
		if err != nil {
			return false
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return string(body) == faketier.Vector("1") && response.Header.Get("X-Tier") == "hot"
	}
	configure("")
	var log safeBuffer
	command := exec.Command(os.Args[0], "--config", path, "--config.auto-reload-interval", "50ms", "--web.listen-address", address)
	command.Env = ownEnvironment(t)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	for _, tenant := range []string{"", "a", "b", "", "a"} {
		configure(tenant)
		require.Eventually(t, func() bool {
			return answered("none") && answered("a") == (tenant == "a") && answered("b") == (tenant == "b")
		}, 30*time.Second, 10*time.Millisecond, "hot holds the tenant %q\n%s", tenant, &log)
	}
}
