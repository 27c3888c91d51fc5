// Package panel has the requests that a panel of a dashboard sends.
package panel

import (
	"net/url"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// RangeQuery returns the parameters of a range query from end-span to end.
func RangeQuery(query string, end time.Time, span, step time.Duration) url.Values {
	return url.Values{
		"query": {query}, "start": {promapi.FormatTime(end.Add(-span))}, "end": {promapi.FormatTime(end)},
		"step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	}
}
