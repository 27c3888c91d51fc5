package resolve

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// rules confine the requests of datasources to namespaces. They come from the operator's
// configuration, never from a spec.
type rules struct {
	label      string
	onConflict enforcement.OnConflict
	// defaultRule is the rule of the default datasource, or nil.
	defaultRule *enforcement.Rule
	// datasources and projects hold nil for an exempt datasource or project.
	datasources map[perses.Reference]*enforcement.Rule
	projects    map[string]*enforcement.Rule
	// projectIsNamespace confines projects that are not listed to the namespace of the same
	// name.
	projectIsNamespace bool
	// confining is set if any project is confined.
	confining bool
}

func newRules(settings config.Config) (*rules, error) {
	result := &rules{
		label: settings.Enforcement.Label, onConflict: enforcement.OnConflict(settings.Enforcement.OnConflict),
		datasources: map[perses.Reference]*enforcement.Rule{}, projects: map[string]*enforcement.Rule{},
		projectIsNamespace: settings.Enforcement.ProjectIsNamespace, confining: settings.Enforcement.ProjectIsNamespace,
	}
	var err error
	if len(settings.DefaultDatasource.Namespaces) > 0 {
		if result.defaultRule, err = result.rule("", settings.DefaultDatasource.Namespaces, false); err != nil {
			return nil, fmt.Errorf("default_datasource.namespaces: %w", err)
		}
	}
	for _, project := range settings.Projects {
		result.confining = result.confining || !project.AllNamespaces
		if result.projects[project.Name], err = result.rule("", project.Namespaces, project.AllNamespaces); err != nil {
			return nil, fmt.Errorf("project %q: %w", project.Name, err)
		}
	}
	for _, datasource := range settings.Enforcement.Datasources {
		reference := perses.Reference{Project: datasource.Project, Name: datasource.Name}
		if result.datasources[reference], err = result.rule(datasource.Label, datasource.Namespaces, datasource.AllNamespaces); err != nil {
			return nil, fmt.Errorf("%s: %w", reference, err)
		}
	}
	return result, nil
}

// rule returns the rule for a label, by default the configured one, and namespaces. It returns nil
// for all namespaces.
func (r *rules) rule(label string, namespaces []string, all bool) (*enforcement.Rule, error) {
	if all {
		return nil, nil //nolint:nilnil // A nil rule allows all namespaces.
	}
	return enforcement.New(cmp.Or(label, r.label), namespaces, r.onConflict)
}

// trusts reports whether a datasource may use the gateway's own tiers and credentials: global ones
// and those of listed projects may.
func (r *rules) trusts(reference perses.Reference) bool {
	_, isListed := r.projects[reference.Project]
	return reference.Project == "" || isListed || r.projectIsNamespace
}

// RuleOf returns the rule of a saved datasource, or nil if it is not confined. If any project is
// confined, RuleOf returns an Error with status 403 for a datasource without a rule.
func (r *rules) RuleOf(reference perses.Reference) (*enforcement.Rule, error) {
	if rule, ok := r.datasources[reference]; ok {
		return rule, nil
	}
	if rule, ok := r.projects[reference.Project]; ok && reference.Project != "" {
		return rule, nil
	}
	switch {
	case reference.Project != "" && r.projectIsNamespace:
		return r.rule("", []string{reference.Project}, false)
	case !r.confining:
		return nil, nil //nolint:nilnil // No project is confined.
	case reference.Project == "":
		return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s is not served, because the projects of this Perses are confined to namespaces: ask the operator to list it in enforcement.datasources, with namespaces or with all_namespaces", reference)
	}
	return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"%s is not served, because projects are confined to namespaces and its project has none: ask the operator to list project %q in the gateway's configuration", reference, reference.Project)
}

// DefaultRule returns the rule of the default datasource, or nil if it is not confined.
func (r *rules) DefaultRule() *enforcement.Rule { return r.defaultRule }

// Confine confines a request to the namespaces of the datasource and to namespace, unless it
// is empty. It returns the confined request, what the confinement means for it, and the errors
// of the rule.
func (r *Resolver) Confine(resolved *Resolved, request *promapi.Request, namespace string) (*promapi.Request, enforcement.Confinement, error) {
	rule := resolved.Rule
	var err error
	switch {
	case namespace != "" && rule != nil:
		rule, err = rule.Narrowed(namespace)
	case namespace != "":
		if rule, err = r.rule("", []string{namespace}, false); err != nil {
			err = promapi.BadData("the namespace %q cannot be confined to: %s", namespace, err)
		}
	}
	if err != nil {
		return nil, enforcement.Confinement{}, err
	}
	if rule != nil {
		return rule.Confine(request)
	}
	if resolved.WantsNamespace {
		return nil, enforcement.Confinement{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"a tier of the %s answers only requests that are confined to namespaces: set a namespace in the query (POST /api/v1/metrics/query), or ask the operator to confine the datasource", resolved.Label)
	}
	return request, enforcement.Confinement{}, nil
}
