package perses

import (
	"fmt"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Reference names a saved datasource.
type Reference struct {
	// Project is empty for a global datasource.
	Project string
	// Dashboard is the dashboard that defines the datasource. It is empty for a
	// datasource that is saved by itself.
	Dashboard string
	// Name is the name of the datasource.
	Name string
}

// String returns the name of the datasource for errors and logs.
func (r Reference) String() string {
	if r.Project == "" {
		return fmt.Sprintf("global datasource %q", r.Name)
	}
	if r.Dashboard != "" {
		return fmt.Sprintf("datasource %q of dashboard %q of project %q", r.Name, r.Dashboard, r.Project)
	}
	return fmt.Sprintf("datasource %q of project %q", r.Name, r.Project)
}

// Validate returns an Error with status 400 if the names are not valid in Perses.
func (r Reference) Validate() error {
	for _, name := range []string{r.Name, r.Project, r.Dashboard} {
		if (name != "" || r.Name == "") && !config.IsPersesName(name) {
			return promapi.BadData("%q cannot be the name of a datasource, dashboard or project: Perses names have 1 to 75 letters, digits, '_', '.' and '-'", name)
		}
	}
	return nil
}

// path returns the path of the datasource, or of its dashboard, in the API of Perses.
func (r Reference) path() string {
	if r.Dashboard != "" {
		return "/api/v1/projects/" + r.Project + "/dashboards/" + r.Dashboard
	}
	return r.listPath() + "/" + r.Name
}

// listPath returns the path of all datasources of the same project, or of all global ones.
func (r Reference) listPath() string {
	if r.Project == "" {
		return "/api/v1/globaldatasources"
	}
	return "/api/v1/projects/" + r.Project + "/datasources"
}
