package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
)

// ruleInterval is the evaluation interval of rules whose group sets none.
const ruleInterval = 15 * time.Second

// newRules returns a manager with the rules of some files, or with none. It does not
// evaluate them yet. Alerts are sent to nobody.
func newRules(ctx context.Context, db *tsdb.DB, engine *promql.Engine, files []string) (*rules.Manager, error) {
	manager := rules.NewManager(&rules.ManagerOptions{
		Context: ctx, ExternalURL: &url.URL{}, AppendableV2: db, Queryable: db,
		QueryFunc:  rules.EngineQueryFunc(engine, db),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Parser: parser.NewParser(parser.Options{}),
	})
	if err := manager.Update(ruleInterval, files, labels.EmptyLabels(), "", nil); err != nil {
		return nil, fmt.Errorf("load the rules: %w", err)
	}
	return manager, nil
}
