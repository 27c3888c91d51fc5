// Package webui serves the small web page of the demo and of the browser
// tests: dashboards, Explore and datasources of a Perses server, whose own web
// UI its Go module does not hold.
package webui

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// packages are the npm packages with modules of others that the page shows:
// panels, variables from which the editors of Perses start, and the Prometheus
// plugin to compare with.
var packages = []string{
	"datasource-variable-plugin", "gauge-chart-plugin", "histogram-chart-plugin", "prometheus-plugin", "stat-chart-plugin",
	"static-list-variable-plugin", "table-plugin", "timeseries-chart-plugin", "timeseries-table-plugin",
}

// Module is a plugin module of an npm package, which holds what the browser
// loads but not what the server does.
type Module struct {
	// Name is that of the module, Directory that of its package.
	Name, Directory string

	version string
	plugins []pluginMetadata
}

type pluginMetadata struct {
	Kind string          `json:"kind"`
	Spec json.RawMessage `json:"spec"`
}

// name returns the name of the plugin, such as TimeSeriesChart.
func (p pluginMetadata) name() (string, error) {
	var spec struct {
		Name string `json:"name"`
	}
	err := json.Unmarshal(p.Spec, &spec)
	return spec.Name, err
}

// Modules finds the modules of others in the npm packages of the checkout.
func Modules(root string) ([]Module, error) {
	var modules []Module
	for _, each := range packages {
		directory := filepath.Join(root, "node_modules", "@perses-dev", each)
		var manifest struct {
			Name string `json:"name"`
		}
		var description struct {
			Version string `json:"version"`
			Perses  struct {
				Plugins []pluginMetadata `json:"plugins"`
			} `json:"perses"`
		}
		if err := errors.Join(
			readJSON(filepath.Join(directory, "mf-manifest.json"), &manifest),
			readJSON(filepath.Join(directory, "package.json"), &description),
		); err != nil {
			return nil, err
		}
		modules = append(modules, Module{
			Name: manifest.Name, Directory: directory, version: description.Version, plugins: description.Perses.Plugins,
		})
	}
	return modules, nil
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file) //nolint:gosec // Of our own checkout.
	if err != nil {
		return fmt.Errorf("read the module of an npm package: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// WriteServerPart writes what a Perses server needs of the modules into a
// directory, one subdirectory each: their description, and for each plugin a
// schema that allows every spec. The true schemas import CUE modules that only
// a registry has.
func WriteServerPart(directory string, modules []Module) error {
	for _, module := range modules {
		if err := module.writeServerPart(filepath.Join(directory, module.Name)); err != nil {
			return fmt.Errorf("write the server's part of the module %s: %w", module.Name, err)
		}
	}
	return nil
}

func (m Module) writeServerPart(directory string) error {
	manifest, err := os.ReadFile(filepath.Join(m.Directory, "mf-manifest.json"))
	if err != nil {
		return err
	}
	description, err := json.Marshal(map[string]any{
		"name": strings.ToLower(m.Name), "version": m.version,
		"perses": map[string]any{"schemasPath": "schemas", "plugins": m.plugins},
	})
	if err != nil {
		return err
	}
	files := map[string]string{
		"mf-manifest.json":   string(manifest),
		"package.json":       string(description),
		"cue.mod/module.cue": fmt.Sprintf("module: \"example.org/%s@v0\"\nlanguage: version: \"v0.14.0\"\n", strings.ToLower(m.Name)),
	}
	for _, plugin := range m.plugins {
		name, err := plugin.name()
		if err != nil {
			return err
		}
		if plugin.Kind == "Explore" {
			continue // It is stored nowhere.
		}
		files["schemas/"+strings.ToLower(name)+"/schema.cue"] = fmt.Sprintf("package model\n\nkind: %q\nspec: {...}\n", name)
	}
	for name, text := range files {
		file := filepath.Join(directory, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
