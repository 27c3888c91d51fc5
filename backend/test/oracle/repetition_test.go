//go:build e2e

package oracle

import (
	"math/rand"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// repetition asks the same again and again while something else changes, each
// time a bit later, over a longer or shorter time, in another phase or with
// another step.
type repetition struct {
	world  *world
	random *rand.Rand
	first  []question
	seen   *tally
	// asked and fromCache count what was asked again where there is a cache, and
	// what came at least partly from there; tooSlow how often that could not be asked.
	asked, fromCache, tooSlow int
}

// round is how the same is asked once more.
type round struct {
	what string
	// held is what the tiers hold.
	held coverage
	// excused is set while a fault lets a warning excuse a difference.
	excused bool
	// late is set if what is known of the tiers may be older than a change of them, on a busy machine: a warning
	// excuses one difference in a hundred.
	late bool
	// again asks for what is a bit different from the first time.
	again bool
	// uncached is set where the cache can have nothing.
	uncached bool
}

// frozen asks for what is the same at all steps, but another with each refresh,
// because its time is that of the query's end or start.
func (w *world) frozen() []question {
	var list []question
	for i, query := range []string{
		`node_load1 - node_load1 @ start()`, `sum by (job) (rate(http_requests_total[10m] @ end()))`, `process_resident_memory_bytes and topk(2, process_resident_memory_bytes @ end())`,
	} {
		end := w.now.Add(-4*hour - time.Duration(i)*minute)
		list = append(list, question{endpoint: "query_range", origin: "range", values: url.Values{
			"query": {query}, "start": {seconds(end.Add(-2 * hour))}, "end": {seconds(end)}, "step": {"120"},
		}})
	}
	return list
}

// ask asks a gateway and its oracle.
func (r *repetition) ask(t *testing.T, gateway, oracle string, how round) {
	t.Helper()
	questions := r.first
	if how.again {
		questions = make([]question, 0, len(r.first))
		for _, asked := range r.first {
			questions = append(questions, later(r.random, asked, r.world.now))
		}
	}
	result := r.world.differences(t, gateway, oracle, how.held, questions, r.seen, how.excused || how.late)
	t.Logf("%-40s %4d questions, %d may use the cache, %d do, %d excused, tiers %v", how.what, result.total, result.cacheable, result.fromCache, result.excused, result.tiers)
	if how.late {
		require.LessOrEqual(t, result.excused, 1+result.total/100, how.what)
	}
	switch {
	case how.uncached:
		require.Zero(t, result.fromCache, how.what)
	case how.again:
		r.asked, r.fromCache = r.asked+result.total, r.fromCache+result.fromCache
	}
}

// end holds the cache to what it is for.
func (r *repetition) end(t *testing.T) {
	t.Helper()
	t.Logf("%d of %d that were asked again came at least partly from the cache, which was too slow %d times\n%s", r.fromCache, r.asked, r.tooSlow, r.seen)
	require.NotZero(t, r.seen.reasons[string(tier.ReasonSplit)])
	require.GreaterOrEqual(t, 2*(r.fromCache+r.tooSlow), r.asked, "at least half of what is asked again comes at least partly from the cache")
}
