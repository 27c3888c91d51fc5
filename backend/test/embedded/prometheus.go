// Package embedded runs the storage, the engine and the HTTP API of Prometheus
// inside this process: tiers of the demo and of tests that start at once. The
// end-to-end tests use real servers instead.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// Options describe a Prometheus.
type Options struct {
	// Address to listen on, such as 127.0.0.1:9090; port 0 picks a free one.
	Address string
	// Data is the directory of its blocks, which may be empty.
	Data string
	// Retention is how long it says it keeps samples.
	Retention time.Duration
	// Live, if not nil, adds the samples of the generator as time goes by,
	// from LiveFrom on.
	Live     *history.Generator
	LiveFrom time.Time
	// RuleFiles are files of rules that it evaluates.
	RuleFiles []string
	// ExternalLabels are those of its configuration. Its series do not have them.
	ExternalLabels map[string]string
}

// Prometheus is a running one.
type Prometheus struct {
	// URL is its base URL.
	URL string

	db      *tsdb.DB
	handler http.Handler
	cancel  context.CancelFunc
	running sync.WaitGroup

	scrapers []*scrape.Manager
	rules    *rules.Manager // nil without rules

	serving sync.Mutex
	server  *http.Server // nil while it is disconnected
}

// Start opens the data and serves it.
func Start(options Options) (*Prometheus, error) {
	discard := slog.New(slog.DiscardHandler)
	tsdbOptions := tsdb.DefaultOptions()
	tsdbOptions.RetentionDuration = options.Retention.Milliseconds()
	tsdbOptions.StripeSize = 1 << 10 // For few series. It is allocated at the start.
	db, err := tsdb.Open(options.Data, discard, prometheus.NewRegistry(), tsdbOptions, nil)
	if err != nil {
		return nil, fmt.Errorf("open the data: %w", err)
	}
	listener, err := listen(options.Address)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	engine := newEngine(discard)
	ruleManager, err := newRules(ctx, db, engine, options.RuleFiles)
	if err != nil {
		cancel()
		return nil, errors.Join(err, listener.Close(), db.Close())
	}
	p := &Prometheus{
		URL: "http://" + listener.Addr().String(), db: db, cancel: cancel,
		handler: handler(db, engine, ruleManager, options, discard),
	}
	if len(options.RuleFiles) > 0 {
		p.rules = ruleManager
		p.running.Go(ruleManager.Run) // It returns when it is stopped.
	}
	p.serve(listener)
	if options.Live != nil {
		p.running.Go(func() { p.live(ctx, *options.Live, options.LiveFrom) })
	}
	return p, nil
}

// Close stops serving and closes the data.
func (p *Prometheus) Close() error {
	p.cancel()
	for _, each := range p.scrapers {
		each.Stop()
	}
	if p.rules != nil {
		p.rules.Stop()
	}
	err := p.Disconnect()
	p.running.Wait()
	return errors.Join(err, p.db.Close())
}

// Disconnect closes all connections and the listener: new connections are refused, as after
// the end of the process. Samples are still added.
func (p *Prometheus) Disconnect() error {
	p.serving.Lock()
	defer p.serving.Unlock()
	if p.server == nil {
		return nil
	}
	err := p.server.Close()
	p.server = nil
	return err
}

// Reconnect ends what Disconnect began. It returns an error if something else listens on the
// address now.
func (p *Prometheus) Reconnect() error {
	p.serving.Lock()
	defer p.serving.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := listen(strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		return err
	}
	p.serve(listener)
	return nil
}

func listen(address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// serve serves connections until Disconnect.
func (p *Prometheus) serve(listener net.Listener) {
	server := &http.Server{Handler: p.handler, ReadHeaderTimeout: 10 * time.Second}
	p.server = server
	p.running.Go(func() { _ = server.Serve(listener) }) // It returns when it is closed.
}

// live adds the samples up to now, again and again.
func (p *Prometheus) live(ctx context.Context, generator history.Generator, from time.Time) {
	ticker := time.NewTicker(min(generator.Interval, time.Second))
	defer ticker.Stop()
	for {
		to := time.Now()
		appender := p.db.Appender(ctx)
		if err := errors.Join(generator.Append(appender, from, to), appender.Commit()); err != nil {
			slog.Error("the embedded Prometheus could not add samples", "error", err)
		}
		from = to
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func newEngine(logger *slog.Logger) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger: logger, MaxSamples: 50_000_000, Timeout: 2 * time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true,
	})
}

func handler(db *tsdb.DB, engine *promql.Engine, ruleManager *rules.Manager, options Options, logger *slog.Logger) http.Handler {
	started := time.Now()
	settings := config.DefaultConfig
	settings.GlobalConfig.ExternalLabels = labels.FromMap(options.ExternalLabels)
	api := v1.NewAPI(
		engine, db, nil, db,
		func(context.Context) v1.ScrapePoolsRetriever { return nothing{} },
		func(context.Context) v1.TargetRetriever { return nothing{} },
		func(context.Context) v1.AlertmanagerRetriever { return nil },
		func() config.Config { return settings },
		map[string]string{}, v1.GlobalURLOptions{},
		func(next http.HandlerFunc) http.HandlerFunc { return next },
		statistics{db}, db.Dir(), false, false, 0, logger,
		func(context.Context) v1.RulesRetriever { return ruleManager },
		math.MaxInt32, 10, math.MaxInt32, false, nil,
		func() (v1.RuntimeInfo, error) {
			return v1.RuntimeInfo{StartTime: started, StorageRetention: fmt.Sprintf("%dh", int(options.Retention.Hours()))}, nil
		},
		&v1.PrometheusVersion{Version: "embedded"}, nil, nil,
		prometheus.NewRegistry(), prometheus.NewRegistry(), nil,
		false, nil, false, false, false, 5*time.Minute, false, false, nil, nil,
		// The description of the whole API would take longer than all else at the start.
		v1.OpenAPIOptions{IncludePaths: []string{"/query"}}, parser.NewParser(parser.Options{}), false, 2*time.Minute,
	)
	router := route.New()
	api.Register(router.WithPrefix("/api/v1"))
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		router.Get(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	}
	return router
}

// statistics fits the storage to what the API asks of it; what would change
// the data is not offered.
type statistics struct{ *tsdb.DB }

// Stats counts what is in the head.
func (s statistics) Stats(label string, limit int) (*tsdb.Stats, error) {
	return s.Head().Stats(label, limit), nil
}

// WALReplayStatus is that of a database that is open.
func (statistics) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }

// BlockMetas lists the blocks.
func (s statistics) BlockMetas() ([]tsdb.BlockMeta, error) { return s.DB.BlockMetas(), nil }

// nothing is scraped.
type nothing struct{}

// ScrapePools lists none.
func (nothing) ScrapePools() []string { return nil }

// TargetsActive lists none.
func (nothing) TargetsActive() map[string][]*scrape.Target { return nil }

// TargetsDropped lists none.
func (nothing) TargetsDropped() map[string][]*scrape.Target { return nil }

// TargetsDroppedCounts lists none.
func (nothing) TargetsDroppedCounts() map[string]int { return nil }

// ScrapePoolConfig knows none.
func (nothing) ScrapePoolConfig(name string) (*config.ScrapeConfig, error) {
	return nil, fmt.Errorf("there is no scrape pool %q", name)
}
