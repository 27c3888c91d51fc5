//go:build e2e

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// clusterNames are the clusters of the tests in the browser, as values of the external label.
var clusterNames = []string{"eu-1", "us-1"}

// startClusters starts a hot Prometheus for each cluster and one Thanos with the blocks of all.
// It returns their URLs as environment variables of the tests in the browser, with that of a
// hot Prometheus that does not run.
func startClusters(t *testing.T) (environment []string) {
	t.Helper()
	ctx, started := t.Context(), time.Now()
	thanos := stack.Thanos{Dir: t.TempDir(), Bucket: shared.path("clusters-bucket")}
	uploadLog, err := os.Create(shared.path("clusters-upload.log"))
	require.NoError(t, err)
	defer func() { _ = uploadLog.Close() }()
	urls := map[string]string{}
	for _, name := range clusterNames {
		blocks, hot := shared.path("cold-"+name), shared.prometheus("hot-"+name, 0)
		generator := history.Generator{Interval: time.Minute, Only: append(history.Generator{}.All(), history.Stock(name+"-north", name+"-south")...)}
		require.NoError(t, generator.WriteBlocks(ctx, blocks, started.Add(-2*hotReach), started.Add(future)))
		require.NoError(t, generator.WriteBlocks(ctx, hot.Data, started.Add(-hotReach), started.Add(future)))
		require.NoError(t, thanos.Upload(ctx, shared.thanosPath, blocks, uploadLog, externalLabel+`="`+name+`"`))
		hot.Global = document{"external_labels": document{externalLabel: name}}
		server, err := hot.Start(ctx, shared.prometheusPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Stop() })
		urls[name] = server.URL
	}
	cold, err := thanos.Start(ctx, shared.thanosPath)
	require.NoError(t, err)
	t.Cleanup(cold.Stop)
	nothing, err := stack.FreePort()
	require.NoError(t, err)
	return []string{
		"HOT_EU_URL=" + urls["eu-1"], "HOT_US_URL=" + urls["us-1"], "HOT_BROKEN_URL=http://127.0.0.1:" + strconv.Itoa(nothing), "CLUSTERS_COLD_URL=" + cold.Query.URL,
	}
}
