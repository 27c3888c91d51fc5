package datasource_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

// httpConfig reads an http_config.
func httpConfig(t *testing.T, text string) *datasource.HTTPConfig {
	t.Helper()
	config := &datasource.HTTPConfig{}
	require.NoError(t, yaml.Unmarshal([]byte(text), config))
	return config
}
