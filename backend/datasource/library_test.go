package datasource_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	promconfig "github.com/prometheus/common/config"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

const (
	hotReach  = 2 * time.Hour
	coldReach = 3 * 24 * time.Hour
)

func TestRouter_AnswersFromRealTiers(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	hot, cold := running.Prometheus(t, now, hotReach), running.Prometheus(t, now, coldReach)
	manager := running.Manager(t, running.TwoTiers(hot.URL, cold.URL))
	router := manager.Router()

	t.Run("an instant query", func(t *testing.T) {
		result, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: `up{job="node"}`, End: now})
		require.NoError(t, err)
		require.Equal(t, []string{"hot", "below-threshold"}, []string{result.Tier, result.Reason})
		vector, ok := result.Value.(model.Vector)
		require.True(t, ok)
		require.Len(t, vector, 3)
		require.Equal(t, model.SampleValue(1), vector[0].Value)
		require.Empty(t, result.Warnings)
	})
	t.Run("now, where no time is given", func(t *testing.T) {
		result, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "count(up)"})
		require.NoError(t, err)
		require.Equal(t, "hot", result.Tier)
		require.Equal(t, model.SampleValue(12), result.Value.(model.Vector)[0].Value)
	})
	t.Run("range queries on either side of the threshold and of hot's coverage", func(t *testing.T) {
		for _, each := range []struct {
			end          time.Time
			span         time.Duration
			tier, reason string
		}{
			{now, 5 * time.Minute, "hot", "below-threshold"},
			{now, time.Hour, "hot,cold", "split"},
			{now.Add(-48 * time.Hour), 5 * time.Minute, "cold", "older-than-hot"},
		} {
			result, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{
				Query: "sum(node_load1)", Start: each.end.Add(-each.span), End: each.end, Step: time.Minute,
			})
			require.NoError(t, err)
			require.Equal(t, []string{each.tier, each.reason}, []string{result.Tier, result.Reason})
			matrix, ok := result.Value.(model.Matrix)
			require.True(t, ok)
			require.Len(t, matrix, 1)
			require.Len(t, matrix[0].Values, int(each.span/time.Minute)+1)
			require.Equal(t, model.TimeFromUnixNano(each.end.UnixNano()), matrix[0].Values[len(matrix[0].Values)-1].Timestamp)
		}
	})
	t.Run("scalars and strings", func(t *testing.T) {
		result, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "1 + 1"})
		require.NoError(t, err)
		require.Equal(t, model.SampleValue(2), result.Value.(*model.Scalar).Value)
		result, err = router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: `"text"`})
		require.NoError(t, err)
		require.Equal(t, "text", result.Value.(*model.String).Value)
	})
	t.Run("confined to a namespace", func(t *testing.T) {
		result, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "count(up) or vector(-1)", Namespace: "shop"})
		require.NoError(t, err)
		require.Equal(t, model.SampleValue(-1), result.Value.(model.Vector)[0].Value, "no series is in that namespace")
	})
	t.Run("health", func(t *testing.T) {
		health := manager.Health()
		require.Equal(t, datasource.StatusHealthy, health.Status)
		require.Equal(t, []string{cold.URL, hot.URL}, []string{health.ThanosEndpoint, health.PrometheusEndpoint})
		require.WithinDuration(t, now.Add(-hotReach), health.Tiers["hot"].CoverageStart, 2*time.Minute, "measured from the blocks")
	})
}

func TestExecuteQuery_ReportsErrors(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	hot := running.Prometheus(t, now, hotReach)
	router := running.Manager(t, running.TwoTiers(hot.URL, hot.URL)).Router()

	t.Run("mistakes of the caller", func(t *testing.T) {
		for message, query := range map[string]*datasource.MetricQuery{
			"query: is empty":                            {},
			"step: is missing":                           {Query: "up", Start: now.Add(-time.Hour), End: now},
			"cannot be confined to namespace \"shop\"":   {Query: "sum(", Namespace: "shop"},
			"info() reads series that no selector names": {Query: "info(up)", Namespace: "shop"},
			"unclosed left parenthesis":                  {Query: "sum("},
			"end: is before start":                       {Query: "up", Start: now, End: now.Add(-time.Hour), Step: time.Minute},
		} {
			_, err := router.ExecuteQuery(t.Context(), query)
			var queryError *datasource.QueryError
			require.ErrorAs(t, err, &queryError, message)
			require.ErrorContains(t, err, message)
			require.Equal(t, []any{http.StatusBadRequest, "bad_data"}, []any{queryError.Status, queryError.Type})
		}
		_, err := router.ExecuteQuery(t.Context(), nil)
		require.ErrorContains(t, err, "query: is empty")
	})
	t.Run("a query that fails while it runs", func(t *testing.T) {
		_, err := router.ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: `label_replace(up, "a", "$1", "b", "(")`})
		var queryError *datasource.QueryError
		require.ErrorAs(t, err, &queryError)
		require.Equal(t, []any{http.StatusUnprocessableEntity, "execution", "hot"}, []any{queryError.Status, queryError.Type, queryError.Tier})
	})
	t.Run("a caller that gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := router.ExecuteQuery(ctx, &datasource.MetricQuery{Query: "up"})
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestExecuteQuery_ReturnsWarnings asks a cold tier that lags. The warning says from
// when on samples may be missing.
func TestExecuteQuery_ReturnsWarnings(t *testing.T) {
	tier := faketier.Start(t)
	settings := running.TwoTiers("", tier.URL)
	settings.Cold.Lag = config.Duration(2 * time.Hour)
	result, err := running.Manager(t, settings).Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
	require.NoError(t, err)
	require.Equal(t, []string{"cold", "only-tier"}, []string{result.Tier, result.Reason})
	require.Len(t, result.Warnings, 1)
	require.Contains(t, result.Warnings[0], "the cold tier answered, whose data ends at ")
}

func TestManager_StartsAndClosesOnce(t *testing.T) {
	tier := faketier.Start(t)
	logger, logged := test.NewNullLogger()
	_, err := datasource.NewManager(config.Default(), nil)
	require.EqualError(t, err, "a Manager needs a logger")
	_, err = datasource.NewManager(config.Config{}, logger)
	require.ErrorContains(t, err, "invalid configuration: ")
	withCA := running.TwoTiers("", tier.URL)
	withCA.Cold.HTTPConfig = &config.HTTPConfig{HTTPClientConfig: promconfig.HTTPClientConfig{TLSConfig: promconfig.TLSConfig{CAFile: "/does/not/exist"}}}
	_, err = datasource.NewManager(withCA, logger)
	require.ErrorContains(t, err, "cold.http_config: unable to read CA cert")

	insecure := running.TwoTiers("", tier.URL)
	insecure.Cold.HTTPConfig = &config.HTTPConfig{HTTPClientConfig: promconfig.HTTPClientConfig{TLSConfig: promconfig.TLSConfig{InsecureSkipVerify: true}}}
	registry := prometheus.NewRegistry()
	manager, err := datasource.NewManager(insecure, logger, datasource.WithRegistry(registry))
	require.NoError(t, err)
	require.Len(t, logged.AllEntries(), 1)
	require.Equal(t, logrus.WarnLevel, logged.LastEntry().Level)
	require.Contains(t, logged.LastEntry().Message, "CERTIFICATE OF cold IS NOT VERIFIED")
	families, err := registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)

	ask := func() error {
		_, err := manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
		return err
	}
	require.ErrorContains(t, ask(), "has not started yet")
	require.Equal(t, datasource.StatusUnhealthy, manager.Health().Status)
	require.NoError(t, manager.Start(t.Context()))
	require.ErrorContains(t, manager.Start(t.Context()), "can be started once")
	require.NoError(t, ask())
	require.NoError(t, manager.Close())
	require.NoError(t, manager.Close(), "closing again is no mistake")
	require.ErrorContains(t, ask(), "not running")
	require.ErrorContains(t, manager.Start(t.Context()), "can be started once")

	unstarted, err := datasource.NewManager(running.TwoTiers("", tier.URL), logger)
	require.NoError(t, err)
	require.NoError(t, unstarted.Close())
	require.Error(t, unstarted.Start(t.Context()))
}

func TestManager_CloseWaitsForQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &faketier.Network{}
		tier := network.Start(t, "cold:9090")
		released := make(chan struct{})
		tier.Handle(func(w http.ResponseWriter, r *http.Request) {
			<-released
			faketier.Success(w, r)
		})
		manager := running.Manager(t, running.TwoTiers("", tier.URL), core.WithNetwork(&upstream.Network{Dial: network.Dial}).(datasource.Option))
		answered, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
			answered <- err
		}()
		synctest.Wait()
		require.Len(t, tier.Requests(), 1)
		go func() { closed <- manager.Close() }()
		synctest.Wait()
		require.Empty(t, closed, "a query is in flight")
		close(released)
		require.NoError(t, errors.Join(<-answered, <-closed))
	})
}

func TestLive_SnapshotThenNewSteps(t *testing.T) {
	tier := faketier.Start(t)
	tier.Handle(func(w http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		start, end := request.Form.Get("start"), request.Form.Get("end")
		values := fmt.Sprintf(`[%s,"1"]`, start)
		if end != start {
			values += fmt.Sprintf(`,[%s,"2"]`, end)
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}}`, values)
	})
	manager := running.Start(t, running.TwoTiers("", tier.URL), nil)
	query := &datasource.MetricQuery{Query: "up", Step: time.Second}
	settled := time.Time{}
	count := 0
	for update, err := range manager.Router().Live(t.Context(), query, datasource.LiveOptions{Range: time.Minute}) {
		require.NoError(t, err)
		require.Equal(t, count == 0, update.IsSnapshot)
		require.Equal(t, "cold", update.Tier)
		require.IsType(t, model.Matrix{}, update.Value)
		require.False(t, update.End.Before(update.Start))
		settled = update.Settled
		if count++; count == 3 {
			break
		}
	}
	require.WithinDuration(t, time.Now().Add(-10*time.Minute), settled, time.Minute)
	for update, err := range manager.Router().Live(t.Context(), query, datasource.LiveOptions{Range: time.Hour, ResumeAfter: settled}) {
		require.NoError(t, err)
		require.False(t, update.IsSnapshot)
		require.Equal(t, settled.Add(time.Second), update.Start)
		break
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		_ = manager.Close()
	}()
	var last error
	for _, err := range manager.Router().Live(t.Context(), query, datasource.LiveOptions{}) {
		last = err
	}
	require.ErrorIs(t, last, datasource.ErrLiveEnded)
}

func TestLive_MistakesAreListed(t *testing.T) {
	manager := running.Start(t, running.TwoTiers("", faketier.Start(t).URL), nil)
	now := time.Now()
	var failed error
	for update, err := range manager.Router().Live(t.Context(), &datasource.MetricQuery{Query: "up{", Start: now, End: now}, datasource.LiveOptions{Range: -time.Hour}) {
		require.Nil(t, update)
		failed = err
	}
	mistakes, is := errors.AsType[datasource.ValidationErrors](failed)
	require.True(t, is)
	var fields []string
	for _, mistake := range mistakes {
		fields = append(fields, mistake.Field)
	}
	require.ElementsMatch(t, []string{"query", "start", "end", "step", "range"}, fields)
}
