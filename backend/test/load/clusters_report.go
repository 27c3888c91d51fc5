package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
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
	rows = append(rows, b.rows("each of "+strings.Join(b.names, ", "), b.names...)...)
	for _, value := range b.values() {
		rows = append(rows, b.rows(value, value)...)
	}
	writeMarkdown(out, rows)
	rows = [][]string{append([]string{"panel, $cluster is one of the clusters: median / p95, ratios of medians", "range"}, header[2:]...)}
	for i, panel := range clusterPanels {
		rows = append(rows, append([]string{"`" + escaped(panel.query) + "`", model.Duration(panel.span).String()}, b.panelCells(i)...))
	}
	writeMarkdown(out, rows)
	writeMarkdown(out, [][]string{
		{"own requests per minute", b.ways[0].name, b.ways[1].name}, b.ownRow("in use", b.inUse), b.ownRow("idle", b.idle),
	})
	_, _ = fmt.Fprintf(out, "points that differ from Thanos: %s\n", strings.Join(b.differences, "; "))
}

// escaped returns a text for a cell of a table.
func escaped(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// rows returns the rows of some values of the variable.
func (b *clusterBench) rows(name string, values ...string) [][]string {
	row := func(what string, cells []string) []string { return append([]string{escaped(name), what}, cells...) }
	panels := func(load clusterLoad) []time.Duration { return load.panels }
	rows := [][]string{
		row("a panel, median", b.cells(values, panels, medianOf)),
		row("a panel, p95", b.cells(values, panels, func(list []time.Duration) time.Duration { return percentileOf(list, 0.95) })),
		row("the whole dashboard, median", b.cells(values, func(load clusterLoad) []time.Duration { return []time.Duration{load.took} }, medianOf)),
	}
	for _, group := range []string{thanosGroup, prometheusGroup, gatewayGroup} {
		rows = append(rows, row("CPU of "+group+" for a refresh, mean", b.cells(values, func(load clusterLoad) []time.Duration { return []time.Duration{load.cpu[group]} }, mean)))
	}
	var shares, own []string
	for _, way := range b.ways {
		hot, requests, loads := 0, 0.0, 0
		for _, load := range way.loads {
			if slices.Contains(values, load.value) {
				hot, requests, loads = hot+load.hot, requests+load.own, loads+1
			}
		}
		shares = append(shares, percent(float64(hot)/float64(loads*len(clusterPanels))))
		own = append(own, fmt.Sprintf("%.1f", requests/float64(loads)))
	}
	return append(rows, row("panels that hot answers", append(shares, "", "")), row("own requests to cold for a refresh, mean", append(own, "", "")))
}

// cells returns what a function makes of the times of every way, and the ratios.
func (b *clusterBench) cells(values []string, number func(clusterLoad) []time.Duration, of func([]time.Duration) time.Duration) (cells []string) {
	var times []time.Duration
	for _, way := range b.ways {
		times = append(times, of(way.of(values, number)))
		cells = append(cells, short(times[len(times)-1]))
	}
	return append(cells, ratios(times)...)
}

// panelCells returns the times of a panel for the clusters, and the ratios of the medians.
func (b *clusterBench) panelCells(panel int) (cells []string) {
	var medians []time.Duration
	for _, way := range b.ways {
		list := way.of(b.names, func(load clusterLoad) []time.Duration { return load.panels[panel : panel+1] })
		medians = append(medians, medianOf(list))
		cells = append(cells, short(medianOf(list))+" / "+short(percentileOf(list, 0.95)))
	}
	return append(cells, ratios(medians)...)
}

// ownRow returns a row of what both gateways ask by themselves.
func (b *clusterBench) ownRow(what string, counts []ownRequests) []string {
	row, minutes := []string{what}, b.options.counted.Minutes()
	for _, each := range counts {
		row = append(row, fmt.Sprintf("%.1f to cold, %.1f to hot", each.cold/minutes, each.hot/minutes))
	}
	return row
}

func mean(list []time.Duration) (sum time.Duration) {
	for _, each := range list {
		sum += each
	}
	return sum / time.Duration(len(list))
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
