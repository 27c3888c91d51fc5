package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// lineError returns a malformed value of a file as a *yaml.TypeError, so that the YAML
// decoder continues with the next key.
func lineError(node *yaml.Node, want string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is not %s", node.Line, node.Value, want)}}
}

// FromEnvironment returns Default overridden by the environment. It returns all
// errors, joined.
func FromEnvironment() (Config, error) { return Load("") }

// Load reads the YAML file and overrides it with the environment. Keys that neither
// sets have the value of Default. An empty file name loads the environment alone. The
// contract's variables (THANOS_QUERIER_URL and so on) override the prefixed ones
// (TIERPROXY_COLD_URL).
//
// PROMETHEUS_URL and TIERPROXY_HOT_URL take several URLs, separated by commas: each is a
// hot tier. They replace the hot tiers of the file.
//
// Load returns all errors, joined: unknown keys, malformed durations, numbers and
// URLs, and values out of range.
func Load(file string) (Config, error) {
	loaded := Default()
	errs := append(readFile(file, &loaded), readEnvironment(&loaded)...)
	loaded.Discovery.dropDefaultNamespaces()
	if err := loaded.Validate(); err != nil {
		errs = append(errs, err)
	}
	return loaded, errors.Join(errs...)
}

// readFile reads the file, if its name is not empty. A file with nothing but comments
// is an empty configuration.
func readFile(name string, into *Config) (errs []error) {
	if name == "" {
		return nil
	}
	content, err := os.ReadFile(name) //nolint:gosec // The operator names the file.
	if err == nil {
		decoder := yaml.NewDecoder(bytes.NewReader(content))
		decoder.KnownFields(true)
		if err = decoder.Decode(into); err == nil && !errors.Is(decoder.Decode(&struct{}{}), io.EOF) {
			errs = append(errs, fmt.Errorf("%s: what follows --- is a second document, which is not read: write one", name))
		}
	}
	if malformed, is := errors.AsType[*yaml.TypeError](err); is {
		for _, text := range malformed.Errors {
			errs = append(errs, fmt.Errorf("%s: %s", name, readable(text)))
		}
	} else if err != nil && !errors.Is(err, io.EOF) {
		errs = append(errs, fmt.Errorf("read the configuration: %w", err))
	}
	return errs
}

// readable rewrites the YAML decoder's error for an unknown key. It returns other
// errors unchanged.
func readable(text string) string {
	line, rest, found := strings.Cut(text, ": field ")
	name, _, isUnknown := strings.Cut(rest, " not found in type ")
	if !found || !isUnknown {
		return text
	}
	return fmt.Sprintf("%s: unknown key %q: remove it or correct its spelling", line, name)
}
