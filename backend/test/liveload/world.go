package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/remotewrite"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	hotReach, coldReach = 2 * time.Hour, 26 * time.Hour
	// interval is the time between two samples, which are taken phase after its multiples, and so
	// before a step.
	interval, phase = 5 * time.Second, 3 * time.Second
	// lateness is how late the samples of one instance are.
	lateness = 7 * time.Second
)

// inCold are the labels of hot's series in cold and in the oracle.
var inCold = map[string]string{"cluster": "lab"}

type document = map[string]any

// world is every server of the load.
type world struct {
	options

	dir      string
	progress io.Writer
	programs map[string]string // by name
	started  []interface{ Stop() error }

	hot, oracle *stack.Server
	cold        *stack.ThanosServers
	gateways    [2]*stack.Server

	// feeding is held while samples are sent, and while hot restarts: nobody has samples of that time.
	feeding sync.Mutex
	late    []lateSamples
	until   time.Time // of the history
}

// lateSamples are samples that are sent later than others.
type lateSamples struct {
	due     time.Time
	samples []prompb.TimeSeries
}

func (w *world) say(format string, values ...any) {
	_, _ = fmt.Fprintf(w.progress, time.Now().Format(time.TimeOnly)+" "+format+"\n", values...)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// start builds the programs and the history, and starts the servers.
func (w *world) start(ctx context.Context) error {
	w.say("build programs and history")
	w.programs = map[string]string{}
	for _, name := range []string{"prometheus", "thanos"} {
		path, err := stack.Tool(ctx, w.progress, name)
		if err != nil {
			return err
		}
		w.programs[name] = path
	}
	var err error
	if w.programs["tierproxy"], err = stack.BuildTierproxy(ctx, w.dir); err != nil {
		return err
	}
	if err := w.writeHistory(ctx); err != nil {
		return err
	}
	w.say("start the servers")
	if err := w.startTiers(ctx); err != nil {
		return err
	}
	for i := range w.gateways {
		if err := w.startGateway(ctx, i, 0); err != nil {
			return err
		}
	}
	return nil
}

// writeHistory writes what hot, cold and the oracle have at first.
func (w *world) writeHistory(ctx context.Context) error {
	w.until = time.Now().Truncate(interval)
	plain := history.Generator{Interval: 15 * time.Second}
	labelled := plain
	for _, each := range plain.All() {
		each.Labels = withLabels(each.Labels, inCold)
		labelled.Only = append(labelled.Only, each)
	}
	return errors.Join(
		plain.WriteBlocks(ctx, w.path("hot"), w.until.Add(-hotReach), w.until),
		plain.WriteBlocks(ctx, w.path("old"), w.until.Add(-coldReach), w.until.Add(-hotReach)),
		labelled.WriteBlocks(ctx, w.path("oracle"), w.until.Add(-coldReach), w.until),
	)
}

// startTiers starts hot, the oracle, and a Thanos over a store and hot's sidecar.
func (w *world) startTiers(ctx context.Context) (err error) {
	if w.hot, err = w.prometheus(ctx, "hot", inCold, 0); err != nil {
		return err
	}
	if w.oracle, err = w.prometheus(ctx, "oracle", nil, 0); err != nil {
		return err
	}
	sidecar, err := stack.Thanos{Dir: w.dir}.StartPart(ctx, w.programs["thanos"], "sidecar", "--tsdb.path", w.path("hot"), "--prometheus.url", w.hot.URL)
	if err != nil {
		return err
	}
	w.started = append(w.started, sidecar)
	cold := stack.Thanos{Dir: w.dir, Bucket: w.path("bucket"), QueryArguments: []string{"--endpoint=" + sidecar.GRPC}}
	if err := cold.Upload(ctx, w.programs["thanos"], w.path("old"), io.Discard, `cluster="lab"`); err != nil {
		return err
	}
	w.cold, err = cold.Start(ctx, w.programs["thanos"])
	return err
}

// prometheus starts a Prometheus that takes samples; port is 0 for any.
func (w *world) prometheus(ctx context.Context, name string, external map[string]string, port int) (*stack.Server, error) {
	described := stack.Prometheus{
		Name: name, Dir: w.dir, Data: w.path(name), Retention: "10y", OutOfOrderWindow: "10m", Port: port,
		Arguments: []string{"--web.enable-remote-write-receiver"},
	}
	if external != nil {
		described.Global = document{"external_labels": external}
	}
	return described.Start(ctx, w.programs["prometheus"])
}

// startGateway starts one of the gateways; port is 0 for any.
func (w *world) startGateway(ctx context.Context, number, port int) (err error) {
	w.gateways[number], err = stack.Tierproxy{
		Name: fmt.Sprintf("tierproxy-%d", number), Dir: w.dir, LogLevel: "info", Port: port,
		Config: document{
			"hot": document{"url": w.hot.URL}, "cold": document{"url": w.cold.Query.URL}, "discovery": document{"enabled": false},
			// All subscribers have one address, and so are one caller.
			"live": document{"max_streams": 2 * w.subscribers, "max_streams_per_caller": 2 * w.subscribers},
		},
	}.Start(ctx, w.programs["tierproxy"])
	return err
}

// portOf returns the port of a server.
func portOf(server *stack.Server) int {
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	number, _ := strconv.Atoi(port) // A URL of ours.
	return number
}

// stop stops everything.
func (w *world) stop() {
	for _, server := range []*stack.Server{w.gateways[0], w.gateways[1], w.hot, w.oracle} {
		if server != nil {
			_ = server.Stop()
		}
	}
	if w.cold != nil {
		w.cold.Stop()
	}
	for _, server := range w.started {
		_ = server.Stop()
	}
}

// feed sends samples to hot and to the oracle until the context ends.
func (w *world) feed(ctx context.Context) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	last := w.until
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.tick(ctx, &last); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// tick sends the samples that are due. last is when the newest ones were taken.
func (w *world) tick(ctx context.Context, last *time.Time) error {
	w.feeding.Lock()
	defer w.feeding.Unlock()
	var due []prompb.TimeSeries
	if now := time.Now().Add(-phase).Truncate(interval).Add(phase); now.After(*last) {
		*last = now
		late := lateSamples{due: now.Add(lateness)}
		for _, each := range (history.Generator{}).All() {
			if each.Labels.Get("instance") == "cart-1:8080" {
				late.samples = append(late.samples, remotewrite.Sample(each, now))
			} else {
				due = append(due, remotewrite.Sample(each, now))
			}
		}
		w.late = append(w.late, late)
	}
	for len(w.late) > 0 && !time.Now().Before(w.late[0].due) {
		due = append(due, w.late[0].samples...)
		w.late = w.late[1:]
	}
	if len(due) == 0 {
		return nil
	}
	return errors.Join(remotewrite.Send(ctx, w.hot.URL, due), remotewrite.Send(ctx, w.oracle.URL, remotewrite.Labelled(due, inCold)))
}

// restartHot restarts hot.
func (w *world) restartHot(ctx context.Context) (err error) {
	w.feeding.Lock()
	defer w.feeding.Unlock()
	if err := w.hot.Stop(); err != nil {
		return err
	}
	w.hot, err = w.prometheus(ctx, "hot", inCold, portOf(w.hot))
	return err
}

// restartCold restarts the store and the query of cold.
func (w *world) restartCold(ctx context.Context) error {
	if err := errors.Join(w.cold.Query.Stop(), w.cold.Store.Stop()); err != nil {
		return err
	}
	return errors.Join(w.cold.RestartStore(ctx, w.programs["thanos"]), w.cold.RestartQuery(ctx, w.programs["thanos"]))
}

// restartGateway restarts the second gateway. It is killed instead of stopped if isKilled is set.
func (w *world) restartGateway(ctx context.Context, isKilled bool) error {
	old := w.gateways[1]
	if isKilled {
		old.Kill()
	} else if err := old.Stop(); err != nil {
		return err
	}
	return w.startGateway(ctx, 1, portOf(old))
}
