package catalog

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// enforcing are the flags of a Thanos that enforces tenants.
const enforcing = `{"query.enforce-tenancy":"true","query.tenant-header":"THANOS-TENANT","query.tenant-label-name":"tenant_id","query.default-tenant-id":"default-tenant","query.tenant-certificate-field":""}`

func TestTenancyWatch_WhatIsCertainlyHidden(t *testing.T) {
	now := time.Now()
	of := func(labels ...string) Store {
		set := map[string]string{"cluster": "a"}
		for i := 0; i < len(labels); i += 2 {
			set[labels[i]] = labels[i+1]
		}
		return Store{Kind: "sidecar", LabelSets: []map[string]string{set}, MinTime: now.Add(-time.Hour).UnixMilli(), MaxTime: now.Add(time.Hour).UnixMilli()}
	}
	with := func(store Store, change func(*Store)) Store { change(&store); return store }
	const nothing, something = `[]`, `["default-tenant"]`
	for name, test := range map[string]struct {
		flags, values string
		stores        []Store
		notes         []tier.Note
		sent          string
		hidden        bool
	}{
		"all stores are of other tenants":       {flags: enforcing, stores: []Store{of("tenant_id", "a"), of("tenant_id", "b")}, hidden: true},
		"one store is of the default tenant":    {flags: enforcing, values: something, stores: []Store{of("tenant_id", "a"), of("tenant_id", "default-tenant")}},
		"series have the label, of others":      {flags: enforcing, values: nothing, stores: []Store{of()}, hidden: true},
		"series have the label":                 {flags: enforcing, values: something, stores: []Store{of()}},
		"no answer":                             {flags: enforcing, stores: []Store{of()}},
		"the header is sent":                    {flags: enforcing, stores: []Store{of("tenant_id", "a")}, sent: "THANOS-TENANT"},
		"another header is sent":                {flags: enforcing, stores: []Store{of("tenant_id", "a")}, sent: "X-Scope-OrgID", hidden: true},
		"it does not enforce":                   {flags: `{"query.enforce-tenancy":"false","query.tenant-header":"THANOS-TENANT","query.tenant-label-name":"tenant_id"}`, values: nothing, stores: []Store{of("tenant_id", "a")}},
		"the tenant is that of the certificate": {flags: `{"query.enforce-tenancy":"true","query.tenant-header":"T","query.tenant-label-name":"tenant_id","query.tenant-certificate-field":"commonName"}`, values: nothing, stores: []Store{of("tenant_id", "a")}},
		"it does not report its flags":          {values: nothing, stores: []Store{of("tenant_id", "a")}},
		"no samples yet":                        {flags: enforcing, values: nothing, stores: []Store{with(of("tenant_id", "a"), func(s *Store) { s.MinTime = -62_167_219_200_000 })}},
		"an empty bucket":                       {flags: enforcing, values: nothing, stores: []Store{with(of("tenant_id", "a"), func(s *Store) { s.MinTime, s.MaxTime = 1<<63-1, -1<<63 })}},
		"a store is lost":                       {flags: enforcing, values: nothing, stores: []Store{of("tenant_id", "a")}, notes: []tier.Note{tier.PublicNote("lost")}},
	} {
		t.Run(name, func(t *testing.T) {
			answers := catalogtest.Answers{}
			if test.flags != "" {
				answers = append(answers, struct{ Key, Data string }{"/status/flags", test.flags})
			}
			answers = append(answers, struct{ Key, Data string }{"/label/tenant_id/values", test.values})
			told := catalogtest.NewScripted(t, answers)
			status := &Status{Available: true, Stores: test.stores, Notes: test.notes, configured: "one"}
			var w tenancyWatch
			for range 2 {
				hint := w.look(t.Context(), catalogtest.Asking(t, told.URL), func(header string) bool { return header == test.sent }, status, now)
				require.Equal(t, test.hidden, hint != "", hint)
			}
			require.Len(t, told.Requests("/status/flags"), 1, "once per process")
			for _, asked := range told.Requests("/label/") {
				require.Equal(t, "/api/v1/label/tenant_id/values?limit=1&start=0", asked)
			}
			require.LessOrEqual(t, len(told.Requests("/label/")), 2)
			if test.values == something {
				require.LessOrEqual(t, len(told.Requests("/label/")), 1, "what is visible stays visible")
			}
		})
	}
}

// A reload of the Thanos may change its flags. What is said names the header, and the settings.
func TestTenancyWatch_SaysWhatToConfigure(t *testing.T) {
	told, now := catalogtest.NewScripted(t, catalogtest.Answers{{"/status/flags", enforcing}}), time.Now()
	store := Store{LabelSets: []map[string]string{{"tenant_id": "secret-tenant"}}, MinTime: now.Add(-time.Hour).UnixMilli(), MaxTime: now.UnixMilli()}
	status := &Status{Available: true, Stores: []Store{store}, configured: "one"}
	var w tenancyWatch
	look := func() string {
		return w.look(t.Context(), catalogtest.Asking(t, told.URL), func(string) bool { return false }, status, now)
	}
	const known = "it shows no series without the header THANOS-TENANT, because it enforces tenants: set the header in proxy.spec.headers of the datasource, or in http_config.http_headers of the tier"
	require.Equal(t, known, look())
	told.Set(catalogtest.Answers{{"/status/flags", `{"query.enforce-tenancy":"true","query.tenant-header":"X-Org","query.tenant-label-name":"tenant_id"}`}})
	require.Equal(t, known, look())
	status.configured = "two"
	require.Equal(t, fmt.Sprint("it shows no series without the header X-Org", known[len("it shows no series without the header THANOS-TENANT"):], ", and list it in tenant_headers"), look())
}
