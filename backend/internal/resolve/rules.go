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

// rules say which namespaces the requests of a datasource are confined to. They
// come from the operator's configuration, never from a spec.
type rules struct {
	label      string
	onConflict enforcement.OnConflict
	// own is the rule of the default datasource; nil where it is not confined.
	own *enforcement.Rule
	// datasources and projects hold nil for those that are exempt.
	datasources map[perses.Reference]*enforcement.Rule
	projects    map[string]*enforcement.Rule
	// projectIsNamespace is for projects that are not listed.
	projectIsNamespace bool
	// confining is set when some project is confined.
	confining bool
}

func newRules(settings config.Config) (*rules, error) {
	made := &rules{
		label: settings.Enforcement.Label, onConflict: enforcement.OnConflict(settings.Enforcement.OnConflict),
		datasources: map[perses.Reference]*enforcement.Rule{}, projects: map[string]*enforcement.Rule{},
		projectIsNamespace: settings.Enforcement.ProjectIsNamespace, confining: settings.Enforcement.ProjectIsNamespace,
	}
	var err error
	if len(settings.DefaultDatasource.Namespaces) > 0 {
		if made.own, err = enforcement.New(made.label, settings.DefaultDatasource.Namespaces, made.onConflict); err != nil {
			return nil, fmt.Errorf("default_datasource.namespaces: %w", err)
		}
	}
	for _, project := range settings.Projects {
		var rule *enforcement.Rule
		if !project.AllNamespaces {
			made.confining = true
			if rule, err = enforcement.New(made.label, project.Namespaces, made.onConflict); err != nil {
				return nil, fmt.Errorf("project %q: %w", project.Name, err)
			}
		}
		made.projects[project.Name] = rule
	}
	for _, each := range settings.Enforcement.Datasources {
		reference := perses.Reference{Project: each.Project, Name: each.Name}
		var rule *enforcement.Rule
		if !each.AllNamespaces {
			if rule, err = enforcement.New(cmp.Or(each.Label, made.label), each.Namespaces, made.onConflict); err != nil {
				return nil, fmt.Errorf("%s: %w", reference, err)
			}
		}
		made.datasources[reference] = rule
	}
	return made, nil
}

// listed reports whether the operator lets a project use the gateway's own tiers.
func (r *rules) listed(project string) bool {
	_, found := r.projects[project]
	return found || r.projectIsNamespace
}

// of returns the rule for a datasource, or nil where it is not confined. Once
// projects are confined, what no rule is for is refused: it returns an Error
// with status 403.
func (r *rules) of(reference perses.Reference) (*enforcement.Rule, error) {
	if rule, found := r.datasources[reference]; found {
		return rule, nil
	}
	if rule, found := r.projects[reference.Project]; found && reference.Project != "" {
		return rule, nil
	}
	switch {
	case reference.Project != "" && r.projectIsNamespace:
		return enforcement.New(r.label, []string{reference.Project}, r.onConflict)
	case !r.confining:
		return nil, nil //nolint:nilnil // Nobody is confined.
	case reference.Project == "":
		return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s is not served, because the projects of this Perses are confined to namespaces: ask the operator to list it in enforcement.datasources, with namespaces or with all_namespaces", reference)
	}
	return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"%s is not served, because projects are confined to namespaces and its own to none: ask the operator to list project %q in the gateway's configuration", reference, reference.Project)
}

// RuleOf returns the rule that confines a saved datasource, or nil where it is
// not confined. It returns an Error with status 403 for one that is not served.
func (r *Resolver) RuleOf(reference perses.Reference) (*enforcement.Rule, error) {
	return r.rules.of(reference)
}

// OwnRule returns the rule that confines the default datasource; nil where it is
// not confined.
func (r *Resolver) OwnRule() *enforcement.Rule { return r.rules.own }

// Confine confines a request to what the datasource may see and, where it names
// one, to a namespace. It returns the request to be answered, what that means for
// it, and the errors of the rule.
func (r *Resolver) Confine(asked *Resolved, request *promapi.Request, namespace string) (*promapi.Request, enforcement.Confinement, error) {
	rule := asked.Rule
	var err error
	switch {
	case namespace != "" && rule != nil:
		rule, err = rule.Narrowed(namespace)
	case namespace != "":
		if rule, err = enforcement.New(r.rules.label, []string{namespace}, r.rules.onConflict); err != nil {
			err = promapi.BadData("the namespace %q cannot be confined to: %s", namespace, err)
		}
	}
	if err != nil {
		return nil, enforcement.Confinement{}, err
	}
	if rule != nil {
		return rule.Confine(request)
	}
	if asked.WantsNamespace {
		return nil, enforcement.Confinement{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"a tier of the %s answers for namespaces only: name one in the query (POST /api/v1/metrics/query), or ask the operator to confine the datasource", asked.Label)
	}
	return request, enforcement.Confinement{}, nil
}
