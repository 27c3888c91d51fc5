package datasource

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

var errNotRunning = promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "the gateway is not running: it has not started yet, or it is stopping")

// source is a datasource that is ready to be asked: its tiers and settings,
// with the gateway's own where the datasource names none.
type source struct {
	label     string // names it: for people, and where its queries count or are kept
	saved     bool   // in Perses
	hot, cold *upstream.Tier
	pair      *upstream.Pair // nil unless there are both
	// replicas are the servers that hold hot, hot itself among them; empty where
	// it is asked as a whole.
	replicas []engine.Replica
	// hotUnused says why the datasource is asked without a hot tier although
	// there is one; empty where it is not.
	hotUnused string
	// services are those that the tiers were found by, or should have been; nil
	// for the others.
	services map[tier.Name]*discovery.Service
	// pending are the Services that are still looked up.
	pending []discovery.Reference
	// discovers is set where the gateway looks up Services.
	discovers bool
	threshold time.Duration
	strategy  tier.Strategy
	// splitAcrossReplicas cuts queries although hot has several replicas.
	splitAcrossReplicas bool
	// cache keeps answers, and scope says whose they are.
	cache       bool
	scope       string
	queryParams map[string]string
	// scrapeInterval is zero where the datasource names none.
	scrapeInterval time.Duration
	// rule confines the requests; nil where they are not confined.
	rule *enforcement.Rule
	// wantsNamespace is set when a tier answers confined requests only.
	wantsNamespace bool
	// engine is what the datasource is to the engine.
	engine *engine.Datasource
}

// tenantHeaders are the request headers that tell a tier whose data is asked
// for. They come from a saved datasource, never from a request.
var tenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// ownSource is the default datasource: the tiers of the configuration.
func (m *Manager) ownSource() (*source, error) {
	if found := m.own.Load(); found != nil {
		return found, nil
	}
	own := &source{
		label: "default datasource", threshold: time.Duration(m.config.Routing.Threshold), rule: m.rules.own,
		cache:    m.config.Cache.Enabled,
		strategy: tier.Strategy(m.config.Routing.Strategy), splitAcrossReplicas: m.config.Routing.SplitAcrossReplicas,
		wantsNamespace: m.config.Hot.Tenancy.Parameter != "" || m.config.Cold.Tenancy.Parameter != "",
	}
	hotPlace, coldPlace := m.ownPlace(tier.Hot), m.ownPlace(tier.Cold)
	hot, err := m.tiersAt(hotPlace, tierUse{own: true})
	if err != nil {
		return nil, err
	}
	cold, err := m.tiersAt(coldPlace, tierUse{own: true})
	if err != nil {
		return nil, err
	}
	m.join(own, hotPlace, coldPlace, hot, cold)
	own.scope = m.scopeOf(own.label, "", hotPlace, coldPlace)
	own.engine = own.forEngine()
	if m.discovery == nil {
		m.own.Store(own) // Nothing of it changes any more.
	}
	return own, nil
}

// ownConfigured is what the configuration says of the gateway's own tier.
func (m *Manager) ownConfigured(name tier.Name) destination {
	at := destination{name: name, access: m.access.own[name]}
	if name == tier.Hot {
		at.url, at.retention, at.tenancy, at.tenant = m.config.Hot.URL, time.Duration(m.config.Hot.Retention), m.config.Hot.Tenancy, m.config.Hot.Tenant
	} else {
		at.url, at.lag, at.tenancy = m.config.Cold.URL, time.Duration(m.config.Cold.Lag), m.config.Cold.Tenancy
	}
	return at
}

// sourceOf turns a saved datasource into one that can be asked. It returns an
// Error that names the datasource: 403 when it may not use the gateway's own
// tiers or names a host or Service that the operator does not allow, 501 when
// it names a Service and there is no discovery.
func (m *Manager) sourceOf(saved *perses.Datasource) (*source, error) {
	asked := &source{
		label:       saved.Reference.String(),
		saved:       true,
		threshold:   saved.Spec.Threshold,
		strategy:    cmp.Or(tier.Strategy(saved.Spec.Strategy), tier.Strategy(m.config.Routing.Strategy)),
		queryParams: saved.Spec.QueryParams,

		scrapeInterval: saved.Spec.ScrapeInterval,
	}
	var err error
	if asked.rule, err = m.rules.of(saved.Reference); err != nil {
		return nil, err
	}
	asked.splitAcrossReplicas = m.config.Routing.SplitAcrossReplicas
	if saved.Spec.SplitAcrossReplicas != nil {
		asked.splitAcrossReplicas = *saved.Spec.SplitAcrossReplicas
	}
	asked.cache = m.config.Cache.Enabled
	if saved.Spec.Cache != nil {
		asked.cache = *saved.Spec.Cache
	}
	if asked.threshold == 0 {
		asked.threshold = time.Duration(m.config.Routing.Threshold)
	}
	tenant := tenantOf(saved)
	hotPlace, hot, err := m.tiersOf(saved, tier.Hot, saved.Spec.Hot, tenant, asked)
	if err != nil {
		return nil, err
	}
	coldPlace, cold, err := m.tiersOf(saved, tier.Cold, saved.Spec.Cold, tenant, asked)
	if err != nil {
		return nil, err
	}
	m.join(asked, hotPlace, coldPlace, hot, cold)
	asked.scope = m.scopeOf(asked.label, saved.Generation, hotPlace, coldPlace)
	asked.engine = asked.forEngine()
	return asked, nil
}

// tiersOf returns the tier of a datasource, or its replicas, and where it is. It
// notes in asked what such a tier wants of requests.
func (m *Manager) tiersOf(saved *perses.Datasource, name tier.Name, named *perses.TierSpec, tenant http.Header, asked *source) (place, []*upstream.Tier, error) {
	at, own, err := m.destinationOf(saved.Reference, name, named, tenant)
	if err != nil {
		return at, nil, err
	}
	if asked.hotUnused = m.hotUnused(at, tenant, asked.hotUnused); at.name == tier.Hot && asked.hotUnused != "" {
		return place{destination: destination{name: name}}, nil, nil
	}
	asked.wantsNamespace = asked.wantsNamespace || at.tenancy.Parameter != ""
	if !own {
		at.scrapeInterval = saved.Spec.ScrapeInterval
	}
	list, err := m.tiersAt(at, tierUse{header: tenant, own: own && len(tenant) == 0, project: saved.Reference.Project})
	return at, list, err
}

// destinationOf returns where a tier of a datasource is, and whether it is the
// gateway's own; without a URL where the datasource has no such tier, or where
// it is missing for a reason. named is
// what its spec says of the tier, or nil. It returns the errors of sourceOf.
func (m *Manager) destinationOf(reference perses.Reference, name tier.Name, named *perses.TierSpec, tenant http.Header) (at place, own bool, err error) {
	if named == nil {
		at = m.ownPlace(name)
		if at.url == "" && at.missing == "" {
			return at, true, nil
		}
		at.headers = canonical(tenant)
		return at, true, m.mayUseOwnTiers(reference, name, tenant)
	}
	if named.Service != nil {
		at, err = m.placeOfService(reference, name, named, tenant)
		return at, false, err
	}
	at.destination = destination{name: name, url: named.URL.String(), retention: named.Retention, lag: named.Lag, headers: canonical(tenant)}
	if err := m.permit(reference, named.URL, &at.destination); err != nil {
		return at, false, &promapi.Error{Status: http.StatusForbidden, Type: promapi.ErrorForbidden, Cause: err, Message: fmt.Sprintf(
			"the %s tier of %s names %s, which the gateway does not call: ask the operator to list it in the gateway's destinations", name, reference, named.URL.Host)}
	}
	return at, false, m.mayChooseTenant(reference, name, tenant, m.isOwnServer(named.URL) || at.access.HoldsSecrets())
}

// trusts tells whether the operator lets a datasource use what is the gateway's
// own: tiers and credentials.
func (m *Manager) trusts(reference perses.Reference) bool {
	return reference.Project == "" || m.rules.listed(reference.Project)
}

// permit completes the destination that a datasource names with what the
// operator's configuration says of its host: settings and credentials belong to
// destinations, and a spec only names one. It returns an error when the
// operator does not allow the host.
//
// The URLs of the gateway's own tiers, and what lies below them, are open to
// global datasources and those of listed projects, whatever their hosts resolve
// to where the operator named them. Another path on the same server may be
// another tenant: it takes an entry in destinations.
// Other projects reach what is listed in destinations, with no credential.
func (m *Manager) permit(reference perses.Reference, named *url.URL, at *destination) error {
	if err := upstream.CheckPath(named); err != nil {
		return err
	}
	trusted := m.trusts(reference)
	if own := m.ownAt(named); own != nil && trusted {
		at.access, at.tenancy, at.guard, at.tenant = own.access, own.tenancy, own.guard, own.tenant
		return nil
	}
	permission, err := upstream.Allow(m.access.destinations, named)
	if err != nil {
		return err
	}
	at.guard, at.tenant = permission.Guard, permission.Tenant
	if trusted {
		at.access = permission.Access
	}
	return nil
}

// ownAt returns the gateway's own tier whose scheme, host and port are those of
// a URL and whose path is the URL's or above it, or nil.
func (m *Manager) ownAt(named *url.URL) *destination {
	return m.ownWhere(func(own *url.URL) bool {
		return own.Scheme == named.Scheme && upstream.SameServer(own, named) && upstream.UnderPath(own.Path, named.Path)
	})
}

// isOwnServer reports whether a URL leads to the server of one of the gateway's
// own tiers, whatever the path.
func (m *Manager) isOwnServer(named *url.URL) bool {
	return m.ownWhere(func(own *url.URL) bool { return upstream.SameServer(own, named) }) != nil
}

// ownWhere returns the first of the gateway's own tiers whose URL is one that is
// asked for, or nil.
func (m *Manager) ownWhere(is func(*url.URL) bool) *destination {
	for _, name := range tier.Names() {
		own := m.ownPlace(name).destination
		if at, err := url.Parse(own.url); err == nil && own.url != "" && is(at) {
			return &own
		}
	}
	return nil
}

// mayUseOwnTiers checks that the operator lets a datasource use the gateway's
// own tiers: every global one, and those of the listed projects.
func (m *Manager) mayUseOwnTiers(reference perses.Reference, name tier.Name, tenant http.Header) error {
	if !m.trusts(reference) {
		return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s may not use the gateway's own %s tier: name a %s tier in the datasource, or ask the operator to list project %q in the gateway's configuration",
			reference, name, name, reference.Project)
	}
	return m.mayChooseTenant(reference, name, tenant, true)
}

// mayChooseTenant checks that no project chooses whose data it sees with the
// gateway's credential, or past the namespaces that it is confined to.
func (m *Manager) mayChooseTenant(reference perses.Reference, name tier.Name, tenant http.Header, ours bool) error {
	if reference.Project == "" || len(tenant) == 0 {
		return nil
	}
	rule, err := m.rules.of(reference)
	if err != nil || (rule == nil && !ours) {
		return err
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"%s may not choose the tenant of the gateway's own %s tier: remove the tenant header from its proxy", reference, name)
}

// hotUnused returns why a hot tier is not used by a datasource with tenant
// headers: a tier that ignores them would answer with the data of another
// tenant. It is used where the operator says that it holds that tenant. For
// another tier it returns what is known already.
func (m *Manager) hotUnused(at place, tenant http.Header, known string) string {
	if at.name != tier.Hot || len(tenant) == 0 || (at.url == "" && at.missing == "") {
		return known
	}
	for _, values := range tenant {
		if at.tenant == "" || !slices.Equal(values, []string{at.tenant}) {
			return "hot is not used: the proxy of the datasource sends a tenant header, and the operator has not declared that hot holds this tenant (hot.tenant, or tenant of an entry in destinations)"
		}
	}
	return known
}

// tenantOf returns the tenant headers of the saved datasource.
func tenantOf(saved *perses.Datasource) http.Header {
	header := make(http.Header)
	for name, value := range saved.Spec.Proxy.Headers {
		if slices.Contains(tenantHeaders, http.CanonicalHeaderKey(name)) {
			header.Set(name, value)
		}
	}
	return header
}

func canonical(header http.Header) string {
	lines := make([]string, 0, len(header))
	for name, values := range header {
		lines = append(lines, name+": "+strings.Join(values, ","))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
