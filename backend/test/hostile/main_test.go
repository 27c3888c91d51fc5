//go:build e2e

// Package hostile sends requests that no well-behaved client sends to a running
// tierproxy, over raw connections, and checks what reaches the tier behind it.
// It also lets a tier answer as no Prometheus does.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

var shared struct{ dir, tierproxy string }

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the hostile tests:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	if shared.dir, err = os.MkdirTemp("", "tiered-prometheus-hostile-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.dir)) }()
	if shared.tierproxy, err = stack.BuildTierproxy(context.Background(), shared.dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// gateway is a running tierproxy.
type gateway struct {
	*stack.Server
	address string // host and port

	goroutines, descriptors int // before the first case
}

// startGateway starts a tierproxy with the given configuration. It does not find
// tiers by itself, probes them once, and keeps no answers.
func startGateway(t *testing.T, name string, config map[string]any) *gateway {
	t.Helper()
	for key, value := range map[string]any{
		"discovery": map[string]any{"enabled": false},
		"probe":     map[string]any{"interval": "1h", "learn_interval": "1h"},
		"cache":     map[string]any{"enabled": false},
	} {
		if _, found := config[key]; !found {
			config[key] = value
		}
	}
	server, err := stack.Tierproxy{Name: name, Dir: shared.dir, Config: config, LogLevel: "warning"}.Start(t.Context(), shared.tierproxy)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	return &gateway{Server: server, address: target.Host}
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// usage returns how many goroutines and descriptors the process has.
func (g *gateway) usage(t *testing.T) (goroutineCount, descriptorCount int) {
	t.Helper()
	// A connection that is kept open would count.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(g.URL + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	found := goroutines.FindSubmatch(readAll(t, response.Body))
	require.NotNil(t, found, "the metrics hold go_goroutines")
	goroutineCount, err = strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	descriptorCount, err = g.OpenFiles()
	require.NoError(t, err)
	return goroutineCount, descriptorCount
}

// setBaseline notes what the process uses before the first case.
func (g *gateway) setBaseline(t *testing.T) {
	t.Helper()
	g.goroutines, g.descriptors = g.usage(t)
}

// spare is what connections may add that the gateway keeps for later requests: it
// makes some of them ahead, with two goroutines for each.
const spare = 30

// requireBaseline checks that the process is the one that was started, answers,
// and has given back goroutines and descriptors.
func (g *gateway) requireBaseline(t *testing.T) {
	t.Helper()
	select {
	case <-g.Done():
		t.Fatalf("tierproxy ended:\n%s", g.LogTail())
	default:
	}
	var nowGoroutines, nowDescriptors int
	require.Eventually(t, func() bool {
		nowGoroutines, nowDescriptors = g.usage(t)
		return nowGoroutines <= g.goroutines+spare && nowDescriptors <= g.descriptors+spare
	}, time.Minute, 50*time.Millisecond, "goroutines and descriptors are not given back")
	t.Logf("goroutines %d, before %d; descriptors %d, before %d", nowGoroutines, g.goroutines, nowDescriptors, g.descriptors)
	log, err := os.ReadFile(g.LogFile)
	require.NoError(t, err)
	require.NotRegexp(t, `(?m)^(panic|fatal error|goroutine \d)|http: panic serving`, string(log))
}
