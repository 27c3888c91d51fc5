// Package hotreplicas starts a datasource whose hot tier are replicas at given addresses. Outside of
// tests, replicas are found as the servers of a Service of Kubernetes.
package hotreplicas

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Options describe a datasource.
type Options struct {
	// Hot are the addresses of the replicas, and Cold is that of cold, or empty for none.
	Hot  []string
	Cold string
	// ExternalLabels are those of hot, and ReplicaLabels those that cold removes.
	ExternalLabels map[string]string
	ReplicaLabels  []string
	// Threshold and Strategy are those of the datasource.
	Threshold time.Duration
	Strategy  tier.Strategy
	// ProbeInterval is the time between two probes.
	ProbeInterval time.Duration
	// Blind is set if the replicas do not tell which targets they could not scrape.
	Blind bool
}

// Start starts a datasource, waits for the first probes and looks at targets, and returns the address of a server that
// answers queries by it. The replica that answered is in the header X-Tier-Replica.
func Start(t *testing.T, options Options) string {
	t.Helper()
	s := &starter{options: options}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(t.Context())
	datasource := &engine.Datasource{Name: "metrics", Threshold: options.Threshold, Strategy: options.Strategy, Detailed: true}
	if options.Cold != "" {
		datasource.Cold = s.tier(ctx, t, tier.Cold, options.Cold, "")
	}
	for i, address := range options.Hot {
		replica := engine.Replica{Hot: s.tier(ctx, t, tier.Hot, address, "prometheus-"+strconv.Itoa(i)), Ready: true}
		require.Eventually(t, func() bool {
			replica.Hot.TargetHoles(t.Context(), targets.HonoredLabels{}, func(targets.Hole) []promql.Selector { return nil })
			_, lookedAt := replica.Hot.KnownTargetHoles()
			return options.Blind || !lookedAt.IsZero()
		}, time.Minute, 10*time.Millisecond, "the targets were not looked at")
		if datasource.Cold != nil {
			replica.Catalog = catalog.New(catalog.Options{
				Hot: replica.Hot, Cold: datasource.Cold, LearnInterval: 4 * options.ProbeInterval, ExternalLabels: options.ExternalLabels, ReplicaLabels: options.ReplicaLabels,
			})
			s.running.Go(func() { replica.Catalog.Run(ctx) })
			replica.Catalog.Wait(t.Context())
		}
		datasource.Hot = append(datasource.Hot, replica)
	}
	answering := engine.New(engine.Options{Timeout: time.Minute, Lifetime: ctx, OnRetry: func(engine.Next) {}, PieceBytes: 1 << 26})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		endpoint := promapi.Endpoint(strings.TrimPrefix(incoming.URL.Path, "/api/v1/"))
		request, err := promapi.ReadRequest(incoming, endpoint, incoming.URL.Path, time.Now())
		var response *engine.Response
		if err == nil {
			response, err = answering.Do(incoming.Context(), engine.Query{Request: request, Datasource: datasource})
		}
		if err != nil {
			promapi.WriteError(w, err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		maps.Copy(w.Header(), response.Header)
		w.Header().Del("Content-Length") // Warnings may come on top of it.
		for name, value := range map[string]string{"X-Tier": string(response.Tier), "X-Tier-Reason": string(response.Reason), "X-Tier-Replica": response.Replica} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(response.Status)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(func() {
		server.Close()
		s.cancel()
		s.running.Wait()
	})
	return server.URL
}

// starter is what the parts of a datasource have in common.
type starter struct {
	options Options
	cancel  func()
	running sync.WaitGroup
}

// tier starts a tier, and waits for its first probe.
func (s *starter) tier(ctx context.Context, t *testing.T, name tier.Name, address, replica string) *catalog.Tier {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	started := catalog.NewTier(catalog.TierOptions{Name: name, Client: client, Replica: replica, ProbeInterval: s.options.ProbeInterval, LearnInterval: 4 * s.options.ProbeInterval})
	t.Cleanup(started.Close)
	s.running.Go(func() { started.Run(ctx) })
	started.Wait(t.Context())
	return started
}
