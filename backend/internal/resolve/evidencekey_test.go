package resolve

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

func TestEvidenceKey_WhatAnswersDependOn(t *testing.T) {
	withToken, err := upstream.NewTransportConfig(upstream.TransportOptions{TokenFile: "/var/run/token"})
	require.NoError(t, err)
	at := destination{name: tier.Cold, url: "http://thanos:9090"}
	seen := map[[32]byte]string{at.evidenceKey(): "nothing"}
	for name, change := range map[string]func(*destination){
		"the tier":       func(d *destination) { d.name = tier.Hot },
		"the URL":        func(d *destination) { d.url = "http://thanos:9090/b" },
		"the tenant":     func(d *destination) { d.headers = "X-Scope-Orgid: second\r\n" },
		"the namespace":  func(d *destination) { d.tenancy = config.TenancyConfig{Parameter: "namespace", ProbeNamespace: "a"} },
		"the Service":    func(d *destination) { d.service = "monitoring/thanos" },
		"the address":    func(d *destination) { d.address = "10.0.0.1:9090" },
		"the replica":    func(d *destination) { d.replica = "thanos-0" },
		"the credential": func(d *destination) { d.Transport = withToken },
	} {
		changed := at
		change(&changed)
		key := changed.evidenceKey()
		require.NotContains(t, seen, key, "%s and %s", name, seen[key])
		seen[key] = name
		require.Equal(t, key, changed.evidenceKey())
	}
}
