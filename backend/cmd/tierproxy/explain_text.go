package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// writeExplanation prints a decision as text.
func writeExplanation(out io.Writer, decision *gateway.Explanation) error {
	var text strings.Builder
	line := func(format string, arguments ...any) { fmt.Fprintf(&text, format+"\n", arguments...) }
	line("%s\n", decision.Sentence)
	if decision.ParseError != "" {
		line("tierproxy cannot parse the query: %s\ncorrect the query, unless the tier knows another language than PromQL\n", decision.ParseError)
	}
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintln(table, name+"\t"+value) // It writes to memory.
		}
	}
	row("tier", decision.Tier)
	row("reason", decision.Reason)
	row("source", decision.Source)
	row("fallback", decision.Fallback)
	row("cut", describeCut(decision.Cut))
	if decision.Cut == nil && decision.ParseError == "" {
		row("not cut", decision.NotCut)
		row("remedy", decision.NotCutRemedy)
	}
	if decision.ColdParts > 1 {
		row("cold computes", fmt.Sprintf("what the cache does not have in up to %d parts at once", decision.ColdParts))
	}
	row("reads", describeExtent(decision.Extent))
	row("threshold", decision.Threshold)
	row("hot", describeTier(decision.Hot))
	row("cold", describeTier(decision.Cold))
	row("query for hot", decision.HotQuery)
	row("confined to", strings.Join(decision.ConfinedTo, ", "))
	_ = table.Flush()
	line("\nrules")
	for _, rule := range decision.Rules {
		applies := "no "
		if rule.Applies {
			applies = "yes"
		}
		line("  %d  %s  %s", rule.Rule, applies, rule.Why)
	}
	if len(decision.Warnings) > 0 {
		line("\nwarnings")
		for _, warning := range decision.Warnings {
			line("  %s", warning)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func describeCut(cut *gateway.CutParts) string {
	if cut == nil {
		return ""
	}
	if cut.Parts > 2 {
		return fmt.Sprintf("cold answers %s, hot %s, in %d parts", countSteps(cut.ColdSteps), countSteps(cut.HotSteps), cut.Parts)
	}
	return fmt.Sprintf("cold answers %s, hot %s from %s on", countSteps(cut.ColdSteps), countSteps(cut.HotSteps), formatMoment(*cut.HotFrom))
}

func countSteps(count int) string {
	if count == 1 {
		return "1 step"
	}
	return strconv.Itoa(count) + " steps"
}

func describeExtent(extent gateway.Extent) string {
	if extent.Nothing {
		return "no sample"
	}
	oldest, newest := "the beginning", "the end"
	if extent.Oldest != nil {
		oldest = formatMoment(*extent.Oldest)
	}
	if extent.Newest != nil {
		newest = formatMoment(*extent.Newest)
	}
	text := fmt.Sprintf("samples from %s to %s", oldest, newest)
	if extent.Span != "" {
		text += ", " + extent.Span + " at once"
	}
	return text
}

func describeTier(state *gateway.TierState) string {
	if state == nil {
		return ""
	}
	parts := []string{state.Endpoint}
	if state.Replica != "" {
		parts = append(parts, "replica "+state.Replica)
	}
	if state.Available {
		parts = append(parts, "available")
	} else {
		parts = append(parts, strings.TrimSuffix("NOT AVAILABLE: "+state.Error, ": "))
	}
	if state.CoverageStart != nil {
		held := "holds samples from " + formatMoment(*state.CoverageStart) + " on"
		if state.CoverageDeclared {
			held += " (declared by its retention)"
		}
		parts = append(parts, held)
	}
	if state.CoverageEnd != nil {
		parts = append(parts, "holds samples up to "+formatMoment(*state.CoverageEnd))
	}
	parts = append(parts, state.Missing...)
	return strings.Join(parts, ", ")
}

func formatMoment(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999Z07:00") }
