package diagnosis

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// slowTier is a Prometheus whose answers to range queries take the longer, the longer the range is.
type slowTier struct {
	*httptest.Server

	perHour time.Duration

	mutex   sync.Mutex
	ranges  []time.Duration // of the range queries
	instant int             // the number of instant queries
	atOnce  int             // the number of queries that are being answered
	most    int             // the largest such number
}

// startSlowTier starts a tier that waits for so long per hour of a range.
func startSlowTier(t *testing.T, of *embedded.Prometheus, perHour time.Duration) *slowTier {
	t.Helper()
	target, err := url.Parse(of.URL)
	require.NoError(t, err)
	proxy, started := httputil.NewSingleHostReverseProxy(target), &slowTier{perHour: perHour}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // A cancelled query.
	started.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !strings.HasPrefix(request.UserAgent(), "tierproxy (probe)") {
			defer started.wait(t, request)()
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(started.Close)
	return started
}

// wait counts a query, and waits as long as it takes. The function that it returns ends the query.
func (s *slowTier) wait(t *testing.T, request *http.Request) (end func()) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Error(err)
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		t.Error(err)
	}
	start, _ := strconv.ParseFloat(form.Get("start"), 64)
	until, _ := strconv.ParseFloat(form.Get("end"), 64)
	length := time.Duration((until - start) * float64(time.Second)).Round(time.Second)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.atOnce++; length > 0 {
		s.ranges = append(s.ranges, length)
	} else {
		s.instant++
	}
	s.most = max(s.most, s.atOnce)
	s.mutex.Unlock()
	select {
	case <-time.After(time.Duration(length.Hours() * float64(s.perHour))):
	case <-request.Context().Done():
	}
	s.mutex.Lock()
	return func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.atOnce--
	}
}

// asked returns the longest range that was queried, the number of range queries, and the largest number of
// queries at once.
func (s *slowTier) asked() (longest time.Duration, count, most int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, each := range s.ranges {
		longest = max(longest, each)
	}
	return longest, len(s.ranges), s.most
}

// adviceOn returns what Advise finds with two tiers.
func adviceOn(t *testing.T, hot, cold string, options AdviceOptions, strategy string, cached bool, change ...func(*config.Config)) []Finding {
	t.Helper()
	settings := running.TwoTiers(hot, cold)
	settings.Routing.Strategy, settings.Cache.Enabled = strategy, cached
	for _, each := range change {
		each(&settings)
	}
	manager := running.Manager(t, settings)
	require.NoError(t, options.Validate())
	return Advise(t.Context(), manager, options)
}

// requireFinding requires a finding of the severity whose message matches, and returns it.
func requireFinding(t *testing.T, findings []Finding, severity Severity, pattern string) Finding {
	t.Helper()
	for _, each := range findings {
		if each.Severity == severity && regexp.MustCompile(pattern).MatchString(each.Message) {
			return each
		}
	}
	require.Fail(t, "no such finding", "%s %q in %+v", severity, pattern, findings)
	return Finding{}
}

func requireNoFinding(t *testing.T, findings []Finding, pattern string) {
	t.Helper()
	for _, each := range findings {
		require.NotRegexp(t, pattern, each.Message+each.Remedy)
	}
}

const (
	day = 24 * time.Hour
	// patient is longer than anything takes on a loaded machine.
	patient = 30 * time.Second
)

func TestAdvise_RecommendsTheFasterTier(t *testing.T) {
	t.Parallel()
	prometheus := running.Prometheus(t, time.Now(), 30*time.Hour)
	options := AdviceOptions{Ranges: []time.Duration{7 * day, time.Hour, 6 * time.Hour}, Measure: true}
	t.Run("hot", func(t *testing.T) {
		hot, cold := startSlowTier(t, prometheus, 0), startSlowTier(t, prometheus, 100*time.Millisecond)
		options.limits = adviceLimits{known: patient, kept: patient, repeats: 3, once: 500 * time.Millisecond, stop: 100 * time.Second, giveUp: time.Second}
		findings := adviceOn(t, hot.URL, cold.URL, options, "route", false)
		measured := requireFinding(t, findings, SeverityNote, `^measured sum by \(job\) \(avg_over_time\(up\[\$__rate_interval\]\)\), of 12 series$`).Measurements
		require.Len(t, measured, 4)
		require.Greater(t, measured[1].ColdSeconds, 0.6)
		require.Equal(t, Measurement{Range: "7d", Step: "15m", ColdSeconds: measured[2].ColdSeconds, GaveUp: []string{"cold"}}, measured[2], "hot does not hold it")
		require.Equal(t, []string{"15m", "7d"}, []string{measured[3].Range, measured[3].NewestOf})
		require.Contains(t, requireFinding(t, findings, SeverityWarning, `^hot is .* × as fast as cold up to 6h, but queries that read 15m or more go to cold`).Remedy, "routing.threshold: 7h")
		require.Contains(t, requireFinding(t, findings, SeverityNote, `^queries over 1h, 6h and 7d are not split: the strategy of the datasource is route\. With splitting .* Cold takes \S+ for that part, and more than 1s`).Remedy, "routing.strategy: split")
		require.Contains(t, requireFinding(t, findings, SeverityNote, `^answers to queries over 1h, 6h and 7d are not kept: .*Cold takes more than 1s for 7d at each refresh`).Remedy, "cache.enabled: true")
	})
	t.Run("cold", func(t *testing.T) {
		hot, cold := startSlowTier(t, prometheus, 100*time.Millisecond), startSlowTier(t, prometheus, 0)
		options.Ranges = options.Ranges[1:]
		findings := adviceOn(t, hot.URL, cold.URL, options, "split", false, func(settings *config.Config) { settings.Routing.Threshold = config.Duration(12 * time.Hour) })
		requireFinding(t, findings, SeverityWarning, `^cold is .* × as fast as hot for [16]h, but queries that read less than 12h go to hot`)
		requireNoFinding(t, findings, "split|kept") // All goes to hot.
	})
}

func TestAdvise_BoundsWhatItMeasures(t *testing.T) {
	t.Parallel()
	prometheus := running.Prometheus(t, time.Now(), 30*time.Hour)
	hot, cold := startSlowTier(t, prometheus, 0), startSlowTier(t, prometheus, 400*time.Millisecond)
	options := AdviceOptions{Ranges: []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour, day}, Measure: true}
	options.limits = adviceLimits{known: patient, kept: patient, repeats: 2, once: time.Second, stop: 2 * time.Second, giveUp: 60 * time.Second}
	findings := adviceOn(t, hot.URL, cold.URL, options, "split", false)
	requireFinding(t, findings, SeverityNote, `; ranges longer than 6h were not measured, because one of the tiers takes \S+ for it`)
	for _, each := range []*slowTier{hot, cold} {
		longest, count, atOnce := each.asked()
		require.Equal(t, 6*time.Hour, longest)
		require.LessOrEqual(t, count, 2*(3+1))
		require.Equal(t, 1, atOnce)
	}
	require.LessOrEqual(t, hot.instant, len(candidates))
	require.Zero(t, cold.instant)

	// Without --measure, no range query is made.
	options.Measure = false
	_, before, _ := cold.asked()
	findings = adviceOn(t, hot.URL, cold.URL, options, "split", false)
	_, after, _ := cold.asked()
	require.Equal(t, before, after)
	requireNoFinding(t, findings, "measured|as fast as|about the same")
	requireFinding(t, findings, SeverityOK, `^queries over .*6h, 12h and 1d are split: hot answers the newest 15m, cold the older steps`)

	// The time for all checks bounds it, too.
	options.Measure, options.limits.reserve, options.limits.kept = true, time.Hour, 0
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	findings = Advise(ctx, running.Manager(t, running.TwoTiers(hot.URL, cold.URL)), options)
	requireFinding(t, findings, SeverityNote, `; 15m and longer were not measured: the time for all checks \(--timeout\) was over`)
}

func TestAdvise_SaysWhatIsSplitAndKept(t *testing.T) {
	t.Parallel()
	prometheus := running.Prometheus(t, time.Now(), 30*time.Hour)
	hot, cold := startSlowTier(t, prometheus, 0), startSlowTier(t, prometheus, 30*time.Millisecond)
	options := AdviceOptions{Ranges: []time.Duration{6 * time.Hour}, Measure: true}
	options.limits = adviceLimits{known: patient, kept: patient, repeats: 2, once: patient, stop: patient, giveUp: patient}
	findings := adviceOn(t, hot.URL, cold.URL, options, "split", true)
	requireFinding(t, findings, SeverityOK, `^queries over 6h are split`)
	requireFinding(t, findings, SeverityOK, `^answers of cold to queries over 6h are kept, up to \S+ before now`)
	first := requireFinding(t, findings, SeverityNote, `^hot is .* × as fast as cold up to 6h, at the first load\. A refresh takes the older steps from the cache`)
	require.Contains(t, first.Remedy, "routing.threshold: 7h")
	_, count, _ := cold.asked()
	require.GreaterOrEqual(t, count, 4, "nothing comes from the cache")

	options.Measure = false
	findings = adviceOn(t, hot.URL, cold.URL, options, "split", true, func(settings *config.Config) { settings.Routing.Freshness = config.Duration(time.Hour) })
	requireFinding(t, findings, SeverityNote, `^samples of the last 1h may still change .* longer than the threshold of 15m$`)

	options.limits.kept = 0
	options.Measure, options.Query = true, "sum(http_requests_total)"
	findings = adviceOn(t, "", cold.URL, options, "split", true)
	requireFinding(t, findings, SeverityNote, `^measured sum\(http_requests_total\)$`)
	requireNoFinding(t, findings, "threshold|split")

	require.Empty(t, adviceOn(t, hot.URL, "", options, "split", true), "everything goes to hot")
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	require.Empty(t, adviceOn(t, hot.URL, dead.URL, options, "split", true), "Diagnose reports it")
}
