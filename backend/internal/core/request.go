package core

import (
	"hash/maphash"
	"net/url"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

// NewRequest makes the request for a PromQL query whose values were checked: a
// range query from start to end with a step, or without a step an instant query
// at end, which may be the zero time for now.
func NewRequest(query string, start, end time.Time, step time.Duration, now time.Time) (*promapi.Request, error) {
	parameters := url.Values{"query": {query}}
	if step == 0 {
		if !end.IsZero() {
			parameters.Set("time", promapi.FormatTime(end))
		}
		return promapi.NewRequest(promapi.Query, "/api/v1/query", parameters, now)
	}
	parameters.Set("start", promapi.FormatTime(start))
	parameters.Set("end", promapi.FormatTime(end))
	parameters.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	return promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, now)
}

// seed makes caller keys unpredictable to callers.
var seed = maphash.MakeSeed()

// CallerKey returns what tells callers apart in queues: see promapi.Caller. It
// is another one in each process.
func CallerKey(name string) uint64 { return maphash.String(seed, name) }

// LibraryCaller returns the program that the library is part of.
func LibraryCaller() promapi.Caller {
	return promapi.Caller{Datasource: CallerKey(resolve.DefaultName), ID: CallerKey("library")}
}
