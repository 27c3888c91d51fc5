package splice_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// This file unites the answers of any number of sources: decoded, and compared each with each.

// referenceUniteSources unites two answers at a time, but for rules and alerts.
func referenceUniteSources(endpoint promapi.Endpoint, sources []splice.Source, limit int) (united json.RawMessage, truncated bool, err error) {
	isOne := sources[0].Name == "" && (len(sources) == 1 || sources[1].Tier == "cold")
	cold := json.RawMessage(`null`)
	if len(sources) > 1 {
		cold = sources[1].Data
	}
	switch {
	case endpoint == promapi.Rules && isOne:
		united, err = referenceUniteRules(sources[0].Data, cold)
	case endpoint == promapi.Alerts && isOne:
		united, err = referenceUniteAlerts(sources[0].Data, cold, sources[0].Injected)
	case endpoint == promapi.Rules:
		united, err = referenceRulesOfSources(sources)
	case endpoint == promapi.Alerts:
		united, err = referenceAlertsOfSources(sources)
	default:
		empty := json.RawMessage(`[]`)
		if endpoint == promapi.Metadata {
			empty = json.RawMessage(`{}`)
		}
		united = empty
		for i := 0; i < len(sources) && err == nil; i++ {
			var added json.RawMessage
			if added, err = referenceAddLabels(endpoint, sources[i].Data, sources[i].Injected); err == nil {
				united, _, err = referenceUnite(endpoint, united, added, 0)
			}
		}
		if err == nil {
			united, truncated, err = referenceUnite(endpoint, united, empty, limit)
		}
	}
	return united, truncated, err
}

type element = map[string]json.RawMessage

// elementsOf decodes the list that stands in a member of the data of a source.
func elementsOf(source splice.Source, field string) (list []element, err error) {
	answer := map[string][]element{}
	err = json.Unmarshal(source.Data, &answer)
	return answer[field], err
}

// mark says where an element comes from.
func mark(each element, tier string, source splice.Source) {
	each["tier"], _ = json.Marshal(tier)
	if source.Name != "" {
		each["source"], _ = json.Marshal(source.Name)
	}
}

// carries reports whether labels include those that a source injects.
func carries(labels map[string]string, source splice.Source) bool {
	for name, value := range source.Injected {
		if own, is := labels[name]; !is || own != value {
			return false
		}
	}
	return true
}

// ruleKey identifies rules of a group.
func ruleKey(group element, rules []element) string {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, fmt.Sprintf("%s %s %s", rule["type"], rule["name"], rule["query"]))
	}
	slices.Sort(texts)
	return fmt.Sprintf("%s: %q", group["name"], texts)
}

func referenceRulesOfSources(sources []splice.Source) (json.RawMessage, error) {
	united, known := []element{}, map[string]element{}
	for i, source := range sources {
		groups, err := elementsOf(source, "groups")
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			rules := []element{}
			if err := json.Unmarshal(group["rules"], &rules); err != nil {
				return nil, err
			}
			if source.Tier == "cold" && len(rules) > 0 {
				if rules = referenceUnknownRules(sources, known, group, rules); len(rules) == 0 {
					continue
				}
				group["rules"], _ = json.Marshal(rules)
			}
			mark(group, source.Tier, source)
			united = append(united, group)
			if source.Tier == "hot" {
				known[fmt.Sprint(i, ruleKey(group, rules))] = group
			}
		}
	}
	return json.Marshal(map[string]any{"groups": united})
}

// referenceUnknownRules returns the rules of a group of cold that no group of hot has.
func referenceUnknownRules(sources []splice.Source, known map[string]element, group element, rules []element) []element {
	sourceOf := func(rule element) int {
		var labels map[string]string
		_ = json.Unmarshal(rule["labels"], &labels) // It was written by this test.
		found := -1
		for i, source := range sources {
			if source.Tier == "hot" && carries(labels, source) && (found < 0 || len(source.Injected) > len(sources[found].Injected)) {
				found = i
			}
		}
		return found
	}
	for i, source := range sources {
		ofSource := slices.DeleteFunc(slices.Clone(rules), func(rule element) bool { return sourceOf(rule) != i })
		if equal := known[fmt.Sprint(i, ruleKey(group, ofSource))]; len(ofSource) > 0 && equal != nil {
			mark(equal, "hot,cold", source)
			rules = slices.DeleteFunc(rules, func(rule element) bool { return sourceOf(rule) == i })
		}
	}
	return rules
}

func referenceAlertsOfSources(sources []splice.Source) (json.RawMessage, error) {
	type alert struct {
		element

		own, all map[string]string
		source   splice.Source
		isPaired bool
	}
	var hot, cold []*alert
	for _, source := range sources {
		list, err := elementsOf(source, "alerts")
		if err != nil {
			return nil, err
		}
		for _, each := range list {
			made := &alert{element: each, source: source, all: map[string]string{}}
			if err := json.Unmarshal(each["labels"], &made.own); err != nil {
				return nil, err
			}
			maps.Copy(made.all, source.Injected)
			maps.Copy(made.all, made.own)
			each["labels"], _ = json.Marshal(made.all)
			mark(each, source.Tier, source)
			if source.Tier == "hot" {
				hot = append(hot, made)
			} else {
				cold = append(cold, made)
			}
		}
	}
	for _, isSame := range []func(one, other *alert) bool{
		func(one, other *alert) bool { return maps.Equal(one.all, other.own) },
		func(one, other *alert) bool {
			return !one.isPaired && maps.Equal(one.own, other.own) && string(one.element["activeAt"]) == string(other.element["activeAt"])
		},
		func(one, other *alert) bool { return !one.isPaired && maps.Equal(one.own, other.own) },
	} {
		for _, other := range cold {
			if at := slices.IndexFunc(hot, func(one *alert) bool { return isSame(one, other) }); at >= 0 && !other.isPaired {
				// Of several with the same labels, the last one was found in 0.1.0.
				for i := range hot {
					if !hot[at].isPaired && maps.Equal(hot[i].all, other.own) {
						at = i
					}
				}
				hot[at].isPaired, other.isPaired = true, true
				mark(hot[at].element, "hot,cold", hot[at].source)
			}
		}
	}
	united := []element{}
	for _, each := range hot {
		united = append(united, each.element)
	}
	for _, each := range cold {
		if !each.isPaired {
			united = append(united, each.element)
		}
	}
	return json.Marshal(map[string]any{"alerts": united})
}
