package config

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	persesconfig "github.com/perses/common/config"
	"gopkg.in/yaml.v3"
)

// environmentPrefix is the prefix of the variables that mirror the keys of the file.
const environmentPrefix = "TIERPROXY"

// malformedError is the error for a value that does not have the type of its key.
type malformedError struct{ value, want string }

// Error names the value and the expected type.
func (e *malformedError) Error() string { return fmt.Sprintf("%q is not %s", e.value, e.want) }

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
	errs := environmentErrors()
	resolveError := resolve(file, &loaded)
	var typeError *yaml.TypeError
	switch {
	case errors.As(resolveError, &typeError):
		for _, text := range typeError.Errors {
			errs = append(errs, fmt.Errorf("%s: %s", file, readable(text)))
		}
	case resolveError != nil && len(errs) == 0:
		// errs already has those of the environment, with the names of the variables.
		errs = append(errs, fmt.Errorf("read the configuration: %w", resolveError))
	}
	applyContract(&loaded)
	if err := loaded.Validate(); err != nil {
		errs = append(errs, err)
	}
	return loaded, errors.Join(errs...)
}

// resolve reads the file and the environment with Perses' configuration library.
func resolve(file string, into *Config) error {
	err := persesconfig.NewResolver[Config]().SetEnvPrefix(environmentPrefix).SetConfigFile(file).Resolve(into).Verify()
	if errors.Is(err, io.EOF) {
		// A file with nothing but comments is an empty configuration.
		return resolve("", into)
	}
	return err
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
			return &malformedError{value: text, want: "true or false"}
		}
		s.value.SetBool(parsed)
	case reflect.Int:
		parsed, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return &malformedError{value: text, want: "a whole number"}
		}
		s.value.SetInt(int64(parsed))
	default:
		return fmt.Errorf("a %s cannot be set by one environment variable", s.value.Kind())
	}
	return nil
}

// environmentErrors returns an error for each variable with a malformed value. The
// library of Perses stops at the first one, and does not name it.
func environmentErrors() []error {
	var errs []error
	scratch := Default()
	for _, setting := range settings(&scratch) {
		for _, name := range []string{setting.prefixed, setting.contract} {
			text, found := os.LookupEnv(name)
			if !found || name == "" || setting.value.Kind() == reflect.Slice || (name == setting.contract && text == "") {
				continue
			}
			if err := setting.set(text); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
			}
		}
	}
	return errs
}

// applyContract overrides settings with the contract's variables. It ignores empty
// variables, because deployment templates often leave them empty.
func applyContract(target *Config) {
	for _, setting := range settings(target) {
		if setting.contract == "" {
			continue
		}
		if text := os.Getenv(setting.contract); text != "" {
			_ = setting.set(text) // environmentErrors reports malformed values.
		}
	}
}
