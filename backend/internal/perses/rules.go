package perses

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// The rules are those of the CUE model, with the same patterns and messages. They are
// checked here too, because a datasource may have been saved without the model.
// TestRules_AreThoseOfTheModel compares the two.
const (
	hostPattern  = `([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])`
	portPattern  = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
	plainPattern = `[^\x00-\x20\x7f/?#%\\]`
	namePattern  = `[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*`
	labelPattern = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`
	tierPattern  = `^[A-Za-z0-9._:/\[\]-]{1,253}$`

	authority       = `^https?://` + hostPattern + `(:` + portPattern + `)?`
	tierURLPattern  = authority + `(/(` + plainPattern + `|%[0-9A-Fa-f]{2}|/)*)?$`
	proxyURLPattern = authority + `(/` + plainPattern + `+)*/proxy/(globaldatasources|projects/` + namePattern +
		`(/dashboards/` + namePattern + `)?/datasources)/` + namePattern + `/?(\?[^\s#]*)?$`
	durationPattern = `^([0-9]{1,2}y)?([0-9]{1,3}w)?([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?$`
)

// maxHotTiers is the maximum number of hot tiers of a datasource.
const maxHotTiers = 200

var (
	label    = matching("must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends", labelPattern)
	tierName = matching("must be 1 to 253 letters, digits or characters of . _ - : / [ ]", tierPattern)
	tierURL  = matching("must be http(s)://host[:port][/path], with a port from 1 to 65535 and without user, parameters (use queryParams) or fragment", tierURLPattern)
	proxyURL = matching("must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or /proxy/projects/PROJECT/datasources/NAME", proxyURLPattern)
	duration = matching("must be a duration such as 90s, 15m or 1h30m", durationPattern, `.`)
	positive = matching("must be a duration longer than zero, such as 90s, 15m or 1h30m", durationPattern, `[1-9]`)
	anyText  = matching("must be a string: put the value in quotes")
	boolean  = must("must be true or false, without quotes", func(value any) bool { _, is := value.(bool); return is })

	service = object(fields{
		"namespace": label, "name": label, "scheme": matching("must be http or https", "^https?$"),
		"port": must("must be a number from 1 to 65535, without quotes, or the name of a port of the service", isPort),
	}, "namespace", "name")
	portName = regexp.MustCompile(labelPattern)

	hotTier = tierRule(fields{"name": tierName, "url": tierURL, "service": service, "retention": positive}, "url", "service", "name")

	specRule = object(fields{
		"threshold": positive, "scrapeInterval": positive,
		"strategy": matching("must be route or split", "^(route|split)$"), "splitAcrossReplicas": boolean, "cache": boolean,
		"hot":         hotTiers,
		"cold":        tierRule(fields{"url": tierURL, "service": service, "lag": duration}, "url", "service"),
		"queryParams": object(fields{others: anyText}),
		"proxy":       object(fields{"kind": matching("must be HTTPProxy", "^HTTPProxy$"), "spec": proxySpec}, "kind", "spec"),
	}, "proxy")
)

// report reports a mistake at a path.
type report func(path, format string, arguments ...any)

// rule reports the mistakes in the value at a path.
type rule func(path string, value any, mistake report)

// must returns the rule that accepts has to return true.
func must(demand string, accepts func(value any) bool) rule {
	return func(path string, value any, mistake report) {
		if !accepts(value) {
			mistake(path, "%s", demand)
		}
	}
}

// matching returns the rule that a value is a string that matches all patterns.
func matching(demand string, patterns ...string) rule {
	var compiled []*regexp.Regexp
	for _, pattern := range patterns {
		compiled = append(compiled, regexp.MustCompile(pattern))
	}
	return must(demand, func(value any) bool {
		text, isText := value.(string)
		return isText && !slices.ContainsFunc(compiled, func(pattern *regexp.Regexp) bool { return !pattern.MatchString(text) })
	})
}

// fields are the rules of the fields of an object.
type fields map[string]rule

// others is the key of the rule for all other fields. Without it, they are mistakes.
const others = "..."

// object returns the rule for an object with these fields.
func object(known fields, required ...string) rule {
	return func(path string, value any, mistake report) {
		members, isObject := value.(map[string]any)
		if !isObject {
			mistake(path, "must be an object")
			return
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			check, isKnown := known[name]
			if !isKnown {
				check = known[others]
			}
			if check != nil {
				check(path+"."+name, members[name], mistake)
			} else {
				mistake(path+"."+name, "unknown field: remove it, or use one of %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			}
		}
		for _, name := range required {
			if _, exists := members[name]; !exists {
				mistake(path, "the field %s is required", name)
			}
		}
	}
}

// tierRule returns the rule for a tier. It needs one of the places, but not both url and
// service.
func tierRule(known fields, places ...string) rule {
	last := len(places) - 1
	missing := strings.Join(places[:last], ", ") + " or " + places[last]
	return func(path string, value any, mistake report) {
		object(known)(path, value, mistake)
		members, isObject := value.(map[string]any)
		_, hasURL := members["url"]
		_, hasService := members["service"]
		hasPlace := slices.ContainsFunc(places, func(place string) bool { _, has := members[place]; return has })
		switch {
		case hasURL && hasService:
			mistake(path+".service", "remove either url or service: a tier has one of them, not both")
		case isObject && !hasPlace:
			mistake(path, "the field %s is required", missing)
		}
	}
}

// hotTiers is the rule for one hot tier, or for a list of them with different names.
func hotTiers(path string, value any, mistake report) {
	entries, isList := value.([]any)
	_, isObject := value.(map[string]any)
	switch {
	case isObject:
		hotTier(path, value, mistake)
	case !isList || len(entries) < 1 || len(entries) > maxHotTiers:
		mistake(path, "must be one tier, or a list of 1 to %d tiers", maxHotTiers)
	default:
		names := map[string]bool{}
		for i, entry := range entries {
			at := fmt.Sprintf("%s[%d]", path, i)
			hotTier(at, entry, mistake)
			members, _ := entry.(map[string]any)
			name, _ := members["name"].(string)
			if names[name] {
				mistake(at+".name", "must differ from the names of the other hot tiers")
			}
			names[name] = name != ""
		}
	}
}

// isPort reports whether a value is a port number, or a string with a port name.
func isPort(value any) bool {
	if number, isNumber := value.(float64); isNumber {
		return number == math.Trunc(number) && number >= 1 && number <= math.MaxUint16
	}
	text, isText := value.(string)
	return isText && portName.MatchString(text) && strings.ContainsAny(text, "abcdefghijklmnopqrstuvwxyz")
}

// proxySpec is the rule for the part of the proxy that the gateway needs. Perses validates
// the rest.
func proxySpec(path string, value any, mistake report) {
	object(fields{"url": proxyURL, others: func(string, any, report) {}}, "url")(path, value, mistake)
	var spec ProxySpec
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		mistake(path, "must have headers and allowedEndpoints as Perses has them, if any")
		return
	}
	for _, wrong := range variablesInTenants(path, spec.Headers, IsTenantHeader) {
		mistake(wrong.Field, "%s", wrong.Message)
	}
	var patterns []string
	for _, endpoint := range spec.AllowedEndpoints {
		patterns = append(patterns, endpoint.Pattern)
	}
	if err := promql.CheckRegexps(patterns...); err != nil { // They may be too expensive to compile.
		mistake(path+".allowedEndpoints", "%s", err)
		return
	}
	for i, pattern := range patterns {
		if _, err := regexp.Compile(pattern); err != nil {
			mistake(fmt.Sprintf("%s.allowedEndpoints[%d].endpointPattern", path, i), "must be a regular expression: %s", err)
		}
	}
}
