//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

// browserTimeout bounds all tests in the browser together.
const browserTimeout = 80 * time.Minute

// TestBrowser runs the tests of plugin/e2e: a real browser on the page, in
// front of real servers that are this test's own, because the tests in the
// browser stop and start them.
func TestBrowser(t *testing.T) {
	lines, err := stack.Script(t.Context(), os.Stderr, "scripts/demo-ui")
	require.NoError(t, err)
	root, err := stack.Root()
	require.NoError(t, err)

	require.NoError(t, os.CopyFS(shared.path("browser-hot"), os.DirFS(shared.path("blocks-hot"))))
	port, err := stack.FreePort()
	require.NoError(t, err)
	tiers := &stoppable{hot: shared.prometheus("browser-hot", port)}
	t.Cleanup(tiers.stop)
	require.NoError(t, tiers.startHot(t.Context()))
	thanos := stack.Thanos{Dir: t.TempDir(), Bucket: shared.path("bucket")}
	tiers.cold, err = thanos.Start(t.Context(), shared.thanosPath)
	require.NoError(t, err)

	s := newSite(t, stack.Perses{}, document{
		"hot": document{"url": tiers.hotServer.URL}, "cold": document{"url": tiers.cold.Query.URL},
	})
	s.login()
	s.apply(document{"kind": "Project", "metadata": document{"name": "shop"}})
	page, err := webui.Serve(t.Context(), webui.Options{
		Address: "127.0.0.1:0", Page: lines[len(lines)-1], Perses: s.perses.URL,
		Plugins: filepath.Join(s.directory, "plugins"), Modules: shared.modules,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = page.Close() })
	control := httptest.NewServer(tiers)
	t.Cleanup(control.Close)

	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "npx", "--no-install", "vitest", "run", "--config", "plugin/e2e/vitest.config.ts")
	command.Dir = root
	command.Env = append(os.Environ(),
		"PAGE_URL="+page.URL, "GATEWAY_URL="+s.tierproxy.URL, "CONTROL_URL="+control.URL,
		"HOT_URL="+tiers.hotServer.URL, "COLD_URL="+tiers.cold.Query.URL,
		"SCREENSHOTS="+filepath.Join(root, "build", "screenshots"))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// At the end of the time the browser goes too, which is a child of the child.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	require.NoError(t, command.Run(), "the tests in the browser failed; what it showed is in build/screenshots")
}

// stoppable are the tiers of the tests in the browser. Over HTTP they are
// told what to do: POST /hot/kill, /hot/start, /cold/kill.
type stoppable struct {
	hot       stack.Prometheus
	hotServer *stack.Server
	cold      *stack.ThanosServers
}

func (s *stoppable) startHot(ctx context.Context) (err error) {
	s.hotServer, err = s.hot.Start(ctx, shared.prometheusPath)
	return err
}

func (s *stoppable) stop() {
	if s.hotServer != nil {
		_ = s.hotServer.Stop()
	}
	if s.cold != nil {
		s.cold.Stop()
	}
}

// ServeHTTP implements http.Handler.
func (s *stoppable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /hot/kill":
		s.hotServer.Kill()
	case "POST /hot/start":
		// Not with the context of the request, which ends before the server does.
		if err := s.startHot(context.WithoutCancel(r.Context())); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case "POST /cold/kill":
		s.cold.Query.Kill()
	default:
		http.Error(w, fmt.Sprintf("nothing is known of %s %s", r.Method, r.URL.Path), http.StatusNotFound)
	}
}
