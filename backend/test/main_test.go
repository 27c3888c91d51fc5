//go:build e2e

// Package e2e holds the end-to-end tests: the real Perses server, percli,
// Prometheus and Thanos, with tierproxy between them.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

// hotReach is how far back the hot Prometheus holds samples.
const hotReach = 6 * time.Hour

// coldReach is how far back Thanos and the oracle do.
const coldReach = 30 * 24 * time.Hour

// future is how far the blocks reach beyond the start of the tests, so that
// all servers hold the same samples up to now while the tests run.
const future = 2 * time.Hour

// externalLabel is on every series that Thanos answers: it takes no blocks
// without an external label. Prometheus has it on none.
const externalLabel = "cluster"

// environment is what all tests share. The servers in it are not stopped by
// tests; one that has to be killed is started by the test itself.
type environment struct {
	dir     string
	archive string         // directory of the plugin archive
	modules []webui.Module // plugin modules of others

	persesPath, percliPath, prometheusPath, thanosPath, tierproxyPath string

	hot    *stack.Server // Prometheus with the last hours
	cold   *stack.ThanosServers
	oracle *stack.Server // one Prometheus with everything
}

var shared environment

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the end-to-end tests:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	ctx := context.Background()
	shared.dir, err = os.MkdirTemp("", "tiered-prometheus-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.dir)) }()
	defer shared.stop()
	if err := shared.build(ctx); err != nil {
		return 1, err
	}
	if err := shared.start(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build makes the programs, the archive and the blocks.
func (e *environment) build(ctx context.Context) error {
	for name, path := range map[string]*string{
		"perses": &e.persesPath, "percli": &e.percliPath, "prometheus": &e.prometheusPath, "thanos": &e.thanosPath,
	} {
		found, err := stack.Tool(ctx, os.Stderr, name)
		if err != nil {
			return err
		}
		*path = found
	}
	lines, err := stack.Script(ctx, os.Stderr, "scripts/plugin")
	if err != nil {
		return err
	}
	e.archive = filepath.Dir(lines[len(lines)-1])
	if _, err := stack.Script(ctx, os.Stderr, "scripts/npm-install"); err != nil {
		return err
	}
	root, err := stack.Root()
	if err != nil {
		return err
	}
	if e.modules, err = webui.Modules(root); err != nil {
		return err
	}
	if err := webui.WriteServerPart(e.path("modules"), e.modules); err != nil {
		return err
	}
	if e.tierproxyPath, err = stack.BuildTierproxy(ctx, e.dir); err != nil {
		return err
	}
	started := time.Now()
	generator := history.Generator{Interval: time.Minute}
	end := started.Add(future)
	if err := errors.Join(
		generator.WriteBlocks(ctx, e.path("blocks"), started.Add(-coldReach), end),
		generator.WriteBlocks(ctx, e.path("blocks-hot"), started.Add(-hotReach), end),
		os.CopyFS(e.path("oracle"), os.DirFS(e.path("blocks"))),
		os.CopyFS(e.path("hot"), os.DirFS(e.path("blocks-hot"))),
	); err != nil {
		return fmt.Errorf("write the blocks: %w", err)
	}
	return nil
}

func (e *environment) path(name string) string { return filepath.Join(e.dir, name) }

// start starts the tiers and the oracle.
func (e *environment) start(ctx context.Context) error {
	var err error
	if e.hot, err = e.prometheus("hot", 0).Start(ctx, e.prometheusPath); err != nil {
		return err
	}
	if e.oracle, err = e.prometheus("oracle", 0).Start(ctx, e.prometheusPath); err != nil {
		return err
	}
	thanos := stack.Thanos{Dir: e.dir, Bucket: e.path("bucket")}
	uploadLog, err := os.Create(e.path("upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = uploadLog.Close() }()
	if err := thanos.Upload(ctx, e.thanosPath, e.path("blocks"), uploadLog, externalLabel+`="e2e"`); err != nil {
		return err
	}
	e.cold, err = thanos.Start(ctx, e.thanosPath)
	return err
}

// prometheus describes a Prometheus over the data directory of that name.
func (e *environment) prometheus(name string, port int) stack.Prometheus {
	return stack.Prometheus{
		Name: name, Port: port, Dir: e.dir, Data: e.path(name), Retention: "60d",
		ScrapeItself: name != "oracle",
	}
}

func (e *environment) stop() {
	if e.cold != nil {
		e.cold.Stop()
	}
	for _, server := range []*stack.Server{e.hot, e.oracle} {
		if server != nil {
			_ = server.Stop()
		}
	}
}
