package engine

import (
	"fmt"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// A Prometheus 2 beside a Prometheus 3, or beside another server with the engine of one of the two,
// computes rates from other samples: see catalog.Settings.ClosedRanges.

// rangeEndsError is why a query is not cut.
type rangeEndsError tier.Name

// Error returns the reason.
func (e rangeEndsError) Error() string {
	return fmt.Sprintf("ranges include both of their ends in the %s tier, as in Prometheus 2, and not in the %s tier, as in Prometheus 3", string(e), tier.Name(e).Other())
}

// compareRangeEnds notes which tier includes both ends of ranges, if the other one does not.
func (p *Plan) compareRangeEnds() {
	hot, cold := p.snapshot.Hot.ClosedRanges, p.snapshot.Cold.ClosedRanges
	switch {
	case hot == cold || p.replica.Hot == nil || p.query.Datasource.Cold == nil || !p.traits().Evaluates():
	case p.hotIsMetricsQL || p.coldIsMetricsQL: // That has a warning of its own.
	case hot:
		p.closed = tier.Hot
	default:
		p.closed = tier.Cold
	}
}

// rangeEndsWarning returns the warning for an answer of a tier that includes both ends of ranges, or an
// empty string.
func (p *Plan) rangeEndsWarning(of tier.Name) string {
	if p.closed == "" || p.closed != of || p.Input.Extent.Nothing {
		return ""
	}
	return fmt.Sprintf("the %s tier answered, which evaluates as Prometheus 2: its ranges and lookback include both ends, and those of the %s tier only the newer one. "+
		"Rates, functions over time and subqueries may differ", of, of.Other())
}
