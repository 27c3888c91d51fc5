package config

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hotPrefix is the prefix of the variables of a single hot tier. In those of a list, the
// index of the tier follows.
const hotPrefix = environmentPrefix + "_HOT_"

// betweenURLs matches what separates the URLs of a list. Another comma belongs to a URL.
var betweenURLs = regexp.MustCompile(`(?i)\s*,\s*(https?://)`)

// splitURLs returns the URLs of a comma-separated list.
func splitURLs(text string) []string {
	return strings.Split(betweenURLs.ReplaceAllString(strings.TrimSpace(text), "\n$1"), "\n")
}

// hotVariable is an environment variable of a hot tier.
type hotVariable struct {
	name  string
	index int    // of the tier in the list, or -1 for a single tier
	key   string // of the file, below the tier: tenancy.parameter
}

// hotVariables returns the variables of hot tiers that are set, by index and name.
// Those of the URL of a single tier are not part of it.
func hotVariables() (found []hotVariable) {
	keys := map[string]string{}
	for _, setting := range settingsBelow(&HotConfig{}, "hot") {
		keys[strings.TrimPrefix(setting.prefixed, hotPrefix)] = strings.TrimPrefix(setting.key, "hot.")
	}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		rest, isHot := strings.CutPrefix(name, hotPrefix)
		index := -1
		if digits, below, isCut := strings.Cut(rest, "_"); isCut {
			if number, err := strconv.Atoi(digits); err == nil && strconv.Itoa(number) == digits {
				index, rest = number, below
			}
		}
		key := keys[rest]
		if strings.HasPrefix(rest, "HTTP_CONFIG_") {
			key = "http_config"
		}
		if isHot && key != "" && !isServiceLink(name) && (index >= 0 || key != "url") {
			found = append(found, hotVariable{name: name, index: index, key: key})
		}
	}
	slices.SortFunc(found, func(a, b hotVariable) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.name, b.name))
	})
	return found
}

// readHotEnvironment completes the hot tiers, after the variables of a single tier were
// read. The environment replaces the tiers of the file if it has their URLs.
func readHotEnvironment(hot *HotConfig, ofFile HotConfig) (errs []error) {
	variables := hotVariables()
	numbered := slices.DeleteFunc(slices.Clone(variables), func(v hotVariable) bool { return v.index < 0 })
	single := variables[:len(variables)-len(numbered)]
	urls := cmp.Or(setVariable("PROMETHEUS_URL"), setVariable(hotPrefix+"URL"))
	switch {
	case urls != "":
		errs = hot.splitByURL(urls, single, numbered)
	case ofFile.List != nil:
		errs = misplaced(single, "hot is a list")
		*hot = HotConfig{List: ofFile.List}
	case len(numbered) > 0:
		errs = misplaced(single, numbered[0].name+" makes hot a list")
		if !reflect.ValueOf(ofFile).IsZero() {
			errs = append(errs, variableError(numbered[0].name, "the file has one hot tier: write hot as a list there"))
		}
		*hot = HotConfig{List: []HotConfig{}}
	default:
		hot.preferVariables(single, false)
	}
	return append(errs, hot.readNumbered(numbered, urls)...)
}

// setVariable returns a name if the variable of this name is set and not empty.
func setVariable(name string) string {
	if os.Getenv(name) == "" {
		return ""
	}
	return name
}

// misplaced returns an error for each variable of a single tier, if there is a list.
func misplaced(single []hotVariable, why string) (errs []error) {
	for _, variable := range single {
		rest := strings.TrimPrefix(variable.name, hotPrefix)
		errs = append(errs, variableError(variable.name, "is for one hot tier, but %s: set %s0_%s or hot[0].%s", why, hotPrefix, rest, variable.key))
	}
	return errs
}

// splitByURL makes a list of tiers from the comma-separated URLs of a variable. The
// other settings of the single tier apply to each. Some settings belong to one tier
// alone: they are errors.
func (c *HotConfig) splitByURL(variable string, single, numbered []hotVariable) (errs []error) {
	c.List = nil
	c.preferVariables(single, true)
	urls := splitURLs(c.URL)
	if len(urls) == 1 && len(numbered) == 0 {
		return nil
	}
	common := *c
	if len(urls) > 1 {
		common.Name, common.ExternalLabels, common.Complete, common.Service = "", nil, false, ServiceConfig{}
		errs = c.notCommon(variable, len(urls), single)
	}
	*c = HotConfig{List: make([]HotConfig, len(urls))}
	for i, address := range urls {
		c.List[i] = common
		c.List[i].URL = address
		// Credentials are not mixed: the tier's own replace the common ones.
		if slices.ContainsFunc(numbered, func(v hotVariable) bool { return v.index == i && v.key == "http_config" }) {
			c.List[i].HTTPConfig = nil
		}
	}
	return errs
}

// notCommon returns an error for each setting that cannot apply to several tiers.
func (c *HotConfig) notCommon(variable string, urls int, single []hotVariable) (errs []error) {
	for _, setting := range settingsBelow(c, "hot") {
		key := strings.TrimPrefix(setting.key, "hot.")
		isOwn := key == "name" || key == "external_labels" || key == "complete" || strings.HasPrefix(key, "service.")
		if !isOwn || setting.value.IsZero() {
			continue
		}
		where := setting.key
		if slices.ContainsFunc(single, func(v hotVariable) bool { return v.key == key }) {
			where = "environment variable " + setting.prefixed
		}
		errs = append(errs, fmt.Errorf("%s: is for one hot tier, but %s has %d URLs: set %s0_%s and so on, or list the tiers in the file",
			where, variable, urls, hotPrefix, strings.TrimPrefix(setting.prefixed, hotPrefix)))
	}
	return errs
}

// preferVariables drops the Service of the file if the environment has a URL, and the
// URL of the file if the environment has a Service.
func (c *HotConfig) preferVariables(variables []hotVariable, hasURL bool) {
	hasService := slices.ContainsFunc(variables, func(v hotVariable) bool { return strings.HasPrefix(v.key, "service.") })
	switch {
	case hasURL && !hasService:
		c.Service = ServiceConfig{}
	case hasService && !hasURL:
		c.URL = ""
	}
}

// readNumbered overrides the tiers of the list with the variables that have their index,
// and adds the tiers that follow. It does not add any to those of the variable urls.
func (c *HotConfig) readNumbered(numbered []hotVariable, urls string) (errs []error) {
	for len(numbered) > 0 {
		first := numbered[0]
		end := slices.IndexFunc(numbered, func(v hotVariable) bool { return v.index != first.index })
		if end < 0 {
			end = len(numbered)
		}
		ofTier := numbered[:end]
		numbered = numbered[end:]
		switch {
		case first.index >= len(c.List) && urls != "":
			errs = append(errs, variableError(first.name, "%s has URLs for %d hot tiers only", urls, len(c.List)))
			continue
		case first.index > len(c.List):
			return append(errs, variableError(first.name, "there is no hot tier %d: number the tiers from 0 and leave no number out", len(c.List)))
		case first.index == len(c.List):
			c.List = append(c.List, HotConfig{})
		}
		entry, hasURL := &c.List[first.index], false
		for _, variable := range ofTier {
			hasURL = hasURL || variable.key == "url" && setVariable(variable.name) != ""
			if variable.key == "url" && urls != "" {
				errs = append(errs, variableError(variable.name, "%s has the URL of this hot tier: remove one of them", urls))
			}
		}
		errs = append(errs, readVariables(entry, "hot", strconv.Itoa(first.index))...)
		entry.preferVariables(ofTier, hasURL || urls != "")
	}
	return errs
}
