package gateway

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Severity says how bad a Finding is.
type Severity string

// The severities of a Finding.
const (
	// SeverityOK: it is as it should be.
	SeverityOK Severity = "ok"
	// SeverityNote: it is no mistake, and good to know.
	SeverityNote Severity = "note"
	// SeverityWarning: queries are answered, but not as they could be.
	SeverityWarning Severity = "warning"
	// SeverityError: queries fail.
	SeverityError Severity = "error"
)

// Finding is one thing that Diagnose looked at.
type Finding struct {
	// Subject is what was looked at: perses, hot, cold, routing or a Service.
	Subject string `json:"subject"`
	// Severity is ok, note, warning or error.
	Severity Severity `json:"severity"`
	// Message says what was found.
	Message string `json:"message"`
	// Remedy says how to mend it; empty where there is nothing to mend.
	Remedy string `json:"remedy,omitempty"`
}

// Diagnose asks Perses and every tier of the configuration, and returns what is
// wrong, how to correct it, and what is as it should be. The Manager must have been
// started. It ends with ctx, and reports what could not be found out by then.
func Diagnose(ctx context.Context, manager *datasource.Manager) []Finding {
	d := &diagnosis{core: core.Of(manager)}
	d.perses(ctx)
	own, err := d.core.Resolver.WaitOwn(ctx)
	if err != nil {
		d.add("routing", SeverityError, promapi.MessageOf(err), "")
		return d.findings
	}
	d.services(own)
	seen := d.core.Resolver.Inspect(ctx, &perses.Datasource{Reference: perses.Reference{Name: resolve.DefaultName}})
	hot, cold := seen[tier.Hot], seen[tier.Cold]
	d.tier(tier.Hot, hot)
	d.tier(tier.Cold, cold)
	switch {
	case hot.State == resolve.StateNone && cold.State == resolve.StateNone && d.core.Perses != nil:
		d.add("routing", SeverityNote, "the gateway has no tiers of its own: datasources have to name theirs", "")
	case hot.State == resolve.StateNone && cold.State == resolve.StateNone:
		d.add("routing", SeverityError, "there is no tier at all", "set hot.url (PROMETHEUS_URL) and cold.url (THANOS_QUERIER_URL), or let discovery find them")
	case hot.State == resolve.StateNone:
		d.add("routing", SeverityNote, "there is no hot tier: every query goes to cold", "set hot.url (PROMETHEUS_URL), or let discovery find it")
	case cold.State == resolve.StateNone:
		d.add("routing", SeverityNote, "there is no cold tier: every query goes to hot", "set cold.url (THANOS_QUERIER_URL), or let discovery find it")
	}
	d.coverage(hot, time.Now())
	if own.Pair != nil && hot.State == resolve.StateOK && cold.State == resolve.StateOK {
		own.Pair.Wait(ctx)
		d.pair(own.Pair.Snapshot())
	}
	return d.findings
}

// diagnosis collects findings.
type diagnosis struct {
	core     *core.Core
	findings []Finding
}

func (d *diagnosis) add(subject string, severity Severity, message, remedy string) {
	d.findings = append(d.findings, Finding{Subject: subject, Severity: severity, Message: message, Remedy: remedy})
}

func (d *diagnosis) perses(ctx context.Context) {
	const subject = "perses"
	if d.core.Perses == nil {
		d.add(subject, SeverityNote, "no Perses is configured: the default datasource is served at the root, and saved ones are not", "set perses.url (TIERPROXY_PERSES_URL)")
		return
	}
	var caller perses.Caller
	_, service := d.core.Resolver.PersesTransports()
	if service != nil {
		caller = perses.ServiceCaller()
	}
	found, err := d.core.Perses.Inspect(ctx, caller)
	if err != nil {
		d.add(subject, SeverityError, promapi.MessageOf(err), "check perses.url and perses.ca_file, and whether network policies let the gateway reach Perses: saved datasources cannot be served without it")
		return
	}
	version := cmp.Or(found.Version, "of an unknown version")
	switch found.Module {
	case perses.ModuleLoaded:
		d.add(subject, SeverityOK, fmt.Sprintf("Perses %s answers and has loaded the plugin module, version %s", version, found.ModuleVersion), "")
	case perses.ModuleBroken:
		d.add(subject, SeverityError, fmt.Sprintf("Perses %s could not load the plugin module: %s", version, found.ModuleError), "put the plugin archive of this release into one of plugin.archive_paths of Perses and restart it")
	case perses.ModuleAbsent:
		d.add(subject, SeverityError, fmt.Sprintf("Perses %s has no plugin module TieredPrometheus: it refuses datasources of the kind TieredPrometheusDatasource", version), "put the plugin archive into one of plugin.archive_paths of Perses and restart it")
	case perses.ModuleUnknown:
		d.add(subject, SeverityOK, fmt.Sprintf("Perses %s answers; it tells only its users which plugins it has", version), "")
	}
}

// services tells of the Services that the tiers are found by.
func (d *diagnosis) services(own *resolve.Resolved) {
	for _, name := range tier.Names() {
		service := own.Services[name]
		if service == nil {
			continue
		}
		subject := fmt.Sprintf("Service %s/%s", service.Namespace, service.Name)
		switch {
		case service.State == discovery.StateFound && service.Message == "":
			d.add(subject, SeverityOK, fmt.Sprintf("it is found as the %s tier, with %d endpoints", name, len(service.Endpoints)), "")
		case service.URL() == "":
			d.add(subject, SeverityError, fmt.Sprintf("it is no %s tier: it is %s", name, service.State), service.Message)
		default:
			d.add(subject, SeverityWarning, fmt.Sprintf("it is found as the %s tier: it is %s", name, service.State), service.Message)
		}
	}
}

// tier adds what was seen of a tier of the configuration.
func (d *diagnosis) tier(name tier.Name, seen resolve.TierReport) {
	subject := string(name)
	switch seen.State {
	case resolve.StateNone:
	case resolve.StateOK:
		message := fmt.Sprintf("%s answers queries", seen.Address)
		if seen.Version != "" {
			message += ", version " + seen.Version
		}
		d.add(subject, SeverityOK, message, "")
		if name == tier.Hot && seen.CoverageStart == nil {
			d.add(subject, SeverityError, seen.Message, "let it scrape itself, or serve /api/v1/status/tsdb")
		}
	default:
		d.add(subject, SeverityError, fmt.Sprintf("%s cannot be asked: %s", cmp.Or(seen.Address, "the tier"), seen.State), seen.Message)
	}
}

// coverage compares what hot holds with the threshold.
func (d *diagnosis) coverage(hot resolve.TierReport, now time.Time) {
	if hot.CoverageStart == nil {
		return
	}
	age := func(of *time.Time) model.Duration { return model.Duration(now.Sub(*of).Truncate(time.Second)) }
	held, threshold := time.Duration(age(hot.CoverageStart)), time.Duration(d.core.Config.Routing.Threshold)
	text := fmt.Sprintf("hot holds the samples of the last %s", age(hot.CoverageStart))
	if hot.CoverageStart.After(*hot.OldestSample) {
		text += fmt.Sprintf(" without a gap and within its retention (its oldest sample is %s old)", age(hot.OldestSample))
	}
	if held < threshold {
		d.add("routing", SeverityWarning, fmt.Sprintf("%s, less than the threshold of %s: queries in between go to cold", text, model.Duration(threshold)),
			"wait until it has collected more, make its retention longer, or make routing.threshold (QUERY_ROUTING_THRESHOLD) shorter")
		return
	}
	d.add("routing", SeverityOK, fmt.Sprintf("%s; from a threshold of %s on cold is asked", text, model.Duration(threshold)), "")
}

// pair tells what is known of the tiers together.
func (d *diagnosis) pair(learned *catalog.Snapshot) {
	const subject = "routing"
	if learned.Error != "" {
		d.add(subject, SeverityWarning, "it could not be learned what the tiers hold: "+learned.Error, "see the gateway's log")
	}
	known := learned.Knowledge
	if known == nil {
		d.add(subject, SeverityWarning, "it is not known what the tiers hold: queries go to cold", "")
		return
	}
	if known.Declared {
		d.add(subject, SeverityNote, "the configuration declares that hot holds every series (hot.complete)", "")
		return
	}
	if learned.AssumedReason != "" {
		d.add(subject, SeverityWarning, "hot is only assumed to hold every series: "+learned.AssumedReason,
			"let the gateway read /api/v1/status/config of hot, or set hot.external_labels; where hot does hold every series, set hot.complete")
	}
	others := known.Others()
	if !known.SourcesKnown || len(others) == 0 {
		return
	}
	d.add(subject, SeverityNote, fmt.Sprintf("cold has %d sources that hot is not, such as %s: queries for metrics that they have too, and patterns that could match them, go to cold",
		len(others), labelText(others[0])), "")
}

// labelText writes labels as in PromQL.
func labelText(set map[string]string) string {
	pairs := make([]string, 0, len(set))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, set[name]))
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}
