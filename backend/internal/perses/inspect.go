package perses

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// moduleName is the name of the plugin module in its package.json.
const moduleName = "TieredPrometheus"

// Inspection is the state of a Perses server.
type Inspection struct {
	// Version is the version of Perses, or empty if it is unknown.
	Version string
	// Module is the state of the plugin module.
	Module ModuleState
	// ModuleVersions are the versions of the module that Perses has loaded, in the order of Perses. There are several if
	// the directory into which Perses unpacks archives outlived an upgrade.
	ModuleVersions []string
	// ModuleError is why Perses could not load the module, or empty.
	ModuleError string
}

// ModuleState is the state of the plugin module in Perses.
type ModuleState int

// The states of the plugin module.
const (
	ModuleUnknown ModuleState = iota // Perses does not list its plugins for the gateway
	ModuleAbsent                     // Perses has no such module
	ModuleBroken                     // Perses could not load the module
	ModuleLoaded                     // Perses has loaded the module
)

// Inspect returns the state of Perses. It returns an Error if Perses is unreachable, or
// if the server is not Perses.
func (c *Client) Inspect(ctx context.Context, caller Caller) (Inspection, error) {
	body, err := c.get(ctx, "/api/v1/health", "its version", caller)
	if err != nil {
		return Inspection{}, err
	}
	var health struct {
		Version  string `json:"version"`
		Database *bool  `json:"database"`
	}
	if err := json.Unmarshal(body, &health); err != nil || health.Database == nil {
		return Inspection{}, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "what answers at the URL of Perses is not Perses: check perses.url")
	}
	inspection := Inspection{Version: health.Version}
	const plugins = "its plugins"
	if body, err = c.get(ctx, "/api/v1/plugins", plugins, caller); err != nil {
		return inspection, nil //nolint:nilerr // Perses may list them for its users only.
	}
	var modules []struct {
		Metadata struct{ Name, Version string }
		Status   struct {
			IsLoaded bool
			Error    string
		}
	}
	if err := json.Unmarshal(body, &modules); err != nil {
		return inspection, unreachable(plugins, ": the answer cannot be read", err)
	}
	inspection.Module = ModuleAbsent
	for _, module := range modules {
		switch {
		case module.Metadata.Name != moduleName:
		case module.Status.IsLoaded:
			inspection.Module = ModuleLoaded
			inspection.ModuleVersions = append(inspection.ModuleVersions, module.Metadata.Version)
		case inspection.Module == ModuleAbsent:
			inspection.Module, inspection.ModuleError = ModuleBroken, module.Status.Error
		}
	}
	return inspection, nil
}
