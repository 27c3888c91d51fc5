package resolve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// tellingTier starts a tier that answers probes, and tells its external labels
// and its flags.
func tellingTier(t *testing.T, labels, flags string) *faketier.Tier {
	t.Helper()
	made := faketier.Start(t)
	configuration, err := json.Marshal(map[string]string{"yaml": "global: {external_labels: " + labels + "}\n"})
	require.NoError(t, err)
	made.HandleProbes(faketier.Telling(map[string]string{"/status/config": string(configuration), "/status/flags": flags, "/values": "[]"}))
	return made
}

// TestReplicas_BelongToAHotAndAColdTogether has two datasources that share the two
// servers of hot. One has a cold tier that removes the label by which the servers
// differ, so that they are replicas. The other has one that does not.
func TestReplicas_BelongToAHotAndAColdTogether(t *testing.T) {
	r := runningResolver(t, func(settings *config.Config) {
		settings.Probe.Interval = config.Duration(50 * time.Millisecond)
		settings.Probe.LearnInterval = config.Duration(50 * time.Millisecond)
	})
	servers := []discovery.Endpoint{}
	for i, label := range []string{"a", "b"} {
		server := tellingTier(t, "{cluster: lab, side: "+label+"}", "{}")
		servers = append(servers, discovery.Endpoint{Name: fmt.Sprintf("prometheus-%d", i), Address: strings.TrimPrefix(server.URL, "http://"), Ready: true})
	}
	service := &discovery.Service{Host: "prometheus.monitoring.svc", Port: 9090, Scheme: "http", State: discovery.StateFound, Endpoints: servers}
	hotAt := location{use: tierUse{isGateway: true}, service: service, destination: destination{name: tier.Hot, url: service.URL(), service: "monitoring/prometheus", transport: r.configuredDestination(tier.Hot).transport}}
	datasource := func(coldFlags string) *Resolved {
		coldAt := location{use: tierUse{isGateway: true}, destination: destination{name: tier.Cold, url: tellingTier(t, "{}", coldFlags).URL}}
		made := &Resolved{Label: coldFlags, Datasource: &engine.Datasource{}}
		_, err := r.complete(made, "", hotAt, coldAt)
		require.NoError(t, err)
		return made
	}
	available := func(of *Resolved) (states []bool) {
		for _, replica := range of.Datasource.Hot {
			states = append(states, replica.Hot.Status().Available)
		}
		return states
	}
	removes := datasource(`{"query.replica-label":"side"}`)
	require.Eventually(t, func() bool { return available(removes)[0] && available(removes)[1] }, 10*time.Second, 5*time.Millisecond)
	keeps := datasource(`{}`)
	require.Eventually(t, func() bool {
		return strings.Contains(keeps.Hot.Status().Error, "are no replicas of one Prometheus")
	}, 10*time.Second, 5*time.Millisecond)
	for range 100 {
		require.Equal(t, []bool{false, false}, available(keeps))
		require.Equal(t, []bool{true, true}, available(removes), "what another datasource makes of the servers does not matter")
		require.NotEqual(t, StatusHealthy, keeps.Health(time.Now(), true).Status)
	}
}
