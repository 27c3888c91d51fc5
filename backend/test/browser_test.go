//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

// browserTimeout bounds all tests in the browser together.
const browserTimeout = 15 * time.Minute

// TestBrowser_RunsThePluginsTests runs the tests of plugin/e2e in a real browser.
// The servers behind the page belong to this test, because the tests stop and start
// them.
func TestBrowser_RunsThePluginsTests(t *testing.T) {
	t.Parallel()
	require.NoError(t, os.CopyFS(shared.path("browser-hot"), os.DirFS(shared.path("blocks-hot"))))
	// Values that mean something in PromQL, and regular expressions that match others of them.
	stock := history.Generator{Interval: time.Minute, Only: history.Stock("xx-1 (abc1)", "xx-1 abc1", `a"b`, `c\d`, "e.f|g", "e-f", "g")}
	require.NoError(t, stock.WriteBlocks(t.Context(), shared.path("browser-hot"), time.Now().Add(-hotReach), time.Now().Add(future)))
	hotPort, err := stack.FreePort()
	require.NoError(t, err)
	coldPort, err := stack.FreePort()
	require.NoError(t, err)
	tiers := &stoppable{
		hot: shared.prometheus("browser-hot", hotPort), rules: shared.path("browser-rules.yaml"),
		cold: stack.Thanos{Dir: t.TempDir(), Bucket: shared.path("bucket"), Port: coldPort},
	}
	require.NoError(t, os.WriteFile(tiers.rules, []byte("groups: []"), 0o600))
	tiers.hot.RuleFiles, tiers.hot.Arguments = []string{tiers.rules}, []string{"--web.enable-lifecycle"}
	t.Cleanup(tiers.stop)
	require.NoError(t, tiers.startHot(t.Context()))
	require.NoError(t, tiers.startCold(t.Context()))

	s := newSite(t, stack.Perses{}, document{
		"hot": document{"url": tiers.hotServer.URL}, "cold": document{"url": tiers.coldServers.Query.URL},
		"destinations": []document{{"host": "127.0.0.1"}}, // the tiers of startClusters
	})
	s.login()
	s.apply(document{"kind": "Project", "metadata": document{"name": "shop"}})
	control := httptest.NewServer(tiers)
	t.Cleanup(control.Close)

	runBrowser(t, "test", append(startClusters(t),
		"PAGE_URL="+servePage(t, s, "0.53"), "PAGE_052_URL="+servePage(t, s, "0.52"), "GATEWAY_URL="+s.tierproxy.URL, "CONTROL_URL="+control.URL,
		"HOT_URL="+tiers.hotServer.URL, "COLD_URL="+tiers.coldServers.Query.URL)...)
}

// runBrowser runs the tests of plugin/e2e of a mode of its vitest.config.ts, with more
// environment variables.
func runBrowser(t *testing.T, mode string, environment ...string) {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "npx", "--no-install", "vitest", "run", "--mode", mode, "--config", "plugin/e2e/vitest.config.ts")
	command.Dir = root
	command.Env = append(append(os.Environ(), environment...), "SCREENSHOTS="+filepath.Join(root, "build", "screenshots"))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// At the end of the time the browser goes too, which is a child of the child.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	require.NoError(t, command.Run(), "the tests in the browser failed; what it showed is in build/screenshots")
}

// servePage serves the page made of the packages of a release of Perses, in
// front of the site, and returns its URL.
func servePage(t *testing.T, s *site, release string) string {
	t.Helper()
	lines, err := stack.Script(t.Context(), os.Stderr, "scripts/demo-ui", release)
	require.NoError(t, err)
	page, err := webui.Serve(t.Context(), webui.Options{
		Address: "127.0.0.1:0", Page: lines[len(lines)-1], Perses: s.perses.URL,
		Plugins: filepath.Join(s.directory, "plugins"), Modules: shared.modules,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = page.Close() })
	return page.URL
}

// stoppable are the tiers of the tests in the browser. Over HTTP they are
// told what to do: POST /hot/kill, /hot/start, /cold/kill, /cold/start, and
// /hot/rules with a file of rules as its body.
type stoppable struct {
	hot         stack.Prometheus
	rules       string // path of the file of rules of hot
	hotServer   *stack.Server
	cold        stack.Thanos
	coldServers *stack.ThanosServers
}

// startHot starts the hot tier, which does not run.
func (s *stoppable) startHot(ctx context.Context) (err error) {
	s.hotServer, err = s.hot.Start(ctx, shared.prometheusPath)
	return err
}

// startCold starts the cold tier, which does not run.
func (s *stoppable) startCold(ctx context.Context) (err error) {
	s.coldServers, err = s.cold.Start(ctx, shared.thanosPath)
	return err
}

// loadRules replaces the rules of the hot tier, and makes it load them.
func (s *stoppable) loadRules(ctx context.Context, content io.Reader) error {
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.rules, text, 0o600); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.hotServer.URL+"/-/reload", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the reload of Prometheus answered %s", response.Status)
	}
	return nil
}

func (s *stoppable) stop() {
	if s.hotServer != nil {
		_ = s.hotServer.Stop()
	}
	if s.coldServers != nil {
		s.coldServers.Stop()
	}
}

// ServeHTTP implements http.Handler.
func (s *stoppable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What is started lives longer than the request.
	ctx := context.WithoutCancel(r.Context())
	var err error
	switch r.Method + " " + r.URL.Path {
	case "POST /hot/kill":
		s.hotServer.Kill()
	case "POST /hot/start":
		err = s.startHot(ctx)
	case "POST /hot/rules":
		err = s.loadRules(ctx, r.Body)
	case "POST /cold/kill":
		s.coldServers.Query.Kill()
		s.coldServers.Store.Kill()
	case "POST /cold/start":
		err = s.startCold(ctx)
	default:
		err = fmt.Errorf("nothing is known of %s %s", r.Method, r.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
