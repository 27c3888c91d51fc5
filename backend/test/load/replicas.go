package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	replicasReach = 26 * time.Hour
	// betweenLooks is the time between two looks at a dashboard over two replicas.
	betweenLooks = 30 * time.Minute
)

// replicaBench measures how many points of a dashboard change that it has shown before, over two
// replicas of a Prometheus that Thanos deduplicates.
type replicaBench struct {
	*world

	report         *report
	replicas       []*stack.Server // Prometheus
	through, alone *stack.Server   // tierproxy, and one without hot
}

// measureReplicas looks at a dashboard twice, at Thanos directly and through tierproxy, and adds the
// points that changed to the report. It returns an error if a request was not answered.
func measureReplicas(ctx context.Context, table *report) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	b := &replicaBench{world: &world{dir: dir, progress: os.Stderr}, report: table}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer b.stop()
	table.progress("build programs and two replicas, and start the servers")
	if err := b.start(ctx); err != nil {
		return err
	}
	table.progress("look at a dashboard twice")
	return b.run(ctx)
}

// replica returns the history of one of two replicas. It misses up to ten minutes now and then, but
// nothing of the last hour, so that hot covers that.
func replica(number int, from, now time.Time) history.Generator {
	random := rand.New(rand.NewSource(int64(number))) //nolint:gosec // Not a secret.
	made := history.Generator{Interval: refreshInterval, Offset: time.Duration(number) * 13 * time.Second}
	missed := map[int64]bool{}
	for at := from.Truncate(made.Interval); at.Before(now.Add(-time.Hour)); at = at.Add(time.Duration(random.Intn(40)) * time.Minute) {
		for range random.Intn(20) {
			missed[at.UnixMilli()] = true
			at = at.Add(made.Interval)
		}
	}
	made.Misses = func(at int64) bool { return missed[at] }
	return made
}

// start makes the history and starts the servers.
func (b *replicaBench) start(ctx context.Context) error {
	if err := b.buildFor(ctx, []string{"prometheus", "thanos"}, future); err != nil {
		return err
	}
	now := time.Now()
	thanos := stack.Thanos{Dir: b.dir, Bucket: b.path("bucket"), QueryArguments: []string{"--query.replica-label", "replica"}}
	log, err := os.Create(b.path("upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	for i := range 2 {
		name, from := fmt.Sprintf("replica-%d", i), now.Add(-replicasReach)
		if err := replica(i, from, now).WriteBlocks(ctx, b.path(name), from, now.Add(future)); err != nil {
			return err
		}
		if err := thanos.Upload(ctx, b.programs["thanos"], b.path(name), log, `cluster="load"`, fmt.Sprintf("replica=%q", name)); err != nil {
			return err
		}
		server, err := b.prometheus(ctx, name, func(p *stack.Prometheus) {
			p.OutOfOrderWindow, p.ScrapeItself = "0s", false
			p.Global = document{"external_labels": map[string]string{"cluster": "load", "replica": name}}
		})
		if err != nil {
			return err
		}
		b.replicas = append(b.replicas, server)
	}
	servers, err := thanos.Start(ctx, b.programs["thanos"])
	if err != nil {
		return err
	}
	b.coldQuery, b.coldStore = servers.Query, servers.Store
	b.started = append(b.started, servers.Store, servers.Query)
	cold := document{"url": b.coldQuery.URL}
	if b.through, err = b.tierproxy(ctx, "tierproxy-pair", document{
		"hot": []document{{"url": b.replicas[0].URL}, {"url": b.replicas[1].URL}}, "cold": cold,
	}); err != nil {
		return err
	}
	b.alone, err = b.tierproxy(ctx, "tierproxy-alone", document{"cold": cold})
	return err
}

// run looks at the dashboard twice in each way.
func (b *replicaBench) run(ctx context.Context) error {
	shown := window{24 * time.Hour, time.Minute}
	now := time.Now().Truncate(shown.step)
	first := now.Add(-betweenLooks)
	ways := []*way{{name: "Thanos", bases: []string{b.coldQuery.URL}}, {name: "two replicas in hot", bases: []string{b.through.URL}}, {name: "datasource with cold alone", bases: []string{b.alone.URL}}}
	before := map[string]points{}
	for _, each := range ways {
		each.client = httpClient()
		defer each.client.CloseIdleConnections()
		if each.name != "Thanos" {
			if _, err := each.untilKept(ctx, shown, first, keptPart); err != nil {
				return err
			}
		}
		for _, panel := range panels {
			found, err := each.look(ctx, panel, shown, first)
			if err != nil {
				return err
			}
			before[each.name+panel] = found
		}
	}
	if err := confirm(ctx); err != nil {
		return err
	}
	ofThanos := 0.0
	for i, each := range ways {
		different, common := 0, 0
		for _, panel := range panels {
			found, err := each.look(ctx, panel, shown, now)
			if err != nil {
				return err
			}
			old := before[each.name+panel].from(now.Add(-shown.span))
			common += len(old)
			different += differentIn(found.until(first), old)
		}
		if common == 0 {
			return fmt.Errorf("%s has no points", each.name)
		}
		changed := float64(different) / float64(common)
		if i == 0 {
			ofThanos = changed
			continue
		}
		b.report.add(row{
			what:    "24 h of two replicas, step 1 min, looked at twice within half an hour: old points that change, " + each.name,
			against: "Thanos Query with deduplication", direct: percent(ofThanos), through: percent(changed), goal: "0", measured: percent(changed),
		}, different == 0)
	}
	return nil
}

// look returns the points of a panel.
func (w *way) look(ctx context.Context, panel string, shown window, end time.Time) (points, error) {
	text, err := w.ask(ctx, panel, shown, end)
	if err != nil {
		return nil, err
	}
	return pointsOf(text)
}
