package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// Copy is a Prometheus that stores what another one scrapes, with more labels: a long-term
// store that takes everything over, with the external labels of its source.
type Copy struct {
	To     *Prometheus
	Labels map[string]string
}

// Scrape scrapes a target with Prometheus' own scraper until Close. What is scraped is kept
// here and in the copies, which have to be closed later.
func (p *Prometheus) Scrape(job, address string, interval time.Duration, copies ...Copy) error {
	var secondaries []storage.Storage
	for _, each := range copies {
		secondaries = append(secondaries, labeled{each.To.db, each.Labels})
	}
	discard := slog.New(slog.DiscardHandler)
	manager, err := scrape.NewManager(
		&scrape.Options{DiscoveryReloadInterval: model.Duration(time.Second)},
		discard, nil, nil, storage.NewFanout(discard, p.db, secondaries...), prometheus.NewRegistry())
	if err != nil {
		return fmt.Errorf("make a scraper: %w", err)
	}
	settings, err := config.Load(fmt.Sprintf(`
global: {scrape_interval: %[1]s, scrape_timeout: %[1]s}
scrape_configs: [{job_name: %[2]q, scrape_native_histograms: true, always_scrape_classic_histograms: true}]
`, model.Duration(interval), job), discard)
	if err == nil {
		err = manager.ApplyConfig(settings)
	}
	if err != nil {
		return fmt.Errorf("configure the scraper: %w", err)
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	targets <- map[string][]*targetgroup.Group{job: {{
		Source:  "static",
		Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(address)}},
	}}}
	p.running.Go(func() { _ = manager.Run(targets) }) // It returns when it is stopped.
	p.scrapers = append(p.scrapers, manager)
	return nil
}

// labeled is a storage that adds labels to each series it stores.
type labeled struct {
	storage.Storage
	labels map[string]string
}

// AppenderV2 returns an appender that adds the labels.
func (l labeled) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return labeledAppender{l.Storage.AppenderV2(ctx), l.labels}
}

type labeledAppender struct {
	storage.AppenderV2
	labels map[string]string
}

// Append appends a sample. It ignores the reference, which is that of another storage.
func (l labeledAppender) Append(
	_ storage.SeriesRef, series labels.Labels, startTime, at int64, value float64, h *histogram.Histogram, fh *histogram.FloatHistogram, options storage.AppendV2Options,
) (storage.SeriesRef, error) {
	return l.AppenderV2.Append(0, history.WithLabels(series, l.labels), startTime, at, value, h, fh, options)
}
