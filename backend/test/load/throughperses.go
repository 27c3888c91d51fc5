package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// throughPerses compares the two datasources in Perses, and then both behind an ingress, of which the
// tiered one is in front mode.
func (b *bench) throughPerses(ctx context.Context) error {
	const against = "Perses alone"
	direct := target{against, b.direct(), map[string]*stack.Server{"perses": b.perses, "tier": b.hotTLS}}
	through := target{"Perses and tierproxy", b.tiered(), map[string]*stack.Server{"perses": b.perses, "tierproxy": b.panelTP, "tier": b.hotTLS}}
	found, err := b.panelsThrough(ctx, pair{name: "panels through Perses to a TLS tier", direct: direct, through: through}, panelGoals{p50: 0.5, cpu: 0.6, most: 1.5})
	if err != nil {
		return err
	}
	b.report.atMost("the same: CPU of Perses and tierproxy", against, found, 0.6, cpuOf("perses", "tierproxy"), duration)
	direct.base, direct.processes["ingress"] = b.ingress.URL+directPath, b.ingress
	through = target{"tierproxy in front mode", b.ingress.URL + tieredPath, map[string]*stack.Server{"ingress": b.ingress, "tierproxy": b.panelTP, "perses": b.perses, "tier": b.hotTLS}}
	_, err = b.panelsThrough(ctx, pair{name: "panels through an ingress to a TLS tier, front mode", direct: direct, through: through}, panelGoals{p50: 0.3, cpu: 0.6, most: 5})
	return err
}

// panelGoals are ratios to the direct way: of latency and CPU time at most, of the most requests a
// second at least.
type panelGoals struct{ p50, cpu, most float64 }

// panelsThrough measures a pair at a fixed rate, and the most that both ways carry.
func (b *bench) panelsThrough(ctx context.Context, ways pair, goals panelGoals) (rounds, error) {
	ways.next, ways.full = dashboards(always(lastMinutes)), asked(atUsers)
	found, err := b.measure(ctx, ways)
	if err != nil {
		return found, err
	}
	against := ways.direct.name
	b.report.atMost(ways.name+": p50", against, found, goals.p50, p(0.5), duration)
	b.report.atMost("the same: CPU of all servers", against, found, goals.cpu, cpuOf(), duration)
	most, opened, err := b.mostThrough(ctx, ways)
	if err != nil {
		return found, err
	}
	b.report.atLeast(fmt.Sprintf("the same: most requests a second, %d clients", b.clients), against, most, goals.most, perSecond, number)
	b.report.bound("the same: file descriptors left open", against, float64(opened[against]), float64(opened[ways.through.name]), 10, number)
	return found, nil
}

// mostThrough measures how many requests a second both ways carry, and how many files stay open after.
func (b *bench) mostThrough(ctx context.Context, ways pair) (most rounds, opened map[string]int, err error) {
	opened = map[string]int{}
	for round := range b.rounds {
		for _, to := range []target{ways.direct, ways.through} {
			if round == 0 {
				// The connections that are kept for so many clients are no leak.
				run, err := saturate(ctx, to, ways.next, b.clients, b.duration/5)
				if err = errors.Join(err, run.err()); err != nil {
					return most, opened, fmt.Errorf("the most that %s carries: %w", to.name, err)
				}
			}
			before, err := openFiles(to)
			if err != nil {
				return most, opened, err
			}
			run, err := saturate(ctx, to, ways.next, b.clients, b.duration)
			if err = errors.Join(err, run.err()); err != nil {
				return most, opened, fmt.Errorf("the most that %s carries: %w", to.name, err)
			}
			after, err := leftOpen(ctx, to, before)
			if err != nil {
				return most, opened, err
			}
			opened[to.name] = max(opened[to.name], after-before)
			if to.name == ways.direct.name {
				most.direct = append(most.direct, run)
			} else {
				most.through = append(most.through, run)
			}
		}
		b.report.progress("%s, the most, round %d of %d: %.0f requests/s and %.0f", ways.name, round+1, b.rounds, perSecond(most.direct[round]), perSecond(most.through[round]))
	}
	return most, opened, nil
}

func perSecond(m measured) float64 { return float64(m.requests) / m.duration.Seconds() }

// leftOpen counts the open files once the connections of the clients have had
// time to be closed.
func leftOpen(ctx context.Context, to target, before int) (int, error) {
	deadline := time.Now().Add(3 * time.Second)
	for {
		now, err := openFiles(to)
		if err != nil || now <= before || time.Now().After(deadline) {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// openFiles counts the open files of the servers of a way, but those of the tier.
func openFiles(to target) (int, error) {
	total := 0
	for name, server := range to.processes {
		if name == "tier" {
			continue
		}
		count, err := server.OpenFiles()
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}
