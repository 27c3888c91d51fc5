package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// tenancyWatch notices a Thanos that enforces tenants, and shows no series because tierproxy sends no
// tenant. Only Run uses it.
type tenancyWatch struct {
	// readFor identifies the process and configuration whose flags are known, and readAt is when they
	// were read.
	readFor string
	readAt  time.Time
	tenancy enforcedTenancy
	// isVisible is set as soon as a series is visible. It then counts for the whole life of the process:
	// if the store with these series is lost, that is reported as a lost store.
	isVisible bool
}

// enforcedTenancy is how a Thanos enforces tenants. The header is empty if it does not.
type enforcedTenancy struct{ header, label, otherwise string }

// flagsKeptFor is how long the flags of a server count that does not identify its process.
const flagsKeptFor = 5 * time.Minute

// look returns why the tier shows no series, or an empty text. It returns an empty text, too, if that is
// not certain: if the tier has no samples yet, if one of its stores is lost, or if it does not answer.
//
// It reads the flags once per process. As long as nothing is visible, and no store has the label of the
// tenant, it asks for one value of that label.
func (w *tenancyWatch) look(ctx context.Context, client ownrequest.Client, sends func(header string) bool, status *Status, now time.Time) string {
	if w.readAt.IsZero() || w.readFor != status.configured || (status.configured == "" && now.Sub(w.readAt) > flagsKeptFor) {
		flags, err := ownrequest.Ask[map[string]string](ctx, client.As(ownrequest.KindSettings), "/api/v1/status/flags", nil)
		if err != nil && !upstream.CannotTell(err) {
			return ""
		}
		*w = tenancyWatch{readFor: status.configured, readAt: now, tenancy: tenancyOf(flags)}
	}
	if w.isVisible || w.tenancy.header == "" || len(status.Notes) > 0 || sends(w.tenancy.header) {
		return ""
	}
	hasSamples, isCertain := false, true
	for _, store := range status.Stores {
		if store.MinTime < earliestTimestamp || store.MinTime > now.UnixMilli() || store.MaxTime < store.MinTime {
			continue
		}
		for _, set := range store.LabelSets {
			tenant, has := set[w.tenancy.label]
			hasSamples, isCertain = true, isCertain && has && tenant != w.tenancy.otherwise
		}
	}
	if !hasSamples {
		return ""
	}
	if !isCertain {
		values, warnings, err := ownrequest.AskWithWarnings[[]string](ctx, client, "/api/v1/label/"+w.tenancy.label+"/values", limitedToOne())
		w.isVisible = len(values) > 0
		if err != nil || w.isVisible || len(warnings) > 0 {
			return ""
		}
	}
	return w.tenancy.hint()
}

// limitedToOne returns the parameters that ask for one value of all time.
func limitedToOne() map[string][]string {
	return map[string][]string{"start": {ownrequest.StartOf(time.Time{})}, "limit": {"1"}}
}

// tenancyOf returns how a Thanos with some flags enforces tenants. A Thanos that takes the tenant from
// the client certificate ignores the header.
func tenancyOf(flags map[string]string) enforcedTenancy {
	if flags["query.enforce-tenancy"] != "true" || flags["query.tenant-certificate-field"] != "" {
		return enforcedTenancy{}
	}
	return enforcedTenancy{flags["query.tenant-header"], flags["query.tenant-label-name"], flags["query.default-tenant-id"]}
}

// hint says what to configure.
func (t enforcedTenancy) hint() string {
	text := fmt.Sprintf("it shows no series without the header %s, because it enforces tenants: set the header in proxy.spec.headers of the datasource, or in http_config.http_headers of the tier", t.header)
	if !slices.ContainsFunc([]string{"X-Scope-OrgID", "THANOS-TENANT"}, func(known string) bool { return strings.EqualFold(known, t.header) }) {
		text += ", and list it in tenant_headers"
	}
	return text
}

// lookForTenant makes a tier unavailable that shows no series, because it enforces tenants: its answers
// would all be empty.
func (t *Tier) lookForTenant(ctx context.Context, status *Status, now time.Time) {
	if !status.Available || len(status.Stores) == 0 {
		return
	}
	if hint := t.tenancy.look(ctx, t.api, t.options.Client.Sends, status, now); hint != "" {
		// A tier that is the only one gets queries nevertheless: their answers need a warning.
		status.Available, status.Error = false, hint
		status.Notes = []tier.Note{tier.PublicNote(fmt.Sprintf("the %s tier is not usable: %s", t.options.Name, hint))}
		if t.options.Name == tier.Hot {
			status.Oldest = tier.NothingCovered
		}
	}
}
