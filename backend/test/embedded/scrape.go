package embedded

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
)

// Scrape scrapes a target with Prometheus' own scraper until Close. What is
// scraped is kept here and, as by a long-term store that takes everything
// over, in the copies, which have to be closed later.
func (p *Prometheus) Scrape(job, address string, interval time.Duration, copies ...*Prometheus) error {
	var secondaries []storage.Storage
	for _, each := range copies {
		secondaries = append(secondaries, each.db)
	}
	discard := slog.New(slog.DiscardHandler)
	manager, err := scrape.NewManager(
		&scrape.Options{DiscoveryReloadInterval: model.Duration(time.Second)},
		discard, nil, storage.NewFanout(discard, p.db, secondaries...), nil, prometheus.NewRegistry())
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
