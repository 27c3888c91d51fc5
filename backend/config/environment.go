package config

import (
	"encoding"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nexucis/lamenv"
)

// environmentPrefix is the prefix of the variables that mirror the keys of the file.
const environmentPrefix = "TIERPROXY"

// setting is one key of the configuration that holds a value.
type setting struct {
	key      string // as in the file: routing.threshold
	prefixed string // TIERPROXY_ROUTING_THRESHOLD
	contract string // QUERY_ROUTING_THRESHOLD, or empty
	value    reflect.Value
}

// settings returns every key of the configuration, in the order of the structs. A list
// is one key.
func settings(target *Config) []setting { return settingsBelow(target) }

// settingsBelow returns every key of a part of the configuration, which target points
// to. The path is the keys that lead to the part. Parts have no variables of the
// contract.
func settingsBelow(target any, path ...string) []setting {
	var list []setting
	var visit func(value reflect.Value, path []string)
	visit = func(value reflect.Value, above []string) {
		for i := range value.NumField() {
			field := value.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if name == "-" {
				continue
			}
			fieldPath := append(slices.Clone(above), name)
			if field.Type.Kind() == reflect.Struct {
				visit(value.Field(i), fieldPath)
				continue
			}
			found := setting{
				key:      strings.Join(fieldPath, "."),
				prefixed: strings.ToUpper(environmentPrefix + "_" + strings.Join(fieldPath, "_")),
				value:    value.Field(i),
			}
			if len(path) == 0 {
				found.contract = field.Tag.Get("contract")
			}
			list = append(list, found)
		}
	}
	visit(reflect.ValueOf(target).Elem(), path)
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
		return fmt.Errorf("%s has several keys: set %s_ followed by the name of a key", s.key, s.prefixed)
	}
	return nil
}

// readEnvironment overrides the configuration with the environment. It ignores empty
// variables of the contract, because deployment templates often leave them empty.
func readEnvironment(into *Config) (errs []error) {
	hotOfFile := into.Hot
	errs = readVariables(into)
	return slices.Concat(errs, readHotEnvironment(&into.Hot, hotOfFile), unread())
}

// readVariables overrides a part of the configuration, which target points to, with the
// variables of its keys. The path is the keys that lead to the part.
func readVariables(target any, path ...string) (errs []error) {
	list := settingsBelow(target, path...)
	linked := map[string]string{} // The ports before, by variable.
	for _, setting := range list {
		if isServiceLink(setting.prefixed) {
			linked[setting.prefixed] = setting.value.String()
		}
	}
	// The library reads lists and http_config. It stops at the first malformed value, and
	// does not name its variable: therefore all other values are set below.
	libraryError := lamenv.Unmarshal(target, append([]string{environmentPrefix}, path...))
	for _, setting := range list {
		if port, isLink := linked[setting.prefixed]; isLink {
			setting.value.SetString(port)
			continue
		}
		for _, name := range []string{setting.prefixed, setting.contract} {
			text, isSet := os.LookupEnv(name)
			if !isSet || setting.value.Kind() == reflect.Slice || (name == setting.contract && text == "") {
				continue
			}
			if err := setting.set(text); err != nil {
				errs = append(errs, variableError(name, "%w", err))
			}
		}
	}
	if libraryError != nil && len(errs)+len(unread()) == 0 {
		errs = append(errs, fmt.Errorf("read the environment: %w", libraryError))
	}
	return errs
}

// variableError returns the error of a variable.
func variableError(name, format string, arguments ...any) error {
	return fmt.Errorf("environment variable %s: %w", name, fmt.Errorf(format, arguments...))
}

// isServiceLink reports whether Kubernetes has set a variable: for a Service named
// tierproxy-hot, it sets TIERPROXY_HOT_SERVICE_HOST and TIERPROXY_HOT_SERVICE_PORT.
func isServiceLink(name string) bool {
	service, isPort := strings.CutSuffix(name, "_SERVICE_PORT")
	_, hasHost := os.LookupEnv(service + "_SERVICE_HOST")
	return isPort && hasHost
}
