//go:build e2e

package fanout

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/diagnosis"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// expectation is which tier answers a question, and why. The reason is empty for any.
type expectation struct {
	question
	tier, reason string
}

func (w *world) hold(t *testing.T, address string, list map[string]expectation) {
	t.Helper()
	for name, each := range list {
		t.Run(name, func(t *testing.T) {
			expected := w.ask(t, w.oracle, each.question)
			var found answer
			// Evidence of a name or of a source may not be there at once: cold answers meanwhile.
			require.Eventually(t, func() bool {
				found = w.ask(t, address, each.question)
				require.Empty(t, differences(expected.series, found.series), "%s: %s", found.tier, found.reason)
				require.Empty(t, found.warnings)
				return found.tier == each.tier && (each.reason == "" || found.reason == each.reason)
			}, time.Minute, 50*time.Millisecond, "%s", &found)
		})
	}
}

func TestQuery_HotIsAThanos(t *testing.T) {
	w := newWorld(t)
	for _, each := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"over several sources", severalSources}, {"over replicas with gaps", replicasWithGaps}, {"that does not deduplicate as cold does", onlyColdDeduplicates},
		{"over sources that cold does not have", nothingInCommon}, {"that loses a store", lostStore}, // The last one stops a server.
	} {
		t.Run(each.name, func(t *testing.T) { each.run(t, w) })
	}
}

func severalSources(t *testing.T, w *world) {
	routed := w.gateway(t, 5*hour, time.Second, tier.StrategyRoute)
	w.hold(t, routed, map[string]expectation{
		"one cluster":                          {question{`temp{cluster="a"}`, 0}, "hot", "below-threshold"},
		"its legend":                           {question{`sum by (cluster, instance) (rate(requests_total{cluster="a"}[5m]))`, hour}, "hot", "below-threshold"},
		"two clusters":                         {question{`sum(temp{cluster=~"a|b"})`, 30 * time.Minute}, "hot", "below-threshold"},
		"all but the one that hot lacks":       {question{`sum by (cluster) (temp{cluster!="c"})`, 30 * time.Minute}, "hot", "below-threshold"},
		"a metric of these clusters alone":     {question{`sum by (cluster) (recent)`, 30 * time.Minute}, "hot", "below-threshold"},
		"a metric that another cluster has":    {question{`sum by (cluster) (temp)`, 0}, "cold", "not-in-hot"},
		"the cluster that hot lacks":           {question{`temp{cluster="c"}`, 0}, "cold", "not-in-hot"},
		"a source that has it all":             {question{`sum(increase(requests_total{cluster="a"}[3h]))`, 0}, "hot", "below-threshold"},
		"a source with a younger shard":        {question{`sum(increase(requests_total{cluster="b"}[3h]))`, 0}, "cold", "older-than-hot"},
		"both":                                 {question{`sum(increase(requests_total{cluster=~"a|b"}[3h]))`, 0}, "cold", "older-than-hot"},
		"a metric of both, from before":        {question{`sum(recent)`, 3 * hour}, "cold", "older-than-hot"},
		"longer than the threshold":            {question{`temp{cluster="a"}`, 5*hour + 30*time.Minute}, "cold", "at-or-above-threshold"},
		"a source that is older than hot":      {question{`temp{cluster="a"}`, 8 * hour}, "cold", "older-than-hot"},
		"two selectors, one source":            {question{`sum(temp{cluster="a"}) / sum(up{cluster="a"})`, hour}, "hot", "below-threshold"},
		"two selectors, one of another source": {question{`sum(temp{cluster="a"}) / sum(up{cluster="c"})`, hour}, "cold", "not-in-hot"},
		"no cluster of this name":              {question{`temp{cluster="z"}`, 0}, "cold", ""},
	})
	require.Equal(t, `{cluster="a"}`, w.ask(t, routed, question{`temp{cluster="a"}`, 0}).source)
	require.Equal(t, `{cluster="a"}, {cluster="b"}`, w.ask(t, routed, question{`sum by (cluster) (recent)`, 30 * time.Minute}).source)
	split := w.gateway(t, 15*time.Minute, time.Second, tier.StrategySplit)
	w.hold(t, split, map[string]expectation{
		"a cut query of an HA pair":       {question{`temp{cluster="a"}`, 8 * hour}, "hot,cold", "split"},
		"a rate of an HA pair":            {question{`sum(rate(requests_total{cluster="a"}[5m]))`, 8 * hour}, "hot,cold", "split"},
		"of a source with a younger part": {question{`sum by (instance) (temp{cluster="b"})`, 8 * hour}, "hot,cold", "split"},
		"a metric of both":                {question{`sum by (cluster) (recent)`, 8 * hour}, "hot,cold", "split"},
		"a metric that another one has":   {question{`sum by (cluster) (temp)`, 8 * hour}, "cold", ""},
	})
}

// replicasWithGaps compares cut queries with cold, which deduplicates the same replicas in the same way.
func replicasWithGaps(t *testing.T, w *world) {
	var hot, cold []string
	for i, gaps := range [][]gap{{{2 * hour, 110 * time.Minute}, {17 * time.Minute, 14 * time.Minute}, {12 * time.Minute, 5 * time.Minute}}, {{40 * time.Minute, 25 * time.Minute}}} {
		replica := &source{labels: map[string]string{"cluster": "d", "replica": strconv.Itoa(i)}, targets: []string{"d-1", "d-2"}, past: 6 * hour, gaps: gaps}
		w.start(t, replica, "replica"+strconv.Itoa(i))
		hot, cold = append(hot, "--endpoint", replica.sidecar.GRPC), append(cold, "--endpoint", replica.inCold.GRPC)
	}
	const deduplicates = "--query.replica-label=replica"
	address, _ := gatewayOf(t, w.query(t, 2, append(hot, deduplicates)...), w.query(t, 2, append(cold, deduplicates)...), 15*time.Minute, time.Second, tier.StrategySplit)
	for _, query := range []string{"temp", "sum(rate(requests_total[2m]))", "count(up)", "increase(requests_total[10m])", "max_over_time(temp[7m])"} {
		q, found := question{query, 3 * hour}, answer{}
		require.Eventually(t, func() bool {
			found = w.ask(t, address, q)
			return found.tier == "hot,cold"
		}, time.Minute, 50*time.Millisecond, "%s %s", query, &found)
		require.Empty(t, differences(w.askTier(t, address, q, "cold").series, found.series), query)
	}
}

func onlyColdDeduplicates(t *testing.T, w *world) {
	address, findings := gatewayOf(t, w.query(t, len(w.sources), w.ofHot...), w.cold, 5*hour, time.Second, tier.StrategyRoute)
	w.hold(t, address, map[string]expectation{
		"an HA pair": {question{`sum(up{cluster="a"})`, hour}, "cold", "not-in-hot"},
		"shards":     {question{`up{cluster="b"}`, 30 * time.Minute}, "cold", "not-in-hot"},
		"both":       {question{`count by (cluster) (recent)`, 30 * time.Minute}, "cold", "not-in-hot"},
	})
	const why = "hot answers no queries: cold removes the replica label replica by deduplication, and hot does not: start hot with --query.replica-label=replica"
	require.Equal(t, []string{why}, said(findings, diagnosis.SeverityError))
	require.Equal(t, []string{"degraded", why}, health(t, address))
}

func nothingInCommon(t *testing.T, w *world) {
	alone := &source{labels: map[string]string{"region": "z"}, targets: []string{"z-1"}, past: 2 * hour}
	w.start(t, alone, "alone")
	address, findings := gatewayOf(t, w.query(t, 1, "--endpoint", alone.sidecar.GRPC), w.cold, 5*hour, time.Second, tier.StrategyRoute)
	w.hold(t, address, map[string]expectation{
		"a metric of cold": {question{`sum(recent)`, 30 * time.Minute}, "cold", "not-in-hot"},
	})
	why := `hot answers no queries: cold has no source with the external labels of hot's stores, such as {region="z"}, so its series of hot have other labels, or it has none`
	require.Equal(t, []string{why}, said(findings, diagnosis.SeverityError))
	require.Equal(t, []string{"degraded", why}, health(t, address))
}

// said returns the messages of the findings of a severity.
func said(findings []diagnosis.Finding, severity diagnosis.Severity) (messages []string) {
	for _, each := range slices.DeleteFunc(slices.Clone(findings), func(each diagnosis.Finding) bool { return each.Severity != severity }) {
		messages = append(messages, each.Message)
	}
	return messages
}

// health returns the health of a gateway, and why it does not use hot.
func health(t *testing.T, address string) []string {
	t.Helper()
	_, body, err := fetch(t, address+"/api/v1/datasources/health", "")
	require.NoError(t, err)
	var read struct {
		Status    string
		HotUnused string `json:"hot_unused"`
	}
	require.NoError(t, json.Unmarshal(body, &read))
	return []string{read.Status, read.HotUnused}
}

func lostStore(t *testing.T, w *world) {
	unaware, aware := w.gateway(t, 5*hour, time.Hour, tier.StrategyRoute), w.gateway(t, 5*hour, time.Second, tier.StrategyRoute)
	ofA, ofB := question{`temp{cluster="a"}`, hour}, question{`sum(temp{cluster="b"})`, 50 * time.Minute}
	ofBoth := question{`sum by (cluster) (recent)`, 50 * time.Minute}
	before := map[string]expectation{"a": {ofA, "hot", "below-threshold"}, "b": {ofB, "hot", "below-threshold"}, "both": {ofBoth, "hot", "below-threshold"}}
	w.hold(t, unaware, before)
	w.hold(t, aware, before)
	w.sources[3].sidecar.Kill()
	w.hold(t, unaware, map[string]expectation{
		"hot fails":                      {ofB, "cold", "hot-failed"},
		"for all sources, too":           {ofBoth, "cold", "hot-failed"},
		"a source with all its stores":   {ofA, "hot", "below-threshold"},
		"another query of such a source": {question{`sum(rate(requests_total{cluster="a"}[5m]))`, hour}, "hot", "below-threshold"},
	})
	w.hold(t, aware, map[string]expectation{
		"the source covers nothing":      {ofB, "cold", "older-than-hot"},
		"nor do all sources together":    {ofBoth, "cold", "older-than-hot"},
		"a source with all its stores":   {ofA, "hot", "below-threshold"},
		"another query of such a source": {question{`sum(rate(requests_total{cluster="a"}[5m]))`, hour}, "hot", "below-threshold"},
	})
	_, findings := gatewayOf(t, w.hot, w.cold, 5*hour, time.Second, tier.StrategyRoute)
	require.Contains(t, said(findings, diagnosis.SeverityWarning), `the hot tier cannot reach its sidecar with {cluster="b", replica="shard-1"}: what only that one holds is missing. Queries that may read this source go to cold`)
	require.Empty(t, said(findings, diagnosis.SeverityError))
}
