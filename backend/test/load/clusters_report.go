package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// of returns one number of each load with one of the values.
func (w *clusterWay) of(values []string, number func(clusterLoad) []time.Duration) (found []time.Duration) {
	for _, load := range w.loads {
		if slices.Contains(values, load.value) {
			found = append(found, number(load)...)
		}
	}
	return found
}

// percentileOf returns the smallest time that so many of a list are not above.
func percentileOf(list []time.Duration, part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// write prints the tables as Markdown.
func (b *clusterBench) write(out io.Writer) {
	_, _ = fmt.Fprintf(out, "\n%s, %d cores, load average %s after the rounds; %d clusters with %d series each, %d rounds\n\n",
		time.Now().UTC().Format(time.RFC3339), runtime.NumCPU(), b.loadAtTheEnd, len(b.names), len(clusterSeries(b.options.pods, 0)), b.options.rounds)
	header := []string{"$cluster", "what"}
	for _, way := range b.ways {
		header = append(header, way.name)
	}
	header = append(header, "every against one", "every against Thanos")
	rows := [][]string{header}
	for _, value := range b.values() {
		rows = append(rows, b.rows(value)...)
	}
	writeMarkdown(out, rows)
	rows = [][]string{append([]string{"panel, $cluster is one of the clusters", "range"}, header[2:]...)}
	for i, panel := range clusterPanels {
		rows = append(rows, append([]string{"`" + strings.ReplaceAll(panel.query, "|", `\|`) + "`", panel.span.String()}, b.both(b.names, func(load clusterLoad) []time.Duration { return load.panels[i : i+1] })...))
	}
	writeMarkdown(out, rows)
	rows = [][]string{{"own requests to cold, to hot, per minute", b.ways[0].name, b.ways[1].name}}
	for what, counts := range map[string][]ownRequests{"in use": b.inUse, "idle": b.idle} {
		row := []string{what}
		for _, each := range counts {
			row = append(row, fmt.Sprintf("%.1f, %.1f", each.cold/b.options.counted.Minutes(), each.hot/b.options.counted.Minutes()))
		}
		rows = append(rows, row)
	}
	writeMarkdown(out, rows)
	_, _ = fmt.Fprintf(out, "points that differ from Thanos: %s\n", strings.Join(b.differences, "; "))
}

// rows returns the rows of a value.
func (b *clusterBench) rows(value string) [][]string {
	values := []string{value}
	row := func(what string, cells []string) []string {
		return append([]string{strings.ReplaceAll(value, "|", `\|`), what}, cells...)
	}
	rows := [][]string{
		row("panel, median / p95", b.both(values, func(load clusterLoad) []time.Duration { return load.panels })),
		row("whole dashboard, median", b.medians(values, func(load clusterLoad) []time.Duration { return []time.Duration{load.took} })),
	}
	for _, group := range []string{thanosGroup, prometheusGroup, gatewayGroup} {
		rows = append(rows, row("CPU of "+group+" for a refresh, median", b.medians(values, func(load clusterLoad) []time.Duration { return []time.Duration{load.cpu[group]} })))
	}
	var shares, own []string
	for _, way := range b.ways {
		hot, requests, loads := 0, 0.0, 0
		for _, load := range way.loads {
			if load.value == value {
				hot, requests, loads = hot+load.hot, requests+load.own, loads+1
			}
		}
		shares = append(shares, percent(float64(hot)/float64(loads*len(clusterPanels))))
		own = append(own, fmt.Sprintf("%.1f", requests/float64(loads)))
	}
	return append(rows, row("panels that hot answers", append(shares, "", "")), row("own requests to cold for a refresh, mean", append(own, "", "")))
}

// both returns the median and the 95th percentile of every way, and the ratios of the latter.
func (b *clusterBench) both(values []string, number func(clusterLoad) []time.Duration) (cells []string) {
	var p95 []time.Duration
	for _, way := range b.ways {
		list := way.of(values, number)
		p95 = append(p95, percentileOf(list, 0.95))
		cells = append(cells, short(percentileOf(list, 0.5))+" / "+short(percentileOf(list, 0.95)))
	}
	return append(cells, ratios(p95)...)
}

// medians returns the median of every way, and the ratios.
func (b *clusterBench) medians(values []string, number func(clusterLoad) []time.Duration) (cells []string) {
	var medians []time.Duration
	for _, way := range b.ways {
		medians = append(medians, percentileOf(way.of(values, number), 0.5))
		cells = append(cells, short(medians[len(medians)-1]))
	}
	return append(cells, ratios(medians)...)
}

// ratios returns those of the first time to each of the others.
func ratios(times []time.Duration) (cells []string) {
	for _, other := range times[1:] {
		cell := ""
		if other > 0 {
			cell = fmt.Sprintf("%.3f times", times[0].Seconds()/other.Seconds())
		}
		cells = append(cells, cell)
	}
	return cells
}

// writeMarkdown prints a table, the first row as its header.
func writeMarkdown(out io.Writer, rows [][]string) {
	for i, row := range rows {
		_, _ = fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			_, _ = fmt.Fprintf(out, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	_, _ = fmt.Fprintln(out)
}
