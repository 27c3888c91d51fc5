package catalog

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// server is a tier that has told the given configuration, or nothing.
func server(t *testing.T, name, config string) *Tier {
	t.Helper()
	made := NewTier(TierOptions{Name: tier.Hot, Replica: name})
	if config != "" {
		parsed, err := parseConfig(config)
		require.NoError(t, err)
		made.identity.Store(&Identity{externalLabels: parsed.Global.ExternalLabels, sharding: parsed.sharding()})
	}
	return made
}

func TestNoReplicas_ServersBehindOneService(t *testing.T) {
	const (
		first  = "global: {external_labels: {cluster: lab, prometheus_replica: p-0}}\n"
		second = "global: {external_labels: {cluster: lab, prometheus_replica: p-1}}\n"
		other  = "global: {external_labels: {cluster: other, prometheus_replica: o-0}}\n"
		custom = "global: {external_labels: {cluster: lab, pod: p-1}}\n"
		shard  = first + `
scrape_configs:
- job_name: a
  relabel_configs:
  - {source_labels: [__address__, __tmp_hash], target_label: __tmp_hash, action: hashmod, modulus: 2}
  - {source_labels: [__tmp_hash], regex: "1", action: keep}
`
		unsharded = first + `
scrape_configs:
- job_name: a
  relabel_configs:
  - {source_labels: [__address__], target_label: __tmp_hash, action: hashmod, modulus: 1}
  - {source_labels: [__tmp_hash], regex: "0", action: keep}
`
	)
	for name, each := range map[string]struct {
		servers []*Tier
		removed []string
		reason  string
		certain bool
	}{
		"replicas":                           {servers: []*Tier{server(t, "p-0", first), server(t, "p-1", second)}},
		"one":                                {servers: []*Tier{server(t, "p-0", first)}},
		"one that tells nothing":             {servers: []*Tier{server(t, "p-0", "")}},
		"a replica label of its own":         {servers: []*Tier{server(t, "p-0", first), server(t, "p-1", custom)}, removed: []string{"pod"}},
		"a replica that is down":             {servers: []*Tier{server(t, "p-0", ""), server(t, "p-1", second)}},
		"the operator's rules for one shard": {servers: []*Tier{server(t, "p-0", unsharded), server(t, "p-1", unsharded)}},
		"different external labels": {
			servers: []*Tier{server(t, "p-0", first), server(t, "o-0", other)}, certain: true,
			reason: `p-0 and o-0 behind the service are not replicas of one Prometheus: their external labels are {cluster="lab"} and {cluster="other"}`,
		},
		"an unknown replica label": {
			servers: []*Tier{server(t, "p-0", first), server(t, "p-1", custom)}, certain: true,
			reason: `p-0 and p-1 behind the service are not replicas of one Prometheus: their external labels are {cluster="lab"} and {cluster="lab", pod="p-1"}`,
		},
		"a shard": {
			servers: []*Tier{server(t, "p-0", first), server(t, "p-shard-1-0", shard)}, certain: true,
			reason: "p-shard-1-0 behind the service is a shard: it scrapes a part of the targets only (keep 1 of 2)",
		},
		"a shard alone": {
			servers: []*Tier{server(t, "p-shard-1-0", shard)}, certain: true,
			reason: "p-shard-1-0 behind the service is a shard: it scrapes a part of the targets only (keep 1 of 2)",
		},
		"somebody else who is down": {
			servers: []*Tier{server(t, "p-0", first), server(t, "other-0", "")},
			reason:  "tierproxy does not know whether other-0 is a replica, because it cannot read its configuration: allow /api/v1/status/config, or set discovery.replicas to false",
		},
		"none that tells": {
			servers: []*Tier{server(t, "p-0", ""), server(t, "p-1", "")},
			reason:  "tierproxy does not know whether p-0 is a replica, because it cannot read its configuration: allow /api/v1/status/config, or set discovery.replicas to false",
		},
	} {
		t.Run(name, func(t *testing.T) {
			reason, certain := NoReplicas(each.servers, each.removed)
			require.Equal(t, each.reason, reason.Detail)
			require.Equal(t, each.certain, certain)
		})
	}
}

func TestTier_RefusedIsNotAsked(t *testing.T) {
	asked := server(t, "p-0", "")
	asked.status.Store(&Status{Available: true})
	var refusal atomic.Pointer[tier.Note]
	refused := asked.RefusedBy(&refusal)
	require.True(t, refused.Status().Available)
	refusal.Store(&tier.Note{Detail: "it is the shard 3 of 7", Public: "it is a shard"})
	require.False(t, refused.Status().Available)
	status := refused.Status()
	require.Equal(t, "it is the shard 3 of 7", status.Error)
	require.Equal(t, "it is a shard", status.ErrorFor(false))
	_, err := refused.Do(t.Context(), nil, nil)
	require.EqualError(t, err, "it is a shard")
	require.Equal(t, "it is a shard", upstream.Describe(err))
	require.True(t, asked.Status().Available, "other views are asked")
	refusal.Store(&tier.Note{})
	require.True(t, refused.Status().Available)
}
