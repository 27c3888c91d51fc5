package engine

import (
	"time"
)

// HotPart returns how far back from now the steps reach that hot answers of a query that is cut.
func (p *Plan) HotPart() time.Duration { return max(p.query.Datasource.Threshold, p.freshness()) }

// KeptUntil returns the time until which what cold answers is kept. found is false if nothing of
// the answer can be kept.
func (p *Plan) KeptUntil() (until time.Time, found bool) {
	if p.NotCached() != "" {
		return time.Time{}, false
	}
	l := p.lookup()
	if l == nil {
		return time.Time{}, false
	}
	return time.UnixMilli(l.until), true
}

// LacksSubqueryStep reports whether the query is not cut because a subquery in it names no step.
func (p *Plan) LacksSubqueryStep() bool { return p.NotCut == errSubqueryWithoutStep.Error() }
