package diagnosis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Diagnose checks Perses and every tier of the configuration. It returns what works, what is
// wrong, and how to fix it. The Manager has to be started. When ctx ends, Diagnose returns,
// with errors for the checks that it could not finish.
func Diagnose(ctx context.Context, manager *datasource.Manager) []Finding {
	d := &diagnosis{core: core.Of(manager)}
	d.perses(ctx)
	resolved, err := d.core.Resolver.WaitDefault(ctx)
	if err != nil {
		d.add("routing", SeverityError, promapi.MessageOf(err), "")
		return d.findings
	}
	d.services(resolved)
	seen := d.core.Resolver.Inspect(ctx, &perses.Datasource{Reference: perses.Reference{Name: resolve.DefaultName}})
	hot, cold := seen.Hot, seen.Cold
	if seen.HotTiers == nil {
		d.tier("hot", hot)
	}
	for _, each := range seen.HotTiers {
		d.tier("hot "+each.Name, each.TierReport)
	}
	d.tier("cold", cold)
	switch {
	case hot.State == resolve.StateNone && cold.State == resolve.StateNone && d.core.Perses != nil:
		d.add("routing", SeverityNote, "the gateway has no tiers of its own: datasources have to name their tiers", "")
	case hot.State == resolve.StateNone && cold.State == resolve.StateNone:
		d.add("routing", SeverityError, "there is no tier", "set hot.url (PROMETHEUS_URL) and cold.url (THANOS_QUERIER_URL), or let discovery find them")
	case hot.State == resolve.StateNone:
		d.add("routing", SeverityNote, "there is no hot tier: every query goes to cold", "set hot.url (PROMETHEUS_URL), or let discovery find it")
	case cold.State == resolve.StateNone:
		d.add("routing", SeverityNote, "there is no cold tier: every query goes to hot", "set cold.url (THANOS_QUERIER_URL), or let discovery find it")
	}
	d.coverage(hot, time.Now())
	if resolved.Catalog != nil && hot.State == resolve.StateOK && cold.State == resolve.StateOK {
		d.pairs(ctx, resolved)
	}
	return d.findings
}

// diagnosis collects findings.
type diagnosis struct {
	core     *core.Core
	findings []Finding
	// isUnused is set if a finding says that a hot tier would get no query.
	isUnused bool
}

func (d *diagnosis) add(subject string, severity Severity, message, remedy string) {
	d.findings = append(d.findings, Finding{Subject: subject, Severity: severity, Message: message, Remedy: remedy})
}

func (d *diagnosis) perses(ctx context.Context) {
	const subject = "perses"
	if d.core.Perses == nil {
		d.add(subject, SeverityNote, "no Perses is configured: tierproxy serves the default datasource at the root, and no saved datasources", "to serve saved datasources, set perses.url (TIERPROXY_PERSES_URL)")
		return
	}
	var caller perses.Caller
	_, service := d.core.Resolver.PersesTransports()
	if service != nil {
		caller = perses.ServiceCaller()
	}
	inspection, err := d.core.Perses.Inspect(ctx, caller)
	if err != nil {
		d.add(subject, SeverityError, promapi.MessageOf(err), "check perses.url, perses.ca_file and network policies: without Perses, tierproxy cannot serve saved datasources")
		return
	}
	version := cmp.Or(inspection.Version, "of an unknown version")
	switch inspection.Module {
	case perses.ModuleLoaded:
		versions := strings.Join(slices.Sorted(slices.Values(inspection.ModuleVersions)), " and ")
		if len(inspection.ModuleVersions) > 1 {
			d.add(subject, SeverityWarning, fmt.Sprintf("Perses %s has loaded the plugin module in versions %s, and may use any of them", version, versions),
				"delete the directories of its old versions in plugin.path of Perses, and restart Perses")
			return
		}
		d.add(subject, SeverityOK, fmt.Sprintf("Perses %s answers and has loaded the plugin module, version %s", version, versions), "")
	case perses.ModuleBroken:
		d.add(subject, SeverityError, fmt.Sprintf("Perses %s could not load the plugin module: %s", version, inspection.ModuleError), "put the plugin archive of this release into one of plugin.archive_paths of Perses, and restart Perses")
	case perses.ModuleAbsent:
		d.add(subject, SeverityError, fmt.Sprintf("Perses %s has no plugin module TieredPrometheus, so it rejects datasources of the kind TieredPrometheusDatasource", version), "put the plugin archive into one of plugin.archive_paths of Perses, and restart Perses")
	case perses.ModuleUnknown:
		d.add(subject, SeverityOK, fmt.Sprintf("Perses %s answers. It shows its plugins to authenticated users only, so they were not checked", version), "")
	}
}

// services adds a finding for the Service of each tier.
func (d *diagnosis) services(resolved *resolve.Resolved) {
	for _, name := range slices.Sorted(maps.Keys(resolved.Services)) {
		service := resolved.Services[name]
		subject := fmt.Sprintf("Service %s/%s", service.Namespace, service.Name)
		switch {
		case service.State == discovery.StateFound && service.Message == "":
			d.add(subject, SeverityOK, fmt.Sprintf("discovered as the %s tier, with %d endpoints", name, len(service.Endpoints)), "")
		case service.URL() == "":
			d.add(subject, SeverityError, fmt.Sprintf("not usable as the %s tier: its state is %s", name, service.State), service.Message)
		default:
			d.add(subject, SeverityWarning, fmt.Sprintf("discovered as the %s tier, but its state is %s", name, service.State), service.Message)
		}
	}
}

// tier adds the findings for a tier of the configuration.
func (d *diagnosis) tier(subject string, seen resolve.TierReport) {
	switch seen.State {
	case resolve.StateNone:
	case resolve.StateOK:
		message := fmt.Sprintf("%s answers queries", seen.Address)
		switch {
		case seen.Kind != "":
			message += ", " + strings.TrimSpace(seen.Kind+" "+seen.Version)
		case seen.Version != "":
			message += ", version " + seen.Version
		}
		d.add(subject, SeverityOK, message, "")
		if upstream.ServerKind(seen.Kind).SpeaksMetricsQL() {
			d.add(subject, SeverityNote, "each of its answers gets a warning: "+promapi.MetricsQLWarningFor(promapi.QueryRange), "")
		}
		if seen.Unused != "" {
			d.isUnused = true
			d.add(subject, SeverityError, seen.Unused, seen.Remedy)
		}
	default:
		d.add(subject, SeverityError, fmt.Sprintf("%s cannot be used: %s", cmp.Or(seen.Address, "the tier"), seen.State), seen.Message)
	}
}

// coverage compares the coverage of hot with the threshold.
func (d *diagnosis) coverage(hot resolve.TierReport, now time.Time) {
	if hot.CoverageStart == nil || hot.Unused != "" {
		return
	}
	age := func(of *time.Time) model.Duration { return model.Duration(now.Sub(*of).Truncate(time.Second)) }
	held, threshold := time.Duration(age(hot.CoverageStart)), time.Duration(d.core.Config.Routing.Threshold)
	text := fmt.Sprintf("hot covers the last %s", age(hot.CoverageStart))
	if hot.CoverageDeclared {
		text += ", as its configured retention declares: tierproxy cannot measure it"
	} else if hot.CoverageStart.After(*hot.OldestSample) {
		text += fmt.Sprintf(" without a gap and within its retention; its oldest sample is %s old", age(hot.OldestSample))
	}
	if held < threshold {
		d.add("routing", SeverityWarning, fmt.Sprintf("%s, less than the threshold of %s: queries with a span in between go to cold", text, model.Duration(threshold)),
			"wait until hot has collected more samples, increase its retention, or lower routing.threshold (QUERY_ROUTING_THRESHOLD)")
		return
	}
	d.add("routing", SeverityOK, fmt.Sprintf("%s; queries with a span of at least %s go to cold", text, model.Duration(threshold)), "")
}

// pairs adds findings on the completeness of each hot tier.
func (d *diagnosis) pairs(ctx context.Context, resolved *resolve.Resolved) {
	if resolved.Datasource.Sources == nil {
		resolved.Catalog.Wait(ctx)
		d.pair("routing", resolved.Catalog.Snapshot())
		d.sources("hot", resolved.Hot, resolved.Catalog)
		return
	}
	for _, replica := range resolved.Datasource.Hot {
		subject := "routing"
		if replica.Hot.Replica() != "" {
			subject += " " + replica.Hot.Replica()
		}
		if replica.Catalog != nil {
			replica.Catalog.Wait(ctx)
		}
		status := replica.Hot.Status()
		if !status.Available && status.Refused() {
			d.add("hot "+replica.Hot.Replica(), SeverityError, "it gets no queries: "+status.Error, "")
		}
		if replica.Catalog != nil && status.Available {
			d.pair(subject, replica.Catalog.Snapshot())
			d.sources(subject, replica.Hot, replica.Catalog)
		}
	}
}

// pair adds findings on the completeness of a server of hot.
func (d *diagnosis) pair(subject string, learned *catalog.Snapshot) {
	if learned.Error != "" {
		d.add(subject, SeverityWarning, "tierproxy cannot compare the series of the tiers: "+learned.Error, "see the gateway's log")
	}
	evidence := learned.Evidence
	if evidence == nil {
		d.add(subject, SeverityWarning, "tierproxy does not know which series the tiers have: queries go to cold", "")
		return
	}
	if evidence.Declared {
		d.add(subject, SeverityNote, "the configuration declares that hot has every series (hot.complete)", "")
		return
	}
	if learned.AssumedReason != "" && !d.isUnused {
		d.add(subject, SeverityWarning, "tierproxy only assumes that hot has every series: "+learned.AssumedReason,
			"let the gateway read /api/v1/status/config of hot, or set hot.external_labels. If hot has every series, set hot.complete")
	}
	others := slices.DeleteFunc(slices.Clone(evidence.Others()), func(source map[string]string) bool { return len(source) == 0 })
	if !evidence.SourcesKnown || len(others) == 0 {
		return
	}
	noun := "sources"
	if len(others) == 1 {
		noun = "source"
	}
	d.add(subject, SeverityNote, fmt.Sprintf("cold has %d %s other than hot, such as %s: queries that can match their series go to cold",
		len(others), noun, labels.FromMap(others[0])), "")
}
