package config

import (
	"encoding"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unread returns an error for each variable with the prefix that no key of the configuration reads, and for each
// malformed value of a list, in the order of their names. Templates leave variables empty: those do not count. A list with a gap would be read up to the gap, and one without numbers not at all.
func unread() (errs []error) {
	set := variableNames{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, environmentPrefix+"_") && value != "" {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	read := map[string]bool{} // by readVariables, which has errors of its own
	for _, setting := range slices.Concat(settings(&Config{}), settingsBelow(&HotConfig{}, "hot")) {
		if setting.value.Kind() != reflect.Slice {
			read[setting.prefixed] = true
		}
	}
	for _, name := range set {
		if read[name] || set.isOfService(name) {
			continue
		}
		problem := set.problem(reflect.TypeFor[Config](), environmentPrefix, strings.TrimPrefix(name, environmentPrefix))
		if below, isHot := strings.CutPrefix(name, hotPrefix); isHot {
			if digits, _, _ := strings.Cut(below, "_"); isIndex(digits) {
				// The index of a hot tier: see readNumbered.
				above := hotPrefix + digits
				if read[hotPrefix+strings.TrimPrefix(name, above+"_")] {
					continue
				}
				problem = set.problem(reflect.TypeFor[HotConfig](), above, strings.TrimPrefix(name, above))
			}
		}
		if problem != "" {
			errs = append(errs, variableError(name, "%s", problem))
		}
	}
	return errs
}

const unknownVariable = "no key of the configuration has this name: remove it or correct its spelling"

// variableNames are the names of the variables that are set.
type variableNames []string

// problem returns why a variable sets no value below a key. The name of the variable consists of that of
// the key, above, and a rest. of is the type of the key's value. It returns an empty string if the variable sets one.
func (v variableNames) problem(of reflect.Type, above, rest string) string {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of == reflect.TypeFor[HTTPConfig]() {
		of = reflect.TypeFor[plainHTTPConfig]()
	}
	isText := reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	switch {
	case isText, of.Kind() != reflect.Struct && of.Kind() != reflect.Slice && of.Kind() != reflect.Map:
		if rest == "" {
			return malformed(of, above)
		}
	case of.Kind() == reflect.Map:
		if rest != "" {
			return ""
		}
	case of.Kind() == reflect.Slice:
		return v.problemOfList(of, above, rest)
	default:
		return v.problemOfKeys(of, above, rest)
	}
	return unknownVariable
}

// malformed returns why the value of a variable is none of the type, or an empty string. It does not look at values
// of http_config, which may be secrets in the wrong place.
func malformed(of reflect.Type, name string) string {
	value := setting{value: reflect.New(of).Elem()}
	_, isText := value.value.Addr().Interface().(encoding.TextUnmarshaler)
	if kind := of.Kind(); (!isText && kind != reflect.Bool && kind != reflect.Int) || strings.Contains(name, "_HTTP_CONFIG_") {
		return ""
	}
	if err := value.set(os.Getenv(name)); err != nil {
		return err.Error()
	}
	return ""
}

func (v variableNames) problemOfList(of reflect.Type, above, rest string) string {
	digits, _, _ := strings.Cut(strings.TrimPrefix(rest, "_"), "_")
	if rest == "" || !isIndex(digits) {
		return "this key is a list: number its values, the first of which is " + above + "_0"
	}
	if index, _ := strconv.Atoi(digits); index > 0 {
		before := above + "_" + strconv.Itoa(index-1)
		if !slices.ContainsFunc(v, func(name string) bool { return name == before || strings.HasPrefix(name, before+"_") }) {
			return "there is no " + before + ": number the values of a list from 0, without a gap"
		}
	}
	return v.problem(of.Elem(), above+"_"+digits, strings.TrimPrefix(rest, "_"+digits))
}

func (v variableNames) problemOfKeys(of reflect.Type, above, rest string) string {
	problem, hasKeys := unknownVariable, false
	for i := range of.NumField() {
		field := of.Field(i)
		key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		name := "_" + strings.ToUpper(key)
		switch {
		case options == "inline":
			name = ""
		case key == "" || key == "-":
			continue
		}
		hasKeys = true
		below, isBelow := strings.CutPrefix(rest, name)
		if !isBelow || (below != "" && below[0] != '_') {
			continue
		}
		found := v.problem(field.Type, above+name, below)
		if found == "" {
			return ""
		}
		if problem == unknownVariable {
			problem = found
		}
	}
	if !hasKeys && rest == "" {
		return "" // A type of its own, such as a URL.
	}
	return problem
}

// isIndex reports whether a part of a name is the index of a list.
func isIndex(digits string) bool {
	number, err := strconv.Atoi(digits)
	return err == nil && number >= 0 && strconv.Itoa(number) == digits
}

// ofService matches what Kubernetes adds to the name of a Service in the variables for it.
var ofService = regexp.MustCompile(`^_(SERVICE_HOST|SERVICE_PORT|SERVICE_PORT_[A-Z0-9_]+|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)$`)

// isOfService reports whether Kubernetes has set a variable for a Service, such as one named tierproxy.
func (v variableNames) isOfService(name string) bool {
	return slices.ContainsFunc(v, func(each string) bool {
		service, isHost := strings.CutSuffix(each, "_SERVICE_HOST")
		rest, isBelow := strings.CutPrefix(name, service)
		return isHost && isBelow && ofService.MatchString(rest)
	})
}
