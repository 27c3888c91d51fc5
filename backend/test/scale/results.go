package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// results are everything that was measured.
type results struct {
	options options
	panels  dashboard
	// The phases, in their order.
	alone, unasked, learning, idle, refreshing, direct phase

	learned learned
	// answered is which tiers answered the panels of the refreshed dashboard.
	answered []string
	memory   []held
}

// held is the memory of a process.
type held struct {
	name string
	stack.Memory
}

// goal is a limit and what was measured.
type goal struct {
	what, limit, measured string
	met                   bool
}

// The goals, in percent of a core, of what the panels cost, and in bytes.
const (
	mostIdle   = 1.0
	mostOwn    = 2.0
	mostTime   = 10 * time.Second
	mostMemory = 100 << 20
)

// met reports whether every goal is met.
func (r results) met() bool {
	return !slices.ContainsFunc(r.goals(), func(g goal) bool { return !g.met })
}

// goals returns all goals.
func (r results) goals() []goal {
	var all []goal
	for _, phase := range []phase{r.unasked, r.idle} {
		for _, name := range slices.Sorted(maps.Keys(phase.spent)) {
			if name == perses {
				continue // No goal is about Perses.
			}
			added := phase.percent(name) - r.alone.percent(name)
			all = append(all, goal{
				phase.what + ": CPU of " + name, fmt.Sprintf("≤ %.0f %% of a core", mostIdle), fmt.Sprintf("%.2f %%", added), added <= mostIdle,
			})
		}
	}
	own := r.own()
	hot := count(r.answered, "hot")
	all = append(all,
		goal{
			"the gateways' own questions, of what the panels cost the tiers", fmt.Sprintf("≤ %.0f %%", mostOwn),
			fmt.Sprintf("%.1f %%; %.1f %% when idle", own, r.idleShare()), own <= mostOwn,
		},
		goal{
			"time until hot answers every panel that it can", fmt.Sprintf("≤ %s", mostTime), r.learned.String(),
			r.learned.most >= r.panels.expected() && r.learned.took <= mostTime,
		},
		goal{
			"panels of a refreshed dashboard that hot answers", fmt.Sprintf("%d of %d", r.panels.expected(), len(r.panels.panels)),
			fmt.Sprintf("%d, %d failed", hot, count(r.answered, failed)), hot >= r.panels.expected() && count(r.answered, failed) == 0,
		})
	for _, process := range r.memory {
		if strings.HasPrefix(process.name, "gateway") {
			all = append(all, goal{
				"memory of " + process.name + " at most", fmt.Sprintf("≤ %d MiB", mostMemory>>20), fmt.Sprintf("%d MiB", process.Peak>>20), process.Peak <= mostMemory,
			})
		}
	}
	return all
}

// own returns what the gateways cost the tiers beyond the panels, in percent of these.
// Panels from the cache of a gateway cost less than without one: then it is negative.
func (r results) own() float64 {
	return 100 * (r.refreshing.perSecond() - r.direct.perSecond()) / (r.direct.perSecond() - r.alone.perSecond())
}

// idleShare returns what idle gateways cost the tiers, in percent of what the panels
// do: it is part of own.
func (r results) idleShare() float64 {
	return 100 * (r.idle.perSecond() - r.alone.perSecond()) / (r.direct.perSecond() - r.alone.perSecond())
}

// String says how long it took.
func (l learned) String() string {
	took := fmt.Sprintf("%s, look %d", l.took.Round(100*time.Millisecond), l.looks)
	if l.most < l.expected {
		return fmt.Sprintf("never within %s: %d of %d after %s", patience, l.most, l.expected, took)
	}
	return fmt.Sprintf("%s; in the first look %d of %d", took, l.first, l.expected)
}

// write writes the tables.
func (r results) write(out io.Writer) error {
	_, _ = fmt.Fprintf(out, "%d series of %d other clusters in %d blocks, %d series of hot, %d gateways, %d datasources, dashboard %s.\n\n",
		r.options.foreign, len(others), blocks, r.options.own, gateways, datasources, r.options.dashboard)
	rows := [][]string{{"goal", "limit", "measured", ""}}
	for _, goal := range r.goals() {
		verdict := "met"
		if !goal.met {
			verdict = "**missed**"
		}
		rows = append(rows, []string{goal.what, goal.limit, goal.measured, verdict})
	}
	return cmp.Or(writeTable(out, rows), writeTable(out, r.times()), writeTable(out, r.requests()))
}

// times returns the rows of the CPU time of every process, and of its memory.
func (r results) times() [][]string {
	header, peak, now := []string{"CPU in seconds (% of a core)"}, []string{"memory at most, MiB"}, []string{"memory, MiB"}
	for _, process := range r.memory {
		header = append(header, process.name)
		peak = append(peak, fmt.Sprint(process.Peak>>20))
		now = append(now, fmt.Sprint(process.Resident>>20))
	}
	rows := [][]string{header}
	for _, phase := range r.phases() {
		row := []string{fmt.Sprintf("%s (%s)", phase.what, phase.took.Round(time.Second))}
		for _, process := range r.memory {
			cell := ""
			if spent, is := phase.spent[process.name]; is {
				cell = fmt.Sprintf("%.2f (%.2f)", spent.Seconds(), phase.percent(process.name))
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return append(rows, now, peak)
}

func (r results) phases() []phase {
	return []phase{r.alone, r.unasked, r.learning, r.idle, r.refreshing, r.direct}
}

// requests returns the rows of the numbers of requests.
func (r results) requests() [][]string {
	kinds := map[string]bool{}
	rows := [][]string{{"requests"}}
	for _, phase := range r.phases() {
		rows[0] = append(rows[0], phase.what)
		for kind, number := range phase.requests {
			kinds[kind] = kinds[kind] || number > 0
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if !kinds[kind] {
			continue
		}
		row := []string{kind}
		for _, phase := range r.phases() {
			cell := ""
			if phase.requests != nil {
				cell = fmt.Sprint(phase.requests[kind])
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// writeTable writes rows as a table in Markdown, the first one as its header.
func writeTable(out io.Writer, rows [][]string) error {
	rows = slices.Insert(rows, 1, slices.Repeat([]string{"---"}, len(rows[0])))
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintf(table, "| %s\t|\n", strings.Join(row, "\t| "))
	}
	_, _ = fmt.Fprintln(table)
	return table.Flush()
}
