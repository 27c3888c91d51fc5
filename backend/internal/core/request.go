package core

import (
	"hash/maphash"
	"net/url"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

// NewRequest returns the request for a validated PromQL query. With a step, it is a range
// query from start to end. Without a step, it is an instant query at end, or at now if end
// is the zero time.
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

// seed makes caller keys unpredictable for callers.
var seed = maphash.MakeSeed()

// CallerKey returns the key of a caller in queues: see admission.Caller. It differs between
// processes.
func CallerKey(name string) uint64 { return maphash.String(seed, name) }

// LibraryCaller returns the caller of queries that come through the Go library.
func LibraryCaller() admission.Caller {
	return admission.Caller{Datasource: CallerKey(resolve.DefaultName), ID: CallerKey("library")}
}
