package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is the table of what was measured.
type report struct {
	out    io.Writer // progress
	rows   []row
	missed int
}

// row is one line of the table.
type row struct{ what, against, direct, through, goal, measured, verdict string }

func (r *report) progress(format string, arguments ...any) {
	_, _ = fmt.Fprintf(r.out, "%s "+format+"\n", append([]any{time.Now().UTC().Format(time.TimeOnly)}, arguments...)...)
}

// unit writes a value for people.
type unit func(float64) string

func duration(seconds float64) string {
	return short(time.Duration(seconds * float64(time.Second)))
}
func number(value float64) string    { return fmt.Sprintf("%.0f", value) }
func kilobytes(value float64) string { return fmt.Sprintf("%.0f KB", value/(1<<10)) }
func megabytes(value float64) string { return fmt.Sprintf("%.0f MB", value/(1<<20)) }

// short writes a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

func (r *report) add(added row, met bool) {
	added.verdict = "met"
	if !met {
		added.verdict = "**missed**"
		r.missed++
	}
	r.rows = append(r.rows, added)
}

// atMost adds a ratio of through to direct that is to be at most the goal.
func (r *report) atMost(what, against string, found rounds, goal float64, of func(measured) float64, write unit) {
	ratio := found.ratio(of)
	r.add(row{
		what: what, against: against, direct: write(found.median(false, of)), through: write(found.median(true, of)),
		goal: fmt.Sprintf("≤ %g times", goal), measured: fmt.Sprintf("%.2f times", ratio),
	}, ratio <= goal)
}

// atLeast adds a ratio that is to be at least the goal.
func (r *report) atLeast(what, against string, found rounds, goal float64, of func(measured) float64, write unit) {
	ratio := found.ratio(of)
	r.add(row{
		what: what, against: against, direct: write(found.median(false, of)), through: write(found.median(true, of)),
		goal: fmt.Sprintf("≥ %g times", goal), measured: fmt.Sprintf("%.2f times", ratio),
	}, ratio >= goal)
}

// bound adds a value that is to be at most the goal, whatever the direct way
// has.
func (r *report) bound(what, against string, direct, through, goal float64, write unit) {
	added := row{what: what, against: against, through: write(through), goal: "≤ " + write(goal), measured: write(through)}
	if direct != 0 || against != "" {
		added.direct = write(direct)
	}
	r.add(added, through <= goal)
}

// note adds what has no goal of its own.
func (r *report) note(what, against, through, direct string) {
	r.rows = append(r.rows, row{what: what, against: against, direct: direct, through: through})
}

// write prints the table as Markdown.
func (r *report) write(out io.Writer) {
	_, _ = fmt.Fprintf(out, "\n%s, %d cores, load average %s\n\n", time.Now().UTC().Format(time.RFC3339), runtime.NumCPU(), loadAverage())
	_, _ = fmt.Fprint(out, "| what | against | there | with tierproxy | goal | measured | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, each := range r.rows {
		_, _ = fmt.Fprintf(out, "| %s |\n", strings.Join([]string{each.what, each.against, each.direct, each.through, each.goal, each.measured, each.verdict}, " | "))
	}
	_, _ = fmt.Fprintf(out, "\n%d goals missed\n", r.missed)
}

// loadAverage is that of the last one, five and fifteen minutes.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
