//go:build e2e

package oracle

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/remotewrite"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	liveInterval  = 2 * time.Second // between two samples that are written during the test
	liveReach     = 90 * minute     // of the history
	liveHotReach  = 24 * minute
	liveStoreEnds = 12 * minute // before now; the sidecars have what is newer
	liveThreshold = 5 * minute
	// liveLate is how late some senders are, and liveFreshness how late they may be.
	liveLate, liveFreshness = 3 * time.Second, 10 * time.Second
)

// liveWorld has tiers that get samples as time goes by: a hot Prometheus, a Prometheus of another
// cluster, and a Thanos over both of their sidecars and a store with what is older. One Prometheus
// has everything.
type liveWorld struct {
	*world
	hot, other, whole *stack.Server
	cold              *stack.ThanosServers
	gateway           *runningGateway
	slow              *httptest.Server // the same gateway over connections that hold little

	made, foreign []liveSeries // of hot's cluster and of the other one

	mutex sync.Mutex // held while samples are written, and while hot restarts
	late  []lateBatch
	stop  chan struct{}
	ended sync.WaitGroup
}

// liveSeries is a series that may be away at times.
type liveSeries struct {
	history.Series

	// isThere is nil for a series that always is.
	isThere func(milliseconds int64) bool
}

// pods returns series of which only one has samples at a time, each for some seconds.
func pods() (list []liveSeries) {
	const count, lives = 6, 10_000 // milliseconds
	for i := range int64(count) {
		list = append(list, liveSeries{history.Series{
			Labels: labels.FromStrings(model.MetricNameLabel, "pod_requests_total", "job", "pod", "instance", fmt.Sprintf("pod-%d:8080", i)),
			Value:  func(at int64) float64 { return float64(at / 1000 % 10_000) },
		}, func(at int64) bool { return at/lives%count == i }})
	}
	return list
}

// lateBatch are samples that are sent later than others.
type lateBatch struct {
	due            time.Time
	mine, foreigns []prompb.TimeSeries
}

func newLiveWorld(t *testing.T) *liveWorld {
	t.Helper()
	w := &liveWorld{world: shopWorld(t), stop: make(chan struct{}), made: pods()}
	w.boundary = w.now.Add(-liveHotReach)
	for _, each := range (history.Generator{}).All() {
		w.made = append(w.made, liveSeries{Series: each})
		if slices.Contains(shared, each.Labels.Get(model.MetricNameLabel)) {
			value := each.Value
			each.Value = func(at int64) float64 { return value(at + (3 * hour).Milliseconds()) }
			w.foreign = append(w.foreign, liveSeries{Series: each})
		}
	}
	from := w.now.Add(-liveReach)
	mine, foreigns := loaded(w.made, from, w.now), loaded(w.foreign, from, w.now)
	w.write(t, "hot", mine, w.boundary, w.now, nil)
	w.write(t, "other", foreigns, w.boundary, w.now, nil)
	w.write(t, "old", mine, from, w.now.Add(-liveStoreEnds), nil)
	w.write(t, "old-other", foreigns, from, w.now.Add(-liveStoreEnds), nil)
	w.write(t, "whole", mine, from, w.now, labelsInCold)
	w.write(t, "whole", foreigns, from, w.now, otherLabels)
	w.hot, w.other, w.whole = w.receiving(t, "hot", labelsInCold, 0), w.receiving(t, "other", otherLabels, 0), w.receiving(t, "whole", nil, 0)
	var endpoints []string
	for _, each := range []struct {
		name string
		of   *stack.Server
	}{{"hot", w.hot}, {"other", w.other}} {
		sidecar, err := stack.Thanos{Dir: w.dir}.StartPart(t.Context(), w.thanosPath, "sidecar", "--tsdb.path", filepath.Join(w.dir, each.name), "--prometheus.url", each.of.URL)
		require.NoError(t, err)
		t.Cleanup(sidecar.Kill)
		endpoints = append(endpoints, "--endpoint="+sidecar.GRPC)
	}
	w.startCold(t, map[string][]string{"old": pairs(labelsInCold), "old-other": pairs(otherLabels)}, endpoints...)
	w.feed(t)
	w.startGateway(t)
	return w
}

// startCold starts a Thanos that does not deduplicate: where it changes from the store to a sidecar, it
// would leave out samples.
func (w *liveWorld) startCold(t *testing.T, sources map[string][]string, endpoints ...string) {
	t.Helper()
	directory := filepath.Join(w.dir, "cold")
	require.NoError(t, os.MkdirAll(directory, 0o700))
	cold := stack.Thanos{Dir: directory, Bucket: filepath.Join(directory, "bucket"), QueryArguments: append(endpoints, "--enable-feature=promql-experimental-functions")}
	for source, sets := range sources {
		require.NoError(t, cold.Upload(t.Context(), w.thanosPath, filepath.Join(w.dir, source), io.Discard, sets...))
	}
	var err error
	w.cold, err = cold.Start(t.Context(), w.thanosPath)
	require.NoError(t, err)
	t.Cleanup(func() { w.cold.Stop() })
	running.AwaitStores(t, w.cold.Query, "cluster", len(sources)+len(endpoints))
}

// loaded returns the samples of series from a time to another.
func loaded(all []liveSeries, from, to time.Time) []loadedSeries {
	var list []loadedSeries
	for _, each := range all {
		made := loadedSeries{labels: each.Labels}
		for at := from.Truncate(5 * time.Second); at.Before(to); at = at.Add(5 * time.Second) {
			if each.isThere != nil && !each.isThere(at.UnixMilli()) {
				continue
			}
			sample := loadedSample{at: at.UnixMilli()}
			if each.Histogram != nil {
				sample.histogramI = each.Histogram(sample.at)
			} else {
				sample.value = each.Value(sample.at)
			}
			made.samples = append(made.samples, sample)
		}
		list = append(list, made)
	}
	return list
}

// receiving starts a Prometheus that takes samples; port is 0 for any.
func (w *liveWorld) receiving(t *testing.T, name string, external map[string]string, port int) *stack.Server {
	t.Helper()
	global := map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s"}
	if external != nil {
		global["external_labels"] = external
	}
	server, err := stack.Prometheus{
		Name: name, Dir: w.dir, Data: filepath.Join(w.dir, name), Retention: "10y", OutOfOrderWindow: "10m", Port: port, Global: global,
		Arguments: []string{"--enable-feature=promql-experimental-functions", "--web.enable-remote-write-receiver"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// startGateway starts the gateway, once for clients and once for a slow one.
func (w *liveWorld) startGateway(t *testing.T) {
	t.Helper()
	w.gateway = w.world.gateway(t, w.hot.URL, w.cold.Query.URL, func(settings *config.Config) {
		settings.Routing.Threshold, settings.Routing.Freshness = config.Duration(liveThreshold), config.Duration(liveFreshness)
		settings.Live.MaxStreamsPerCaller, settings.Live.Memory = 1000, 512<<20
	})
	w.slow = httptest.NewUnstartedServer(gateway.New(w.gateway.manager))
	w.slow.Listener = narrowListener{w.slow.Listener}
	w.slow.Start()
	t.Cleanup(w.slow.Close)
}

// narrow is how much a connection to a slow client holds.
const narrow = 16 << 10

// narrowListener makes connections that hold little of what is sent.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if connection, is := accepted.(*net.TCPConn); is {
		err = connection.SetWriteBuffer(narrow)
	}
	return accepted, err
}

// feed writes samples until the channel stop is closed: most at once, those of some senders late, and
// some samples out of order.
func (w *liveWorld) feed(t *testing.T) {
	t.Cleanup(w.stopFeeding)
	w.ended.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		last := w.now
		for {
			select {
			case <-w.stop:
				return
			case <-ticker.C:
				last = w.tick(t, last)
			}
		}
	})
}

// stopFeeding returns once nothing more comes.
func (w *liveWorld) stopFeeding() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.ended.Wait()
	w.late = nil // Nobody gets it: it would be too late for the next ones who follow.
}

// tick writes the samples that are due, and returns the time of the newest one.
func (w *liveWorld) tick(t *testing.T, last time.Time) time.Time {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if now := time.Now().Truncate(liveInterval); now.After(last) {
		last = now // What was not written meanwhile never is.
		batch := lateBatch{due: now.Add(liveLate)}
		var mine, foreigns []prompb.TimeSeries
		for i, each := range w.made {
			if each.isThere != nil && !each.isThere(now.UnixMilli()) {
				continue
			}
			// Some senders are late, and each 7th sample of others comes after its successors.
			if strings.HasPrefix(each.Labels.Get("instance"), "checkout-1") || (i+int(now.Unix()/2))%7 == 0 {
				batch.mine = append(batch.mine, remotewrite.Sample(each.Series, now))
			} else {
				mine = append(mine, remotewrite.Sample(each.Series, now))
			}
		}
		for i, each := range w.foreign {
			if (i+int(now.Unix()/2))%7 == 0 {
				batch.foreigns = append(batch.foreigns, remotewrite.Sample(each.Series, now))
			} else {
				foreigns = append(foreigns, remotewrite.Sample(each.Series, now))
			}
		}
		w.late = append(w.late, batch)
		w.sendAll(t, mine, foreigns)
	}
	for len(w.late) > 0 && !time.Now().Before(w.late[0].due) {
		w.sendAll(t, w.late[0].mine, w.late[0].foreigns)
		w.late = w.late[1:]
	}
	return last
}

// sendAll sends samples to the Prometheus of each cluster, and to the one with everything.
func (w *liveWorld) sendAll(t *testing.T, mine, foreigns []prompb.TimeSeries) {
	t.Helper()
	for _, each := range []struct {
		to   *stack.Server
		what []prompb.TimeSeries
	}{{w.hot, mine}, {w.other, foreigns}, {w.whole, append(remotewrite.Labelled(mine, labelsInCold), remotewrite.Labelled(foreigns, otherLabels)...)}} {
		if err := remotewrite.Send(t.Context(), each.to.URL, each.what); err != nil && t.Context().Err() == nil {
			t.Errorf("write to %s: %s", each.to.LogFile, err) // No test ends in this goroutine.
		}
	}
}

// restartHot restarts hot, which is away for a time. Nobody has samples of that time.
func (w *liveWorld) restartHot(t *testing.T, away time.Duration) {
	t.Helper()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	require.NoError(t, w.hot.Stop())
	time.Sleep(away)
	w.late = slices.DeleteFunc(w.late, func(batch lateBatch) bool { return time.Since(batch.due) > liveLate })
	w.hot = w.receiving(t, "hot", labelsInCold, portOf(t, w.hot))
}

// restartCold restarts the store of cold and its query.
func (w *liveWorld) restartCold(t *testing.T) {
	t.Helper()
	require.NoError(t, w.cold.Query.Stop())
	require.NoError(t, w.cold.Store.Stop())
	require.NoError(t, w.cold.RestartStore(t.Context(), w.thanosPath))
	require.NoError(t, w.cold.RestartQuery(t.Context(), w.thanosPath))
}

// labels returns those of all series, as the oracle has them.
func (w *liveWorld) labels() []labels.Labels {
	var all []labels.Labels
	for _, each := range w.made {
		all = append(all, withLabels(each.Labels, labelsInCold))
	}
	for _, each := range w.foreign {
		all = append(all, withLabels(each.Labels, otherLabels))
	}
	return all
}
