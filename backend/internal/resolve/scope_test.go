package resolve

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// What is kept for one datasource and its tiers is not found for another.
func TestScope_EveryFieldOfADestination(t *testing.T) {
	changes := map[string]func(*destination){
		"name":         func(at *destination) { at.name = tier.Cold },
		"url":          func(at *destination) { at.url = "http://b" },
		"TierSettings": func(at *destination) { at.Lag = time.Hour }, // Its fields follow below.
		"tenancy":      func(at *destination) { at.tenancy.Parameter = "namespace" },
		"headers":      func(at *destination) { at.headers = "X-Scope-Orgid: a" },
		"service":      func(at *destination) { at.service = "monitoring/prometheus" },
		"address":      func(at *destination) { at.address = "10.0.0.1:9090" },
		"replica":      func(at *destination) { at.replica = "prometheus-0" },
	}
	leftOut := map[string]string{
		"Permission": "it follows from the configuration and the URL; the requested tenant is in headers",
		"missing":    "a tier that is not known answers nothing",
	}
	m := &Resolver{fingerprint: "configuration"}
	before := m.scopeOf("a datasource", "generation", location{})
	for field := range reflect.TypeFor[destination]().Fields() {
		at := location{}
		if reason, is := leftOut[field.Name]; is {
			require.NotEmpty(t, reason)
			continue
		}
		require.Contains(t, changes, field.Name, "a new field belongs into the scope, or among those that are left out")
		changes[field.Name](&at.destination)
		require.NotEqual(t, before, m.scopeOf("a datasource", "generation", at), field.Name)
	}
	for i := range reflect.TypeFor[catalog.TierSettings]().NumField() {
		at := location{}
		if reflect.TypeFor[catalog.TierSettings]().Field(i).Name == "Title" {
			continue // It changes no answer.
		}
		reflect.ValueOf(&at.TierSettings).Elem().Field(i).SetInt(int64(time.Hour))
		require.NotEqual(t, before, m.scopeOf("a datasource", "generation", at), i)
	}
	require.NotEqual(t, before, m.scopeOf("another", "generation", location{}))
	require.NotEqual(t, before, m.scopeOf("a datasource", "another", location{}))
	require.NotEqual(t, before, (&Resolver{fingerprint: "another"}).scopeOf("a datasource", "generation", location{}))
}
