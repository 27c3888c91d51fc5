package engine

import (
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// clustersOverCold are hot tiers of the clusters c0, c1 and so on, over a cold tier with all of them. All
// have the metric up, and each one a metric of its own, such as only_c0.
type clustersOverCold struct {
	hot    []*catalog.Tier
	engine *Engine
	query  Query
}

func newClustersOverCold(t *testing.T, count int) *clustersOverCold {
	t.Helper()
	cold := faketier.Start(t)
	cold.HandleProbes(told{"/stores": storesOfClusters(count), "/status/flags": `{"query.replica-label":"[replica]"}`, "others": "up"}.handler())
	coldClient := probedTier(t, cold.URL, catalog.TierOptions{Name: tier.Cold})
	made := &clustersOverCold{}
	var sources []Source
	var replicas []Replica
	for i := range count {
		name := fmt.Sprintf("c%d", i)
		server := faketier.Start(t)
		server.HandleProbes(told{
			"/status/config":  fmt.Sprintf(`{"yaml":"global:\n  scrape_interval: 30s\n  external_labels: {cluster: %s, replica: a}\n"}`, name),
			"/label/__name__": fmt.Sprintf(`["up","only_%s"]`, name), "/label/cluster": `[]`,
		}.handler())
		hot := probedReplica(t, name, server.URL, 0)
		made.hot = append(made.hot, hot)
		replicas = append(replicas, Replica{Hot: hot, Catalog: catalogOf(t, hot, coldClient), Ready: true})
		sources = append(sources, Source{Labels: []map[string]string{{"cluster": name}}, Servers: []int{i}})
	}
	made.engine, made.query = asking{Hot: replicas[0].Hot, Catalog: replicas[0].Catalog, Others: replicas[1:], Cold: coldClient, Threshold: 15 * time.Minute, Timeout: 5 * time.Second}.made()
	made.query.Datasource.Detailed = true
	made.query.Datasource.Sources = func() []Source { return sources }
	return made
}

// storesOfClusters is what a Thanos says that has so many clusters.
func storesOfClusters(count int) string {
	text := ""
	for i := range count {
		text += fmt.Sprintf(`,{"name":"s%d","lastError":null,"labelSets":[{"cluster":"c%d","replica":"a"}],"minTime":0,"maxTime":9223372036854775807}`, i, i)
	}
	return `{"sidecar":[` + text[1:] + `]}`
}

func (c *clustersOverCold) plan(t *testing.T, endpoint promapi.Endpoint, parameters url.Values) *Plan {
	t.Helper()
	var err error
	c.query.Request, err = promapi.NewRequest(endpoint, "/api/v1/"+string(endpoint), parameters, time.Now())
	require.NoError(t, err)
	plan, err := c.engine.Plan(t.Context(), c.query)
	require.NoError(t, err)
	return plan
}

func TestPlan_SaysThatTheOnlyCompleteSourceIsUnavailable(t *testing.T) {
	for _, count := range []int{2, mostCandidates + 2} {
		t.Run(fmt.Sprint(count, " sources"), func(t *testing.T) {
			c := newClustersOverCold(t, count)
			sum := func(expression string) *Plan { return c.plan(t, promapi.Query, url.Values{"query": {expression}}) }
			require.Eventually(t, func() bool { return sum("sum(only_c0)").Tier == tier.Hot }, 30*time.Second, 10*time.Millisecond)
			require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{sum("sum(up)").Tier, sum("sum(up)").Reason})
			c.hot[0].ReportFailure(io.ErrUnexpectedEOF)

			down := sum("sum(only_c0)")
			require.Equal(t, []any{tier.Cold, tier.ReasonHotUnavailable}, []any{down.Tier, down.Reason})
			require.Equal(t, `cold answers: the source {cluster="c0"} of the hot tier is unavailable`, down.Sentence(down.Input))
			require.Same(t, c.hot[0], down.Hot())

			for _, expression := range []string{"sum(up)", "sum(elsewhere)", "sum(only_c0) / sum(only_c1)", `sum(only_c0{cluster=~"c0|c1"})`} {
				other := sum(expression)
				require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{other.Tier, other.Reason}, "no single source has it: %s", expression)
			}
			require.Eventually(t, func() bool { return sum("sum(only_c1)").Tier == tier.Hot }, 30*time.Second, 10*time.Millisecond, "others answer as before")
			c.query.Datasource.Detailed = false
			concealed := sum("sum(only_c0)")
			require.Equal(t, "cold answers: the hot tier is unavailable", concealed.Sentence(concealed.Input))
		})
	}
}

// learn lets a source plan for a query that it alone has the metric of, until it is known that it has.
func (c *clustersOverCold) learn(t *testing.T, position int) (query url.Values) {
	t.Helper()
	query = url.Values{"query": {fmt.Sprintf("sum(only_c%d)", position)}}
	require.Eventually(t, func() bool {
		about := c.plan(t, promapi.Query, query).subject
		about.hotSource = about.matching.all[position]
		plan, err := about.plan(t.Context())
		return err == nil && plan.Tier == tier.Hot
	}, 30*time.Second, 10*time.Millisecond)
	return query
}

func TestPlan_FindsTheUnavailableSourceAmongManyThatAreUnavailable(t *testing.T) {
	c := newClustersOverCold(t, 2*mostCandidates+1)
	query := c.learn(t, mostCandidates)
	for _, hot := range c.hot[:mostCandidates+1] {
		hot.ReportFailure(io.ErrUnexpectedEOF)
	}
	down := c.plan(t, promapi.Query, query)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotUnavailable}, []any{down.Tier, down.Reason})
	require.Same(t, c.hot[mostCandidates], down.Hot())
}

// TestPlan_ASourceThatWouldNotBeTriedIsNoReason asks for a metric of a source that is behind those that
// are tried.
func TestPlan_ASourceThatWouldNotBeTriedIsNoReason(t *testing.T) {
	c := newClustersOverCold(t, mostCandidates+1)
	query := c.learn(t, mostCandidates)
	c.hot[mostCandidates].ReportFailure(io.ErrUnexpectedEOF)
	down := c.plan(t, promapi.Query, query)
	require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{down.Tier, down.Reason})
}
