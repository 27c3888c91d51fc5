package resolve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// listed is a hot tier in a list: its name, its external labels and its scrape configuration.
type listed struct{ name, labels, jobs string }

// stores is what a Thanos Query over sidecars reports of Prometheus with such labels.
func stores(t *testing.T, sets ...map[string]string) string {
	t.Helper()
	var list []map[string]any
	for _, set := range sets {
		list = append(list, map[string]any{"labelSets": []map[string]string{set}, "minTime": 1, "maxTime": 1})
	}
	text, err := json.Marshal(map[string]any{"sidecar": list})
	require.NoError(t, err)
	return string(text)
}

// grouping is a list of servers, and what becomes of them.
type grouping struct {
	servers  []listed
	groups   [][]int
	sources  []string
	refusals map[string]string // why a server is refused, by its name
}

// shard is the configuration of a job that scrapes a part of its targets.
const shard = "[{job_name: x, relabel_configs: [{source_labels: [i], modulus: 2, target_label: __h, action: hashmod}, {source_labels: [__h], regex: 1, action: keep}]}]"

// groupings are servers with all kinds of external labels, beside a cold tier that knows the clusters
// a, b and c and removes the label side.
var groupings = map[string]grouping{
	"three clusters": {
		servers: []listed{{"x", "{cluster: a}", ""}, {"y", "{cluster: b}", ""}, {"z", "{cluster: c}", ""}},
		groups:  [][]int{{0}, {1}, {2}}, sources: []string{`{cluster="a"}`, `{cluster="b"}`, `{cluster="c"}`},
	},
	"an HA pair beside another cluster": {
		servers: []listed{{"x", "{cluster: a, replica: 0}", "[{job_name: j}]"}, {"y", "{cluster: b}", ""}, {"z", "{cluster: a, replica: 1}", "[{job_name: j}]"}},
		groups:  [][]int{{0, 2}, {1}}, sources: []string{`{cluster="a"}`, `{cluster="b"}`, `{cluster="a"}`},
	},
	"an HA pair whose replica label cold removes": {
		servers: []listed{{"x", "{cluster: a, side: l}", ""}, {"y", "{cluster: a, side: r}", ""}},
		groups:  [][]int{{0, 1}}, sources: []string{`{cluster="a"}`, `{cluster="a"}`},
	},
	"equal external labels": {
		servers: []listed{{"x", "{cluster: a}", ""}, {"y", "{cluster: b}", ""}, {"z", "{cluster: a}", ""}},
		groups:  [][]int{{0, 2}, {1}}, sources: []string{`{cluster="a"}`, `{cluster="b"}`, `{cluster="a"}`},
		refusals: map[string]string{
			"x": "x and z cannot be told apart, because they have the same external labels", "z": "x and z cannot be told apart, because they have the same external labels",
		},
	},
	"no external labels": {
		servers: []listed{{"x", "{}", ""}, {"y", "{cluster: b}", ""}},
		groups:  [][]int{{0}, {1}}, sources: []string{``, `{cluster="b"}`},
		refusals: map[string]string{"x": "it has no external labels"},
	},
	"replicas that scrape other targets": {
		servers: []listed{{"x", "{cluster: a, replica: 0}", "[{job_name: j}, {job_name: left}]"}, {"y", "{cluster: a, replica: 1}", "[{job_name: j}]"}},
		groups:  [][]int{{0, 1}}, sources: []string{`{cluster="a"}`, `{cluster="a"}`},
		refusals: map[string]string{"x": "do not scrape the same in the job left", "y": "do not scrape the same in the job left"},
	},
	"a shard": {
		servers: []listed{{"x", "{cluster: a}", shard}, {"y", "{cluster: b}", ""}},
		groups:  [][]int{{0}, {1}}, sources: []string{``, `{cluster="b"}`},
		refusals: map[string]string{"x": "it is a shard, which scrapes a part of the targets only: name a Thanos Query over all shards as the hot tier (keep 1 of 2)"},
	},
	"external labels that cold does not have": {
		servers: []listed{{"x", "{cluster: new}", ""}, {"y", "{cluster: b}", ""}},
		groups:  [][]int{{0}, {1}}, sources: []string{`{cluster="new"}`, `{cluster="b"}`},
		refusals: map[string]string{"x": `cold has no series with its external labels {cluster="new"}`},
	},
}

func TestSources_AreGroupedByExternalLabels(t *testing.T) {
	for name, test := range groupings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := &faketier.Network{}
				r := runningResolverIn(t, &upstream.Network{Dial: network.Dial}, func(settings *config.Config) {
					settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(probeInterval), config.Duration(probeInterval)
					settings.Hot = config.HotConfig{}
					for _, server := range test.servers {
						settings.Hot.List = append(settings.Hot.List, config.HotConfig{Name: server.name, URL: scrapingTier(t, network, server, &atomic.Int64{})})
					}
					cold := network.Start(t, "cold:9090")
					cold.HandleProbes(faketier.Telling(map[string]string{
						"/stores":       stores(t, map[string]string{"cluster": "a"}, map[string]string{"cluster": "b"}, map[string]string{"cluster": "c"}),
						"/status/flags": `{"query.replica-label":"[side replica]"}`, "/values": "[]", "/series": "[]",
					}))
					settings.Cold.URL = cold.URL
				})
				for range 3 {
					time.Sleep(probeInterval)
					synctest.Wait()
				}
				resolved, err := r.Default()
				require.NoError(t, err)
				var groups [][]int
				for _, source := range resolved.Datasource.Sources() {
					groups = append(groups, source.Servers)
				}
				require.Equal(t, test.groups, groups)
				require.Equal(t, test.sources, resolved.sourceTexts())
				for _, replica := range resolved.Datasource.Hot {
					status, why := replica.Hot.Status(), test.refusals[replica.Hot.Replica()]
					require.Equal(t, why == "", status.Available, "%s: %s", replica.Hot.Replica(), status.Error)
					require.Contains(t, status.Error, why)
				}
				health := resolved.Health(time.Now(), true)
				require.Equal(t, len(test.refusals) > 0, health.Status == StatusDegraded, health)
				require.Len(t, health.Tiers["hot"].Replicas, len(test.servers))
			})
		})
	}
}

// scrapingTier starts a hot tier that reports its external labels and its scrape configuration.
func scrapingTier(t *testing.T, network *faketier.Network, server listed, asked *atomic.Int64) string {
	t.Helper()
	made := network.Start(t, server.name+":9090")
	lines := []string{"global: {external_labels: " + server.labels + "}"}
	if server.jobs != "" {
		lines = append(lines, "scrape_configs: "+server.jobs)
	}
	configuration, err := json.Marshal(map[string]string{"yaml": strings.Join(lines, "\n")})
	require.NoError(t, err)
	answers := faketier.Telling(map[string]string{"/status/config": string(configuration), "/status/flags": "{}", "/values": "[]", "/series": "[]"})
	made.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
		asked.Add(1)
		answers(w, request)
	})
	return made.URL
}

// TestSources_ManyAskColdForLittle has 20 clusters that nobody asks for anything.
func TestSources_ManyAskColdForLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &faketier.Network{}
		var atCold atomic.Int64
		r := runningResolverIn(t, &upstream.Network{Dial: network.Dial}, func(settings *config.Config) {
			settings.Hot = config.HotConfig{}
			settings.Probe = config.Default().Probe
			var sets []map[string]string
			for i := range 20 {
				name := fmt.Sprintf("c%d", i)
				sets = append(sets, map[string]string{"cluster": name})
				settings.Hot.List = append(settings.Hot.List, config.HotConfig{Name: name, URL: scrapingTier(t, network, listed{name, "{cluster: " + name + "}", ""}, &atomic.Int64{})})
			}
			cold := network.Start(t, "cold:9090")
			answers := faketier.Telling(map[string]string{"/stores": stores(t, sets...), "/status/flags": "{}", "/values": "[]", "/series": "[]"})
			cold.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
				atCold.Add(1)
				if strings.Contains(request.URL.Query().Get("query"), "timestamp") {
					_, _ = fmt.Fprint(w, faketier.Vector(fmt.Sprint(time.Now().Unix())))
					return
				}
				answers(w, request)
			})
			settings.Cold.URL = cold.URL
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		resolved, err := r.Default()
		require.NoError(t, err)
		require.Len(t, resolved.Datasource.Sources(), 20)
		before := atCold.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// Nobody waits for what is learned about each of them every five minutes.
		require.Less(t, atCold.Load()-before, int64(7*20))
	})
}

// TestSaved_NamesHotTiersOfTheGateway has a gateway with the tiers eu-1, us-1 and one without a name.
func TestSaved_NamesHotTiersOfTheGateway(t *testing.T) {
	r := runningResolver(t, func(settings *config.Config) {
		settings.Hot = config.HotConfig{List: []config.HotConfig{
			{Name: "eu-1", URL: "https://127.0.0.1:1/eu"}, {Name: "us-1", URL: "https://127.0.0.1:1/us", Retention: config.Duration(time.Hour)}, {URL: "https://127.0.0.1:2"},
		}}
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: 3}}
		settings.Projects = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}
	})
	for hot, expected := range map[string][]string{
		``:                         {"eu-1 https://127.0.0.1:1/eu", "us-1 https://127.0.0.1:1/us", "127.0.0.1:2 https://127.0.0.1:2"},
		`"hot":{"name":"us-1"},`:   {"us-1 https://127.0.0.1:1/us"},
		`"hot":[{"name":"us-1"}],`: {"us-1 https://127.0.0.1:1/us"},
		`"hot":[{"name":"us-1"},{"name":"eu-1"}],`:                                 {"us-1 https://127.0.0.1:1/us", "eu-1 https://127.0.0.1:1/eu"},
		`"hot":[{"name":"127.0.0.1:2"}],`:                                          {"127.0.0.1:2 https://127.0.0.1:2"},
		`"hot":[{"name":"eu-1"},{"name":"own","url":"https://127.0.0.1:3"}],`:      {"eu-1 https://127.0.0.1:1/eu", "own https://127.0.0.1:3"},
		`"hot":[{"url":"https://127.0.0.1:3/a"},{"url":"https://127.0.0.1:3/b"}],`: {"127.0.0.1:3 https://127.0.0.1:3/a", "127.0.0.1:3 (2) https://127.0.0.1:3/b"},
		`"hot":[{"name":"eu-1"},{"name":"gone"}],`:                                 {"eu-1 https://127.0.0.1:1/eu", "gone "},
	} {
		resolved, err := r.Saved(saved(t, "listed", hot, "{}"))
		require.NoError(t, err, hot)
		var tiers []string
		for _, replica := range resolved.Datasource.Hot {
			tiers = append(tiers, cmp.Or(replica.Hot.Replica(), expected[0][:strings.Index(expected[0], " ")])+" "+replica.Hot.Endpoint())
		}
		require.Equal(t, expected, tiers, hot)
	}
	gone, err := r.Saved(saved(t, "listed", `"hot":[{"name":"eu-1"},{"name":"gone"}],`, "{}"))
	require.NoError(t, err)
	require.Contains(t, gone.Datasource.Hot[1].Hot.Status().Error, `the gateway has no hot tier named "gone": use one of eu-1, us-1, 127.0.0.1:2`)
	_, err = r.Saved(saved(t, "unlisted", `"hot":[{"name":"gone"}],`, "{}"))
	require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status)
	require.NotContains(t, err.Error(), "us-1", "what the gateway has is not for everybody to know")
}
