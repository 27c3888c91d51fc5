package resolve

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// probeInterval is the interval of probes and of learning in a bubble of synctest.
const probeInterval = 15 * time.Second

// tellingTier starts a tier at an address that answers probes, and reports its external labels
// and its flags.
func tellingTier(t *testing.T, network *faketier.Network, address, labels, flags string) string {
	t.Helper()
	made := network.Start(t, address)
	configuration, err := json.Marshal(map[string]string{"yaml": "global: {external_labels: " + labels + "}\n"})
	require.NoError(t, err)
	made.HandleProbes(faketier.Telling(map[string]string{"/status/config": string(configuration), "/status/flags": flags, "/values": "[]", "/series": "[]"}))
	return made.URL
}

// TestReplicas_BelongToAHotAndAColdTogether has two datasources that share the two
// servers of hot. One has a cold tier that removes the label by which the servers
// differ, so that they are replicas. The other has one that does not.
func TestReplicas_BelongToAHotAndAColdTogether(t *testing.T) {
	synctest.Test(t, testReplicasBelongToAHotAndAColdTogether)
}

func testReplicasBelongToAHotAndAColdTogether(t *testing.T) {
	network := &faketier.Network{}
	r := runningResolverIn(t, &upstream.Network{Dial: network.Dial}, func(settings *config.Config) {
		settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(probeInterval), config.Duration(probeInterval)
	})
	servers := []discovery.Endpoint{}
	for i, label := range []string{"a", "b"} {
		address := fmt.Sprintf("10.0.0.%d:9090", i)
		tellingTier(t, network, address, "{cluster: lab, side: "+label+"}", "{}")
		servers = append(servers, discovery.Endpoint{Name: fmt.Sprintf("prometheus-%d", i), Address: address, Ready: true})
	}
	service := &discovery.Service{Host: "prometheus.monitoring.svc", Port: 9090, Scheme: "http", State: discovery.StateFound, Endpoints: servers}
	hotAt := location{use: tierUse{isGateway: true}, service: service, destination: destination{name: tier.Hot, url: service.URL(), service: "monitoring/prometheus", Permission: upstream.Permission{Transport: r.transports.configured["hot"]}}}
	datasource := func(address, coldFlags string) *Resolved {
		coldAt := location{use: tierUse{isGateway: true}, destination: destination{name: tier.Cold, url: tellingTier(t, network, address, "{}", coldFlags)}}
		made := &Resolved{Label: coldFlags, Datasource: &engine.Datasource{}}
		_, err := r.complete(made, "", []location{hotAt}, coldAt)
		require.NoError(t, err)
		return made
	}
	available := func(of *Resolved) (states []bool) {
		for _, replica := range of.Datasource.Hot {
			states = append(states, replica.Hot.Status().Available)
		}
		return states
	}
	removes := datasource("removes:9090", `{"query.replica-label":"side"}`)
	keeps := datasource("keeps:9090", `{}`)
	for range 3 {
		time.Sleep(probeInterval)
		synctest.Wait()
		require.Contains(t, keeps.Hot.Status().Error, "are not replicas of one Prometheus")
		require.Equal(t, []bool{false, false}, available(keeps))
		require.Equal(t, []bool{true, true}, available(removes), "what another datasource makes of the servers does not matter")
		require.NotEqual(t, StatusHealthy, keeps.Health(time.Now(), true).Status)
	}
}
