package perses

import (
	"context"
	"encoding/json"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// moduleName is the name of the plugin module in its package.json.
const moduleName = "TieredPrometheus"

// Inspection is what a look at Perses found.
type Inspection struct {
	// Version is the version of Perses; empty where it does not say.
	Version string
	// Module tells what it says of the plugin module.
	Module ModuleState
	// ModuleVersion is the version of the module, and ModuleError why it is not
	// loaded, where Perses tells.
	ModuleVersion, ModuleError string
}

// ModuleState is what Perses says of the plugin module.
type ModuleState int

const (
	// ModuleUnknown says: it does not tell us.
	ModuleUnknown ModuleState = iota
	// ModuleAbsent says: it has no such module.
	ModuleAbsent
	// ModuleBroken says: it has it, and could not load it.
	ModuleBroken
	// ModuleLoaded says: all is well.
	ModuleLoaded
)

// Inspect looks at Perses. It returns an Error where Perses cannot be reached
// or what answers is not Perses.
func (c *Client) Inspect(ctx context.Context, caller Caller) (Inspection, error) {
	const asked = "its version"
	body, err := c.get(ctx, "/api/v1/health", asked, caller)
	if err != nil {
		return Inspection{}, err
	}
	var health struct {
		Version  string `json:"version"`
		Database *bool  `json:"database"`
	}
	if err := json.Unmarshal(body, &health); err != nil || health.Database == nil {
		return Inspection{}, promapi.Errorf(502, promapi.ErrorUnavailable, "what answers at the URL of Perses is not Perses: check perses.url")
	}
	found := Inspection{Version: health.Version}
	if body, err = c.get(ctx, "/api/v1/plugins", "its plugins", caller); err != nil {
		return found, nil //nolint:nilerr // It may tell its users only, which is no mistake.
	}
	var modules []struct {
		Metadata struct{ Name, Version string }
		Status   struct {
			IsLoaded bool
			Error    string
		}
	}
	if err := json.Unmarshal(body, &modules); err != nil {
		return found, unreachable("its plugins", ": the answer cannot be read", err)
	}
	found.Module = ModuleAbsent
	for _, each := range modules {
		if each.Metadata.Name != moduleName {
			continue
		}
		found.Module, found.ModuleVersion, found.ModuleError = ModuleBroken, each.Metadata.Version, each.Status.Error
		if each.Status.IsLoaded {
			found.Module = ModuleLoaded
			break
		}
	}
	return found, nil
}
