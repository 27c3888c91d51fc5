package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// replaceFile puts a file in place at once, as Kubernetes does.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	require.NoError(t, os.WriteFile(next, []byte(content), 0o600))
	require.NoError(t, os.Rename(next, path))
}

// asker asks all the time until it is stopped.
type asker struct {
	address string
	stop    chan struct{}
	running sync.WaitGroup
	answers atomic.Int64
	mutex   sync.Mutex
	failed  []string
	last    string
}

func (a *asker) run(workers int) {
	a.stop = make(chan struct{})
	for range workers {
		a.running.Go(func() {
			for {
				select {
				case <-a.stop:
					return
				default:
					a.ask()
				}
			}
		})
	}
}

func (a *asker) ask() {
	var (
		status int
		body   string
	)
	response, err := http.Get("http://" + a.address + "/api/v1/query?query=up")
	if err != nil {
		body = err.Error()
	} else {
		content, _ := io.ReadAll(response.Body) // A cut-off answer is not the one that is expected.
		_ = response.Body.Close()
		status, body = response.StatusCode, string(content)
	}
	a.answers.Add(1)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.last = body
	if status != http.StatusOK {
		a.failed = append(a.failed, fmt.Sprintf("%d %s", status, body))
	}
}

func (a *asker) lastAnswer() string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.last
}

func TestReload_LosesNoQuery(t *testing.T) {
	one, two := faketier.New(), faketier.New()
	t.Cleanup(one.Close)
	t.Cleanup(two.Close)
	for value, tier := range map[string]*faketier.Tier{"1": one, "2": two} {
		tier.Handle(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(2 * time.Millisecond) // Queries are under way when the gateway changes.
			_, _ = io.WriteString(w, faketier.Vector(value))
		})
	}
	path := filepath.Join(t.TempDir(), "tierproxy.yaml")
	config := func(tier *faketier.Tier) string { return fmt.Sprintf("hot: {url: %q}\ncold: {url: ''}\n", tier.URL) }
	replaceFile(t, path, config(one))
	address := running.FreeAddress(t)
	var log safeBuffer
	command := exec.Command(os.Args[0], "--config", path, "--config.auto-reload-interval", "50ms", "--web.listen-address", address)
	command.Env = ownEnvironment(t)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill() })
	metric := func(name string) string {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return ""
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body) // What is missing is not found.
		for line := range strings.Lines(string(body)) {
			if value, found := strings.CutPrefix(line, name+" "); found {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	eventually := func(what string, condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, 30*time.Second, 10*time.Millisecond, "%s\n%s", what, log.String())
	}
	const successful = "tierproxy_config_last_reload_successful"
	eventually("it starts", func() bool { return metric(successful) == "1" })
	asking := &asker{address: address}
	eventually("it answers", func() bool { asking.ask(); return asking.lastAnswer() == faketier.Vector("1") })
	require.Empty(t, asking.failed)
	asking.run(4)

	for round := range 5 {
		replaceFile(t, path, config(two))
		eventually("the second tier answers", func() bool { return asking.lastAnswer() == faketier.Vector("2") })
		// What has mistakes changes nothing.
		replaceFile(t, path, "hot: {url: nonsense}\nunknown: 1\n")
		eventually("the mistake is counted", func() bool { return metric(successful) == "0" })
		eventually("the mistake is logged", func() bool { return strings.Count(log.String(), `unknown key \"unknown\"`) > round })
		require.Contains(t, log.String(), "the previous one serves on")
		before := asking.answers.Load()
		eventually("queries go on", func() bool { return asking.answers.Load() > before+8 })
		require.Equal(t, faketier.Vector("2"), asking.lastAnswer())
		replaceFile(t, path, config(one))
		require.NoError(t, command.Process.Signal(syscall.SIGHUP))
		eventually("the first tier answers", func() bool { return asking.lastAnswer() == faketier.Vector("1") })
		eventually("the reload is counted", func() bool { return metric(successful) == "1" })
	}
	close(asking.stop)
	asking.running.Wait()
	require.Empty(t, asking.failed, "%d answers", asking.answers.Load())
	// An answer is there a moment before it is counted.
	eventually("counters do not begin anew", func() bool {
		return metric(`tierproxy_queries_total{outcome="success",reason="only-tier",tier="hot"}`) == fmt.Sprint(asking.answers.Load())
	})
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait(), log.String())
}

// safeBuffer can be read while it is written to.
type safeBuffer struct {
	mutex sync.Mutex
	text  strings.Builder
}

// Write implements io.Writer.
func (b *safeBuffer) Write(content []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(content)
}

// String returns what was written so far.
func (b *safeBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
