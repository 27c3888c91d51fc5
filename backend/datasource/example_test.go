package datasource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// Create a Manager, start it, ask a query, and close the Manager.
func Example() {
	thanos := faketier.New() // Replace it with the URL of your Thanos Query.
	defer thanos.Close()
	logger := logrus.New()
	logger.SetOutput(io.Discard)

	config := datasource.DefaultConfig() // or ConfigFromEnvironment
	config.Cold.URL = thanos.URL
	manager, err := datasource.NewManager(config, logger)
	if err != nil {
		fmt.Println(err) // all mistakes in the configuration
		return
	}
	defer func() { _ = manager.Close() }()
	ctx := context.Background()
	if err := manager.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	result, err := manager.Router().ExecuteQuery(ctx, &datasource.MetricQuery{Query: "sum(up)"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Tier, result.Reason)
	fmt.Println(result.Value) // a model.Vector

	// Output:
	// cold only-tier
	// {} => 1 @[1]
}

// With a Step, a query is a range query. Its Value is a model.Matrix.
func ExampleRouter_ExecuteQuery_range() {
	manager, stop := exampleManager(`{"status":"success","data":{"resultType":"matrix","result":[
		{"metric":{"namespace":"shop"},"values":[[1767225600,"1"],[1767225660,"2"]]}]}}`)
	defer stop()

	start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	result, err := manager.Router().ExecuteQuery(context.Background(), &datasource.MetricQuery{
		Query: `sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))`,
		Start: start, End: start.Add(time.Minute), Step: time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Value)

	// Output:
	// {namespace="shop"} =>
	// 1 @[1767225600]
	// 2 @[1767225660]
}

// Every error of ExecuteQuery is a *QueryError. It wraps ValidationErrors if the query is
// invalid.
func ExampleQueryError() {
	manager, stop := exampleManager("")
	defer stop()

	_, err := manager.Router().ExecuteQuery(context.Background(), &datasource.MetricQuery{
		Query: "up", Start: time.Unix(60, 0), End: time.Unix(0, 0), Step: -time.Second,
	})
	if queryError, ok := errors.AsType[*datasource.QueryError](err); ok {
		fmt.Println(queryError.Status, queryError.Type)
	}
	if mistakes, ok := errors.AsType[datasource.ValidationErrors](err); ok {
		for _, mistake := range mistakes {
			fmt.Printf("%s %s\n", mistake.Field, mistake.Message)
		}
	}

	// Output:
	// 400 bad_data
	// step must not be negative
	// end is before start
}

// exampleManager starts a Manager whose cold tier always sends the same answer.
func exampleManager(answer string) (_ *datasource.Manager, stop func()) {
	cold := faketier.New()
	cold.Handle(faketier.Status(http.StatusOK, answer))
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	config := datasource.DefaultConfig()
	config.Cold.URL = cold.URL
	manager, err := datasource.NewManager(config, logger)
	if err != nil {
		panic(err)
	}
	if err := manager.Start(context.Background()); err != nil {
		panic(err)
	}
	return manager, func() {
		_ = manager.Close()
		cold.Close()
	}
}
