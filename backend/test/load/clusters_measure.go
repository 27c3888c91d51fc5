package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// clusterWay is one way to the dashboard.
type clusterWay struct {
	way

	gateway *stack.Server // nil for Thanos
	loads   []clusterLoad
}

// clusterLoad is what one load of the dashboard took.
type clusterLoad struct {
	value  string
	took   time.Duration   // until the last panel was there
	panels []time.Duration // in their order
	hot    int             // panels that hot answered
	cpu    map[string]time.Duration
	own    float64 // own requests of the gateway to cold
}

// The groups of servers whose CPU time is counted.
const thanosGroup, prometheusGroup, gatewayGroup = "Thanos", "Prometheus", "tierproxy"

// clusterBench measures the ways.
type clusterBench struct {
	*clusterWorld

	report       *report
	ways         []*clusterWay // through tierproxy with all, through one with the first, Thanos
	differences  []string
	inUse, idle  []ownRequests // of both gateways
	loadAtTheEnd string
}

// ownRequests are those of a gateway in a stretch of time, by tier.
type ownRequests struct{ cold, hot float64 }

// settle waits until hot answers all that it can.
func (b *clusterBench) settle(ctx context.Context) error {
	for _, each := range []struct {
		name            string
		asked, measured *stack.Server
	}{{"every Prometheus in hot", b.many, b.many}, {"one Prometheus in hot", b.one, b.one}, {"Thanos alone", b.coldQuery, nil}} {
		made := &clusterWay{gateway: each.measured}
		made.name, made.bases, made.client = each.name, []string{each.asked.URL}, httpClient()
		made.processes = map[string]*stack.Server{thanosGroup + " query": b.coldQuery, thanosGroup + " store": b.coldStore}
		for i, name := range b.names {
			made.processes[prometheusGroup+" "+name], made.processes[thanosGroup+" sidecar "+name] = b.prometheus[i], b.sidecars[i]
		}
		if each.measured != nil {
			made.processes[gatewayGroup] = each.measured
		}
		b.ways = append(b.ways, made)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, value := range b.values() {
		for _, way := range b.ways {
			for {
				found, err := way.load(ctx, value)
				if err == nil && found.hot >= b.expected(way, value) {
					break
				}
				select {
				case <-ctx.Done():
					return fmt.Errorf("%s, %s: hot answered %d panels: %w", way.name, value, found.hot, err)
				case <-time.After(time.Second):
				}
			}
		}
	}
	return nil
}

// expected is how many panels hot can answer.
func (b *clusterBench) expected(way *clusterWay, value string) int {
	if value == b.all() || way.gateway == nil || (way.gateway == b.one && value != b.names[0]) {
		return 0
	}
	return len(clusterPanels)
}

// load loads the dashboard with a value of the variable once.
func (w *clusterWay) load(ctx context.Context, value string) (found clusterLoad, err error) {
	found.value, found.panels, found.cpu = value, make([]time.Duration, len(clusterPanels)), map[string]time.Duration{}
	ownBefore, err := w.own(ctx)
	if err != nil {
		return found, err
	}
	before, err := readCPU(target{processes: w.processes})
	if err != nil {
		return found, err
	}
	answers, end := make([]clusterAnswer, len(clusterPanels)), time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, panel := range clusterPanels {
		group.Go(func() (err error) {
			answers[i], err = panel.ask(groupContext, w.client, w.bases[0], value, end)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return found, err
	}
	found.took = time.Since(end)
	after, err := readCPU(target{processes: w.processes})
	if err != nil {
		return found, err
	}
	for name := range w.processes {
		of, _, _ := strings.Cut(name, " ")
		found.cpu[of] += after[name] - before[name]
	}
	for i, answer := range answers {
		found.panels[i] = answer.took
		if answer.tier == "hot" {
			found.hot++
		}
	}
	ownAfter, err := w.own(ctx)
	found.own = ownAfter.cold - ownBefore.cold
	return found, err
}

// own returns how many requests of its own the gateway has made so far.
func (w *clusterWay) own(ctx context.Context) (found ownRequests, err error) {
	if w.gateway == nil {
		return found, nil
	}
	_, body, _, err := get(ctx, w.gateway.URL+"/metrics")
	if err != nil {
		return found, err
	}
	for _, line := range lines(string(body), "tierproxy_probe_requests_total{") {
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return found, fmt.Errorf("read %q: %w", line, err)
		}
		if strings.Contains(line, `tier="cold"`) {
			found.cold += value
		} else {
			found.hot += value
		}
	}
	return found, nil
}

// run loads the dashboard with each value in turns, and every way first as often as the others.
func (b *clusterBench) run(ctx context.Context) error {
	for round := range b.options.rounds {
		for i, value := range b.values() {
			for j := range b.ways {
				way := b.ways[(round+i+j)%len(b.ways)]
				found, err := way.load(ctx, value)
				if err != nil {
					return err
				}
				way.loads = append(way.loads, found)
			}
		}
	}
	b.loadAtTheEnd = loadAverage()
	return nil
}

// compare compares the answers of both gateways with those of Thanos.
func (b *clusterBench) compare(ctx context.Context) error {
	end, thanos := time.Now().Add(-time.Minute), b.ways[len(b.ways)-1]
	for _, value := range b.values() {
		for _, way := range b.ways[:len(b.ways)-1] {
			different, all := 0, 0
			for _, panel := range clusterPanels {
				var found [2]points
				for i, each := range []*clusterWay{way, thanos} {
					answer, err := panel.ask(ctx, each.client, each.bases[0], value, end)
					if err == nil {
						found[i], err = pointsOf(answer.text)
					}
					if err != nil {
						return err
					}
				}
				all += len(found[1])
				different += differentIn(found[0], found[1])
			}
			b.differences = append(b.differences, fmt.Sprintf("%s, %s: %d of %d points", way.name, value, different, all))
		}
	}
	return nil
}

// differentIn counts the points of two answers that are not the same. The order in which numbers are
// added may differ, and with it the last digits.
func differentIn(got, expected points) (number int) {
	for name, value := range expected {
		if found, is := got[name]; !is || math.Abs(found-value) > 1e-9*math.Abs(value) {
			number++
		}
	}
	for name := range got {
		if _, is := expected[name]; !is {
			number++
		}
	}
	return number
}

// countOwn counts own requests of the gateways while a user loads the dashboard every 30 s and changes
// the variable each time, and then while nobody asks.
func (b *clusterBench) countOwn(ctx context.Context) (err error) {
	gateways := b.ways[:len(b.ways)-1]
	use := func() error {
		for _, value := range b.values() {
			next := time.After(b.options.counted / time.Duration(len(b.values())))
			for _, way := range gateways {
				if _, err := way.load(ctx, value); err != nil {
					return err
				}
			}
			select {
			case <-next:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	wait := func() error {
		select {
		case <-time.After(b.options.counted):
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	if b.inUse, err = b.counted(ctx, gateways, use); err != nil {
		return err
	}
	b.idle, err = b.counted(ctx, gateways, wait)
	return err
}

// counted returns the own requests of gateways while do runs.
func (b *clusterBench) counted(ctx context.Context, gateways []*clusterWay, do func() error) ([]ownRequests, error) {
	counts := make([]ownRequests, len(gateways))
	add := func(sign float64) error {
		for i, way := range gateways {
			found, err := way.own(ctx)
			if err != nil {
				return err
			}
			counts[i].cold += sign * found.cold
			counts[i].hot += sign * found.hot
		}
		return nil
	}
	if err := add(-1); err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	return counts, add(1)
}
