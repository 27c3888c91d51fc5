package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// leastRatio and leastDifference say from when on one tier counts as faster than the other.
	leastRatio      = 1.5
	leastDifference = 5 * time.Millisecond
)

// faster returns the faster one of both tiers, and the slower tier's time divided by its time. It returns
// an empty name if both take about the same: the difference is small, or smaller than that between
// the slower tier's own answers.
func (t *rangeLatency) faster() (name tier.Name, ratio float64) {
	fast, slow, name := t.hot, t.cold, tier.Hot
	if slow.median < fast.median {
		fast, slow, name = slow, fast, tier.Cold
	}
	ratio = float64(slow.median) / float64(max(fast.median, 1))
	if ratio < leastRatio || slow.median-fast.median < leastDifference || fast.median >= slow.fastest {
		return "", 1
	}
	return name, ratio
}

// recommendation is what Advise recommends for the threshold.
type recommendation struct {
	// threshold is the current one.
	threshold time.Duration
	// coverage is how far back hot reaches. No longer threshold is recommended.
	coverage time.Duration
	// measured are the ranges that both tiers hold, the shortest first.
	measured []rangeLatency
	// isSplit is set if long queries are split, and isRefreshed if what cold answers to them is kept, too.
	isSplit, isRefreshed bool
	// newest is the newest part, or nil.
	newest *rangeLatency
}

// findings returns the recommendation. There must be a measured range.
func (r *recommendation) findings() (made []Finding) {
	add := func(severity Severity, remedy, format string, arguments ...any) {
		made = append(made, Finding{Subject: "routing", Severity: severity, Message: fmt.Sprintf(format, arguments...), Remedy: remedy})
	}
	isFaster := r.hotFasterUntil()
	// Where nothing is kept, the threshold matters each time, otherwise for first loads.
	always, firstOnly := r.longest(isFaster, false), r.longest(isFaster, true)
	if always != nil {
		but := "queries that read %s or more go to cold"
		if r.isSplit {
			but = "queries that read %s or more wait for cold, too"
		}
		add(SeverityWarning, "consider routing.threshold: "+formatRange(r.above(always.length)), "hot is %s as fast as cold up to %s, but "+but,
			r.ratios(always.length), formatRange(always.length), formatRange(r.threshold))
	}
	shorter := r.refreshes()
	if shorter != nil {
		add(SeverityNote, "if refreshes matter more than first loads, consider routing.threshold: "+formatRange(r.above(shorter.length)),
			"a refresh of longer ranges waits for hot's newest %s: %s. Hot takes %s for %s", formatRange(r.newest.length), r.newest.hot, shorter.hot, formatRange(shorter.length))
	}
	if shorter == nil && firstOnly != nil && (always == nil || always.length < firstOnly.length) {
		part := "asks for the newest ones"
		if took := r.ofNewest(); took != nil {
			part = fmt.Sprintf("waits %s for the newest %s", took, formatRange(r.newest.length))
		}
		add(SeverityNote, fmt.Sprintf("if first loads matter more than refreshes, consider routing.threshold: %s. Each refresh of %s then takes hot %s", formatRange(r.above(firstOnly.length)), formatRange(firstOnly.length), firstOnly.hot),
			"hot is %s as fast as cold up to %s, at the first load. A refresh takes the older steps from the cache, and %s", r.ratios(firstOnly.length), formatRange(firstOnly.length), part)
	}
	if i := r.coldFasterFrom(); made == nil && i >= 0 && r.measured[i].length < r.threshold {
		from := &r.measured[i]
		better := from.length
		if i > 0 {
			better = min(better, r.above(r.measured[i-1].length))
		}
		_, ratio := from.faster()
		add(SeverityWarning, "consider routing.threshold: "+formatRange(better), "cold is %s as fast as hot for %s, but queries that read less than %s go to hot",
			formatRatio(ratio, from.hot), formatRange(from.length), formatRange(r.threshold))
	}
	if made == nil {
		message := "the threshold of %s suits the measured times"
		if !slices.ContainsFunc(r.measured, func(each rangeLatency) bool { name, _ := each.faster(); return name != "" }) {
			message = "both tiers take about the same, so the threshold of %s is as good as another one"
		}
		add(SeverityOK, "", message, formatRange(r.threshold))
	}
	return made
}

// slowRefresh is from when on people may notice how long hot's part of a refresh takes.
const slowRefresh = 50 * time.Millisecond

// refreshes returns the range up to which the threshold would be better for refreshes, because hot's newest part takes
// long. It returns nil if there is none, or if hot's part is not as long as the threshold.
func (r *recommendation) refreshes() *rangeLatency {
	shortest := &r.measured[0]
	if !r.isRefreshed || r.newest == nil || r.newest.length != r.threshold || r.newest.hot == nil || r.newest.hot.median < slowRefresh {
		return nil
	}
	if better := r.above(shortest.length); better == 0 || better >= r.threshold || float64(r.newest.hot.fastest) < leastRatio*float64(shortest.hot.median) {
		return nil
	}
	return shortest
}

// ofNewest returns how long a refresh waits for the newest part, or nil if that is not known.
func (r *recommendation) ofNewest() *latency {
	switch {
	case r.newest == nil:
		return nil
	case r.isSplit:
		return r.newest.hot
	}
	return r.newest.cold
}

// longest returns the longest one of the first ranges for which hot is faster although they reach the threshold, and of
// which answers are kept or not. It returns nil if there is none, or if hot does not reach back further.
func (r *recommendation) longest(first []rangeLatency, isKept bool) (longest *rangeLatency) {
	for i := range first {
		each := &first[i]
		if name, _ := each.faster(); name == tier.Hot && each.length >= r.threshold && each.isKept == isKept && r.above(each.length) > 0 {
			longest = each
		}
	}
	return longest
}

// hotFasterUntil returns the ranges up to the one from which on cold is faster.
func (r *recommendation) hotFasterUntil() []rangeLatency {
	end := slices.IndexFunc(r.measured, func(each rangeLatency) bool { name, _ := each.faster(); return name == tier.Cold })
	if end < 0 {
		end = len(r.measured)
	}
	return r.measured[:end]
}

// coldFasterFrom returns the index of the shortest range from which on cold is faster and hot never, or -1.
func (r *recommendation) coldFasterFrom() int {
	from := -1
	for i := range r.measured {
		switch name, _ := r.measured[i].faster(); {
		case name == tier.Hot:
			from = -1
		case name == tier.Cold && from < 0:
			from = i
		}
	}
	return from
}

// ratios returns by how much hot is faster, for the ranges that go to cold and are not longer than the given one.
func (r *recommendation) ratios(until time.Duration) string {
	least, most := math.Inf(1), 0.0
	var gaveUp *latency
	for i := range r.measured {
		each := &r.measured[i]
		if name, ratio := each.faster(); name == tier.Hot && each.length >= r.threshold && each.length <= until {
			least, most = min(least, ratio), max(most, ratio)
			if each.cold.gaveUp {
				gaveUp = each.cold
			}
		}
	}
	if from, to := formatNumber(least), formatRatio(most, gaveUp); from+" ×" != to && gaveUp == nil {
		return from + " to " + to
	}
	return formatRatio(least, gaveUp)
}

// formatRatio formats a ratio. The slower tier may have been stopped before it answered.
func formatRatio(ratio float64, slower *latency) string {
	text := formatNumber(ratio) + " ×"
	if slower != nil && slower.gaveUp {
		text = "at least " + text
	}
	return text
}

func formatNumber(number float64) string {
	digits := 1
	if number >= 10 {
		digits = 0
	}
	return strings.TrimSuffix(strconv.FormatFloat(number, 'f', digits, 64), ".0")
}

// above returns a threshold with which queries over a range go to hot. Their span is a step longer than
// the range at most. It returns zero if hot does not reach back so far.
func (r *recommendation) above(length time.Duration) time.Duration {
	more := 24 * time.Hour
	switch {
	case length < time.Hour:
		more = 5 * time.Minute
	case length < 6*time.Hour:
		more = 15 * time.Minute
	case length < 48*time.Hour:
		more = time.Hour
	}
	if better := min(length+more, r.coverage.Truncate(time.Minute)); better > length {
		return better
	}
	return 0
}

// comparison adds what was measured, and the recommendation for the threshold.
func (a *advice) comparison() {
	if len(a.measured.ranges) > 0 || a.measured.stopped != "" {
		a.measuredTable()
	}
	if !a.hasHot() {
		return
	}
	if why, remedy := a.notCompared(); why != "" {
		a.add("routing", SeverityNote, "the tiers were not compared: "+why, remedy)
		return
	}
	longest := a.queries[len(a.queries)-1]
	made := recommendation{threshold: a.resolved.Datasource.Threshold, newest: a.measured.newest, isSplit: longest.plan.Cut != nil}
	made.isRefreshed = made.isSplit && longest.isKept(longest.length/2)
	for _, each := range a.measured.ranges {
		if each.hot != nil && each.cold != nil {
			each.isKept = a.queryOf(each.length).isKept(each.length / 2)
			made.measured = append(made.measured, each)
		}
	}
	if len(made.measured) == 0 {
		return
	}
	made.coverage = a.queryOf(made.measured[len(made.measured)-1].length).reach()
	a.findings = append(a.findings, made.findings()...)
}

// measuredTable adds what was measured.
func (a *advice) measuredTable() {
	text := fmt.Sprintf("measured %s", a.typical.template)
	if a.typical.series > 0 {
		text += fmt.Sprintf(", of %d series", a.typical.series)
	}
	if a.measured.stopped != "" {
		text += "; " + a.measured.stopped
	}
	made := Finding{Subject: "routing", Severity: SeverityNote, Message: text}
	for i := range a.measured.ranges {
		made.Measurements = append(made.Measurements, a.measured.ranges[i].view(0))
	}
	if newest := a.measured.newest; newest != nil {
		made.Measurements = append(made.Measurements, newest.view(a.measured.longest().length))
	}
	a.findings = append(a.findings, made)
}

// notCompared says why no typical query can go to either tier, and what to do. It returns empty texts if
// one can.
func (a *advice) notCompared() (why, remedy string) {
	shortest := a.queries[0].plan
	for _, query := range a.queries {
		if query.isCompared() {
			return "", ""
		}
	}
	switch shortest.Rule {
	case 3:
		return fmt.Sprintf("hot does not reach back %s", formatRange(a.queries[0].length)), "wait until hot has collected more samples, or increase its retention"
	case 4:
		return shortest.Input.CompletenessWhy, RemedyOfNotCut(a.resolved.Datasource, shortest)
	case 5:
		return "cold lacks the newest samples, so hot answers all queries that end now and that it covers, whatever the threshold is", ""
	}
	return "they do not both hold what a typical query reads", ""
}
