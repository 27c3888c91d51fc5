package datasource

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// proxyKind is the one kind of proxy that this datasource has.
const proxyKind = "HTTPProxy"

// maxHotTiers is the maximum number of hot tiers.
const maxHotTiers = 200

// The rules of the CUE model, which Perses holds every datasource to. They are here as well, so that a mistake shows
// where it is made; a test compares the two.
const (
	host  = `([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])`
	port  = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
	plain = `[^\x00-\x20\x7f/?#%\\]`
	name  = `[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*`

	tierName = `^[A-Za-z0-9._:/\[\]-]{1,253}$`

	strategyRule  = "must be route or split"
	durationRule  = "must be a duration such as 90s, 15m or 1h30m"
	positiveRule  = "must be a duration longer than zero, such as 90s, 15m or 1h30m"
	labelRule     = "must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends"
	portRule      = "must be a number from 1 to 65535, without quotes, or the name of a port of the service"
	tierURLRule   = "must be http(s)://host[:port][/path], with a port from 1 to 65535 and without user, parameters (use queryParams) or fragment"
	tierNameRule  = "must be 1 to 253 letters, digits or characters of . _ - : / [ ]"
	hotRule       = "must be one tier, or a list of 1 to 200 tiers"
	differentRule = "must differ from the names of the other hot tiers"
	tenantRule    = "must be the tenant itself, not a dashboard variable, whose value every user chooses"
	proxyURLRule  = "must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or /proxy/projects/PROJECT/datasources/NAME"
)

var (
	tierURLs  = regexp.MustCompile(`^https?://` + host + `(:` + port + `)?(/(` + plain + `|%[0-9A-Fa-f]{2}|/)*)?$`)
	proxyURLs = regexp.MustCompile(`^https?://` + host + `(:` + port + `)?(/` + plain + `+)*/proxy/(globaldatasources|projects/` + name +
		`(/dashboards/` + name + `)?/datasources)/` + name + `/?(\?[^\s#]*)?$`)
	tenantHeaders = regexp.MustCompile(`(?i)^(x-scope-orgid|thanos-tenant)$`)
	tierNames     = regexp.MustCompile(tierName)
	labels        = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	durations     = regexp.MustCompile(`^([0-9]{1,2}y)?([0-9]{1,3}w)?([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?$`)
)

// validate returns all mistakes at once.
func (s *PluginSpec) validate() error {
	var mistakes []error
	wrong := func(field, value, rule string) {
		mistakes = append(mistakes, fmt.Errorf("%s: %q: %s", field, value, rule))
	}
	positive := func(field, value string) { mistakes = append(mistakes, validatePositive(field, value)) }
	positive("threshold", s.Threshold)
	positive("scrapeInterval", s.ScrapeInterval)
	if s.Strategy != "" && s.Strategy != StrategyRoute && s.Strategy != StrategySplit {
		wrong("strategy", s.Strategy, strategyRule)
	}
	if s.Hot != nil {
		mistakes = append(mistakes, s.Hot.validate())
	}
	if s.Cold != nil {
		if s.Cold.Lag != "" && !durations.MatchString(s.Cold.Lag) {
			wrong("cold.lag", s.Cold.Lag, durationRule)
		}
		if s.Cold.isMissing() {
			mistakes = append(mistakes, errors.New("cold: set URL or InCluster"))
		}
		mistakes = append(mistakes, s.Cold.validate("cold"))
	}
	switch {
	case s.Proxy == nil:
		mistakes = append(mistakes, errors.New("proxy: is required: set it with HTTPProxy"))
	case s.Proxy.Kind != proxyKind:
		wrong("proxy.kind", s.Proxy.Kind, "must be "+proxyKind)
	case s.Proxy.Spec.URL == nil:
		mistakes = append(mistakes, errors.New("proxy.spec.url: is required"))
	case !proxyURLs.MatchString(s.Proxy.Spec.URL.String()):
		wrong("proxy.spec.url", s.Proxy.Spec.URL.Redacted(), proxyURLRule)
	default:
		for _, name := range slices.Sorted(maps.Keys(s.Proxy.Spec.Headers)) {
			if value := s.Proxy.Spec.Headers[name]; tenantHeaders.MatchString(name) && strings.Contains(value, "$") {
				wrong(fmt.Sprintf("proxy.spec.headers.%q", name), value, tenantRule)
			}
		}
	}
	return errors.Join(mistakes...)
}

// validatePositive returns a mistake if a value is set and not a duration longer than zero.
func validatePositive(field, value string) error {
	if value != "" && (!durations.MatchString(value) || !strings.ContainsAny(value, "123456789")) {
		return fmt.Errorf("%s: %q: %s", field, value, positiveRule)
	}
	return nil
}

// validate returns all mistakes of all hot tiers.
func (h *HotTier) validate() error {
	if len(h.Others) == 0 {
		return h.validateOne("hot")
	}
	tiers := append([]HotTier{*h}, h.Others...)
	if len(tiers) > maxHotTiers {
		return errors.New("hot: " + hotRule)
	}
	var mistakes []error
	names := map[string]bool{}
	for i, tier := range tiers {
		path := fmt.Sprintf("hot[%d]", i)
		mistakes = append(mistakes, tier.validateOne(path))
		if names[tier.Name] {
			mistakes = append(mistakes, fmt.Errorf("%s.name: %q: %s", path, tier.Name, differentRule))
		}
		names[tier.Name] = tier.Name != ""
	}
	return errors.Join(mistakes...)
}

func (h *HotTier) validateOne(path string) error {
	var mistakes []error
	if h.Name != "" && !tierNames.MatchString(h.Name) {
		mistakes = append(mistakes, fmt.Errorf("%s.name: %q: %s", path, h.Name, tierNameRule))
	}
	if h.isMissing() && h.Name == "" {
		mistakes = append(mistakes, fmt.Errorf("%s: set URL, InCluster or TierName", path))
	}
	return errors.Join(append(mistakes, validatePositive(path+".retention", h.Retention), h.Tier.validate(path))...)
}

// isMissing reports whether the tier has no place.
func (t *Tier) isMissing() bool { return t.URL == "" && t.Service == nil }

func (t *Tier) validate(which string) error {
	switch {
	case t.URL != "" && t.Service != nil:
		return fmt.Errorf("%s: remove either URL or InCluster: a tier has one of them, not both", which)
	case t.URL != "" && !tierURLs.MatchString(t.URL):
		return fmt.Errorf("%s.url: %s", which, tierURLRule) // Not its value, which may hold a password.
	case t.Service != nil:
		return t.Service.validate(which + ".service")
	}
	return nil
}

func (s *Service) validate(path string) error {
	var mistakes []error
	wrong := func(field, value, rule string) {
		mistakes = append(mistakes, fmt.Errorf("%s.%s: %q: %s", path, field, value, rule))
	}
	if !labels.MatchString(s.Namespace) {
		wrong("namespace", s.Namespace, labelRule)
	}
	if !labels.MatchString(s.Name) {
		wrong("name", s.Name, labelRule)
	}
	if s.Port != nil {
		named := s.Port.Name != ""
		if named && (!labels.MatchString(s.Port.Name) || !strings.ContainsAny(s.Port.Name, "abcdefghijklmnopqrstuvwxyz")) ||
			!named && (s.Port.Number < 1 || s.Port.Number > 65535) {
			wrong("port", fmt.Sprint(s.Port.value()), portRule)
		}
	}
	if s.Scheme != "" && s.Scheme != "http" && s.Scheme != "https" {
		wrong("scheme", s.Scheme, "must be http or https")
	}
	return errors.Join(mistakes...)
}
