//go:build e2e

package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	minute = time.Minute
	// reach is how far back the replicas hold samples, and future how far the
	// samples that are written beforehand reach beyond the start of a test.
	reach, future = 4 * time.Hour, 2 * time.Hour
)

// pod is a Prometheus that stands for a pod.
type pod struct {
	name    string
	data    string
	labels  map[string]any
	server  *stack.Server
	started int // how often

	certificate, key string // with which it speaks TLS, or empty
	more             []string
}

// anyCertificate is a client for asking whether a server is ready.
var anyCertificate = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// pair are the replicas of one Prometheus behind the Service prometheus-k8s.
type pair struct {
	pods *network
	list []*pod
	dir  string
	next int // the last byte of the next address
	at   map[*pod]string
}

// newReplicaPair makes replicas with the samples of a history, each with a gap that
// the other has not: the first one from 60 to 50 minutes ago, the second one
// from 40 to 30.
func newReplicaPair(t *testing.T) *pair {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "pair-")
	require.NoError(t, err)
	p := &pair{pods: &network{}, dir: dir, next: 1, at: map[*pod]string{}}
	now := time.Now().Truncate(minute)
	generator := history.Generator{Interval: minute}
	for i, gap := range []time.Duration{60 * minute, 40 * minute} {
		name := fmt.Sprintf("prometheus-k8s-%d", i)
		one := &pod{name: name, data: filepath.Join(dir, name), labels: map[string]any{"cluster": "lab", "prometheus_replica": name}}
		require.NoError(t, generator.WriteBlocks(t.Context(), one.data, now.Add(-reach), now.Add(-gap)))
		require.NoError(t, generator.WriteBlocks(t.Context(), one.data, now.Add(-gap).Add(10*minute), now.Add(future)))
		p.list = append(p.list, one)
	}
	t.Cleanup(func() {
		for _, each := range p.list {
			if each.server != nil {
				each.server.Kill()
			}
		}
	})
	return p
}

// start starts a pod at an address that no pod had before.
func (p *pair) start(ctx context.Context, one *pod) error {
	one.started++
	server, err := stack.Prometheus{
		Name: fmt.Sprintf("%s-%d", one.name, one.started), Dir: p.dir, Data: one.data, Retention: "60d", ScrapeItself: true,
		Global: map[string]any{"external_labels": one.labels}, Arguments: one.more,
		Certificate: one.certificate, Key: one.key,
		ReadyClient: anyCertificate,
	}.Start(ctx, shared.prometheusPath)
	if err != nil {
		return err
	}
	one.server = server
	address := fmt.Sprintf("10.0.1.%d", p.next)
	p.next++
	p.at[one] = address
	base, err := url.Parse(server.URL)
	if err != nil {
		return err
	}
	p.pods.route(address+":9090", base.Host)
	return nil
}

// slice is the EndpointSlice of the Service; without those pods that are not
// started, and with those not ready that are named.
func (p *pair) slice(notReady ...*pod) string {
	var pods []string
	for _, each := range p.list {
		address, found := p.at[each]
		if !found {
			continue
		}
		text := each.name + "=" + address
		for _, other := range notReady {
			if other == each {
				text += "!"
			}
		}
		pods = append(pods, text)
	}
	return slice("prometheus-k8s", 9090, pods...)
}

// expose makes the Service and its slice.
func (p *pair) expose(t *testing.T, appProtocol string) {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %s, name: prometheus-k8s}
spec: {selector: {app: prometheus}, ports: [{name: web, port: 9091, targetPort: web, appProtocol: %s}]}
---
%s`, monitoring, appProtocol, p.slice()))
}

// startAll starts all pods, and a gateway without a cold tier that knows them.
func (p *pair) startAll(t *testing.T) *runningGateway {
	t.Helper()
	for _, each := range p.list {
		require.NoError(t, p.start(t.Context(), each))
	}
	p.expose(t, "http")
	g := newGateway(t, p.pods, func(config *datasource.Config) { config.Cold.URL = "" })
	g.waitFor(t, eventually, "all replicas are available", p.allAvailable)
	return g
}

// allAvailable reports whether the gateway knows every pod by the address that it has
// now, and asks it.
func (p *pair) allAvailable(health resolve.Health) bool {
	for _, each := range health.Tiers["hot"].Replicas {
		if !each.Available {
			return false
		}
	}
	known := strings.Join(health.Services["hot"].Addresses, " ")
	for _, each := range p.list {
		address, runs := p.at[each]
		if !runs || !strings.Contains(known, address+":") {
			return false
		}
	}
	return len(health.Tiers["hot"].Replicas) == len(p.list)
}

// panels are queries that a dashboard refreshes.
func panels(count int) []string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf(`sum by (job) (rate(http_requests_total[%dm]))`, 4+i))
	}
	return list
}

// replicaOf asks the gateway which replica it would ask.
func (g *runningGateway) replicaOf(t *testing.T, parameters url.Values) string {
	t.Helper()
	got, err := g.ask(t.Context(), "datasources/explain", parameters)
	require.NoError(t, err)
	_, after, found := strings.Cut(got.body, `"replica":"`)
	require.True(t, found, got.body)
	name, _, _ := strings.Cut(after, `"`)
	return name
}

// users refresh panels, each one panel after the other, until they are stopped.
type users struct {
	cancel context.CancelFunc
	group  errgroup.Group
	// asked counts the answered queries of each user.
	asked  []atomic.Int64
	failed chan string
}

// load starts users.
func (g *runningGateway) load(ctx context.Context, count int) *users {
	u := &users{asked: make([]atomic.Int64, count), failed: make(chan string, 10_000)}
	ctx, u.cancel = context.WithCancel(ctx)
	queries := panels(20)
	for user := range count {
		u.group.Go(func() error {
			for i := user; ctx.Err() == nil; i++ {
				end := time.Now()
				got, err := g.ask(ctx, "query_range", panel.RangeQuery(queries[i%len(queries)], end, 10*minute, 15*time.Second))
				switch {
				case ctx.Err() != nil:
				case err != nil:
					u.failed <- err.Error()
				case got.status != http.StatusOK:
					u.failed <- fmt.Sprintf("status %d: %s", got.status, got.body)
				default:
					u.asked[user].Add(1)
				}
			}
			return nil
		})
	}
	return u
}

// round waits until every user has begun and finished a query. No query then asks
// pods that the gateway knew before.
func (u *users) round(t *testing.T) {
	t.Helper()
	for i := range u.asked {
		before := u.asked[i].Load()
		require.Eventually(t, func() bool { return u.asked[i].Load() >= before+2 || len(u.failed) > 0 }, eventually, time.Millisecond)
	}
}

// stop ends the load. It returns the number of answered queries, and those that failed.
func (u *users) stop() (asked int64, failed []string) {
	u.cancel()
	_ = u.group.Wait()
	close(u.failed)
	for each := range u.failed {
		failed = append(failed, each)
	}
	for i := range u.asked {
		asked += u.asked[i].Load()
	}
	return asked, failed
}
