package perses

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// maxSpecBytes limits the spec of a datasource.
const maxSpecBytes = 64 << 10

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
	if err := config.CheckPersesNames(r.Name, r.Project, r.Dashboard); err != nil {
		return promapi.BadData("%s", err)
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

// Datasource is a saved datasource of Perses.
type Datasource struct {
	// Reference is the name of the datasource.
	Reference Reference
	// Spec is the validated spec.
	Spec Spec
	// Generation is a hash of the spec.
	Generation string

	size int // of the spec's JSON in bytes
}

// CheckEndpoint returns an Error with status 403 if the proxy of the datasource does not
// allow the endpoint.
func (d *Datasource) CheckEndpoint(method, path string) error {
	allowed := d.Spec.Proxy.Spec.AllowedEndpoints
	if len(allowed) == 0 || slices.ContainsFunc(allowed, func(endpoint AllowedEndpoint) bool {
		pattern, err := regexp.Compile(endpoint.Pattern)
		return endpoint.Method == method && err == nil && pattern.MatchString(path)
	}) {
		return nil
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"the allowedEndpoints of %s do not include %s %s", d.Reference, method, path)
}

// document is the part of a datasource or a dashboard of Perses that the gateway reads.
type document struct {
	Metadata struct {
		Name    string `json:"name"`
		Project string `json:"project"`
	} `json:"metadata"`
	Spec struct {
		Plugin      plugin `json:"plugin"` // of a datasource
		Datasources map[string]struct {
			Plugin plugin `json:"plugin"`
		} `json:"datasources"` // of a dashboard
	} `json:"spec"`
}

type plugin struct {
	Kind string          `json:"kind"`
	Spec json.RawMessage `json:"spec"`
}

// decode parses the answer of Perses for a datasource. tenants are as in ParseSpec.
func decode(reference Reference, body []byte, tenants TenantHeaders) (*Datasource, error) {
	kind, name := "datasource", reference.Name
	if reference.Dashboard != "" {
		kind, name = "dashboard", reference.Dashboard
	}
	var saved document
	if err := json.Unmarshal(body, &saved); err != nil {
		return nil, &promapi.Error{
			Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: err,
			Message: fmt.Sprintf("what Perses answered for %s is no %s: check the gateway's perses.url", reference, kind),
		}
	}
	if saved.Metadata.Name != name || saved.Metadata.Project != reference.Project {
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "asked for %s, Perses answered with another %s", reference, kind)
	}
	plugin := saved.Spec.Plugin
	if reference.Dashboard != "" {
		defined, exists := saved.Spec.Datasources[reference.Name]
		if !exists {
			return nil, statusError(reference.String(), Caller{}, http.StatusNotFound)
		}
		plugin = defined.Plugin
	}
	if plugin.Kind != Kind {
		return nil, promapi.BadData("%s is of kind %q, not %q: only the latter is served here", reference, plugin.Kind, Kind)
	}
	if len(plugin.Spec) > maxSpecBytes {
		return nil, promapi.BadData("the spec of %s is larger than %d bytes: make it smaller", reference, maxSpecBytes)
	}
	spec, err := ParseSpec(plugin.Spec, tenants)
	if err != nil {
		return nil, promapi.BadData("the spec of %s is invalid: %s", reference, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	generation := sha256.Sum256(plugin.Spec)
	return &Datasource{Reference: reference, Spec: *spec, Generation: hex.EncodeToString(generation[:]), size: len(plugin.Spec)}, nil
}
