package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nexucis/lamenv"
	"gopkg.in/yaml.v3"
)

// environmentPrefix is the prefix of the variables that mirror the keys of the file.
const environmentPrefix = "TIERPROXY"

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
// Load returns all errors, joined: unknown keys, malformed durations, numbers and
// URLs, and values out of range.
func Load(file string) (Config, error) {
	loaded := Default()
	errs := append(readFile(file, &loaded), readEnvironment(&loaded)...)
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
		err = decoder.Decode(into)
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

// setting is one key of the configuration that holds a value.
type setting struct {
	key      string // as in the file: routing.threshold
	prefixed string // TIERPROXY_ROUTING_THRESHOLD
	contract string // QUERY_ROUTING_THRESHOLD, or empty
	value    reflect.Value
}

// settings returns every key of the configuration, in the order of the structs. A list
// is one key.
func settings(target *Config) []setting {
	var list []setting
	var visit func(value reflect.Value, path []string)
	visit = func(value reflect.Value, path []string) {
		for i := range value.NumField() {
			field := value.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if name == "-" {
				continue
			}
			fieldPath := append(slices.Clone(path), name)
			if field.Type.Kind() == reflect.Struct {
				visit(value.Field(i), fieldPath)
				continue
			}
			list = append(list, setting{
				key:      strings.Join(fieldPath, "."),
				prefixed: strings.ToUpper(environmentPrefix + "_" + strings.Join(fieldPath, "_")),
				contract: field.Tag.Get("contract"),
				value:    value.Field(i),
			})
		}
	}
	visit(reflect.ValueOf(target).Elem(), nil)
	return list
}

// set parses text and stores it in the setting.
func (s setting) set(text string) error {
	if target, ok := s.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return target.UnmarshalText([]byte(text))
	}
	switch s.value.Kind() {
	case reflect.String:
		s.value.SetString(text)
	case reflect.Bool:
		parsed, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		s.value.SetBool(parsed)
	case reflect.Int:
		parsed, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		s.value.SetInt(int64(parsed))
	default:
		return fmt.Errorf("a %s cannot be set by one environment variable", s.value.Kind())
	}
	return nil
}

// readEnvironment overrides the configuration with the environment. It ignores empty
// variables of the contract, because deployment templates often leave them empty.
func readEnvironment(into *Config) (errs []error) {
	// The library reads lists and http_config. It stops at the first malformed value, and
	// does not name its variable: therefore all other values are set below.
	libraryError := lamenv.Unmarshal(into, []string{environmentPrefix})
	for _, setting := range settings(into) {
		for _, name := range []string{setting.prefixed, setting.contract} {
			text, isSet := os.LookupEnv(name)
			if !isSet || setting.value.Kind() == reflect.Slice || (name == setting.contract && text == "") {
				continue
			}
			if err := setting.set(text); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
			}
		}
	}
	if libraryError != nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("read the environment: %w", libraryError))
	}
	return errs
}
