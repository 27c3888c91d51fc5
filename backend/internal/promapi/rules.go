package promapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// tierField is the field of a group of rules, and of an alert, that says which
// tier it comes from. Clients of Prometheus pass over fields that they do not
// know.
const tierField = "tier"

// PagingParameters are those by which a client asks for a part of the rules.
// The union of two servers has no such parts.
var PagingParameters = []string{"group_limit", "group_next_token"}

// UniteRules returns the groups of rules of two tiers, those of hot first, each
// with its tier in the field "tier". A group that both tell of, as a Thanos does
// of the rules of its Prometheus, is there once, as hot tells it, with both tiers.
func UniteRules(hot, cold json.RawMessage) (json.RawMessage, error) {
	return uniteTold("groups", hot, cold, func(group map[string]json.RawMessage) (string, error) {
		var rules []struct {
			Type  string `json:"type"`
			Name  string `json:"name"`
			Query string `json:"query"`
		}
		if err := json.Unmarshal(group["rules"], &rules); err != nil {
			return "", undecodable(err)
		}
		keys := make([]string, 0, len(rules))
		for _, rule := range rules {
			keys = append(keys, strings.Join([]string{rule.Type, rule.Name, rule.Query}, "\x00"))
		}
		slices.Sort(keys) // Thanos has an order of its own.
		return string(group["name"]) + "\x01" + strings.Join(keys, "\x01"), nil
	})
}

// UniteAlerts returns the alerts of two tiers, those of hot first, each with its
// tier in the field "tier". added are the labels that hot's alerts get on the way
// out, and that they are given here. An alert that both tell of is there once.
func UniteAlerts(hot, cold json.RawMessage, added map[string]string) (json.RawMessage, error) {
	return uniteTold("alerts", hot, cold, func(alert map[string]json.RawMessage) (string, error) {
		var labels map[string]string
		if err := json.Unmarshal(alert["labels"], &labels); err != nil {
			return "", undecodable(err)
		}
		if labels == nil {
			labels = map[string]string{}
		}
		for name, value := range added {
			if _, is := labels[name]; !is {
				labels[name] = value
			}
		}
		encoded, err := json.Marshal(labels) // The keys of a map come out sorted.
		return string(encoded), err
	}, func(alert map[string]json.RawMessage) error {
		var labels map[string]string
		if err := json.Unmarshal(alert["labels"], &labels); err != nil {
			return undecodable(err)
		}
		all := make(map[string]string, len(added)+len(labels)) // Before hot's labels are learned there are none to add.
		maps.Copy(all, added)
		maps.Copy(all, labels) // A label that an alert has itself wins, as in Prometheus.
		encoded, err := json.Marshal(all)
		alert["labels"] = encoded
		return err
	})
}

// uniteTold joins the lists that stand in a field of two answers. key identifies
// an element, and change is applied to those of hot.
func uniteTold(field string, hot, cold json.RawMessage, key func(map[string]json.RawMessage) (string, error), change ...func(map[string]json.RawMessage) error) (json.RawMessage, error) {
	united := []map[string]json.RawMessage{}
	at := map[string]int{}
	for _, from := range []struct {
		tier string
		data json.RawMessage
	}{{"hot", hot}, {"cold", cold}} {
		told := map[string][]map[string]json.RawMessage{}
		if err := json.Unmarshal(from.data, &told); err != nil {
			return nil, undecodable(err)
		}
		for _, each := range told[field] {
			identity, err := key(each)
			if err != nil {
				return nil, err
			}
			if known, found := at[identity]; found && from.tier == "cold" {
				united[known][tierField] = json.RawMessage(`"hot,cold"`)
				continue
			}
			if from.tier == "hot" {
				for _, apply := range change {
					if err := apply(each); err != nil {
						return nil, err
					}
				}
				at[identity] = len(united)
			}
			each[tierField] = json.RawMessage(`"` + from.tier + `"`)
			united = append(united, each)
		}
	}
	return json.Marshal(map[string]any{field: united})
}
