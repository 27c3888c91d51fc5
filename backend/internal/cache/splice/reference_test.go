package splice_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// This file is how version 0.1.0 united answers: decoded into Go values, and
// compared each with each. What is written out from bytes has to say the same.

func undecodable(err error) error { return err }

// referenceAddLabels puts labels into the answer of an endpoint: into every series of
// series and query_exemplars, and among the names of labels.
func referenceAddLabels(endpoint promapi.Endpoint, data json.RawMessage, added map[string]string) (json.RawMessage, error) {
	switch endpoint {
	case promapi.Labels:
		var names []string
		if err := json.Unmarshal(data, &names); err != nil {
			return nil, undecodable(err)
		}
		if len(names) == 0 {
			return data, nil // No series, so no labels.
		}
		names = append(names, slices.Collect(maps.Keys(added))...)
		slices.Sort(names)
		return json.Marshal(slices.Compact(names))
	case promapi.Series:
		var series []map[string]string
		if err := json.Unmarshal(data, &series); err != nil {
			return nil, undecodable(err)
		}
		for _, labels := range series {
			maps.Copy(labels, added)
		}
		return json.Marshal(sortSeries(series))
	case promapi.QueryExemplars:
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, undecodable(err)
		}
		for _, each := range list {
			var labels map[string]string
			if err := json.Unmarshal(each["seriesLabels"], &labels); err != nil {
				return nil, undecodable(err)
			}
			maps.Copy(labels, added)
			encoded, err := json.Marshal(labels)
			if err != nil {
				return nil, err
			}
			each["seriesLabels"] = encoded
		}
		return json.Marshal(list)
	default:
		return data, nil // The other answers hold no labels.
	}
}

// referenceUnite returns the union of two answers of the same metadata endpoint, sorted
// as Prometheus sorts. A limit above zero cuts it; truncated is set if it did.
func referenceUnite(endpoint promapi.Endpoint, first, second json.RawMessage, limit int) (united json.RawMessage, truncated bool, err error) {
	switch endpoint {
	case promapi.Labels, promapi.LabelValues:
		return uniteLists(first, second, limit)
	case promapi.Series:
		return uniteSeries(first, second, limit)
	case promapi.QueryExemplars:
		return uniteExemplars(first, second)
	case promapi.Metadata:
		return uniteMetadata(first, second, limit)
	default:
		return nil, false, errors.New("no union")
	}
}

func uniteLists(first, second json.RawMessage, limit int) (json.RawMessage, bool, error) {
	var one, other []string
	if err := unmarshalBoth(first, second, &one, &other); err != nil {
		return nil, false, err
	}
	one = append(one, other...)
	slices.Sort(one)
	one = slices.Compact(one)
	return marshalLimited(one, limit)
}

func uniteSeries(first, second json.RawMessage, limit int) (json.RawMessage, bool, error) {
	var one, other []map[string]string
	if err := unmarshalBoth(first, second, &one, &other); err != nil {
		return nil, false, err
	}
	one = slices.CompactFunc(sortSeries(append(one, other...)), maps.Equal[map[string]string, map[string]string])
	return marshalLimited(one, limit)
}

// uniteExemplars joins the exemplars of the same series, and sorts as Prometheus does.
func uniteExemplars(first, second json.RawMessage) (json.RawMessage, bool, error) {
	type series struct {
		SeriesLabels map[string]string `json:"seriesLabels"`
		Exemplars    []json.RawMessage `json:"exemplars"`
	}
	var one, other []series
	if err := unmarshalBoth(first, second, &one, &other); err != nil {
		return nil, false, err
	}
	for _, each := range other {
		at := slices.IndexFunc(one, func(known series) bool { return maps.Equal(known.SeriesLabels, each.SeriesLabels) })
		if at < 0 {
			one = append(one, each)
			continue
		}
		one[at].Exemplars = append(one[at].Exemplars, each.Exemplars...)
	}
	compare := func(a, b json.RawMessage) int {
		var decoded [2]struct {
			Labels    map[string]string
			Value     any
			Timestamp float64
		}
		for i, text := range []json.RawMessage{a, b} {
			_ = json.Unmarshal(text, &decoded[i]) // It was written by this test.
		}
		number := func(value any) float64 {
			number, _ := strconv.ParseFloat(fmt.Sprint(value), 64)
			return number
		}
		return cmp.Or(cmp.Compare(decoded[0].Timestamp, decoded[1].Timestamp), strings.Compare(decoded[0].Labels["trace"], decoded[1].Labels["trace"]),
			cmp.Compare(number(decoded[0].Value), number(decoded[1].Value)))
	}
	for i := range one {
		slices.SortStableFunc(one[i].Exemplars, compare)
		one[i].Exemplars = slices.CompactFunc(one[i].Exemplars, func(a, b json.RawMessage) bool { return compare(a, b) == 0 })
	}
	slices.SortFunc(one, func(a, b series) int { return strings.Compare(labelText(a.SeriesLabels), labelText(b.SeriesLabels)) })
	return marshalLimited(one, 0)
}

// uniteMetadata joins what is known of the same metric.
func uniteMetadata(first, second json.RawMessage, limit int) (json.RawMessage, bool, error) {
	var one, other map[string][]json.RawMessage
	if err := unmarshalBoth(first, second, &one, &other); err != nil {
		return nil, false, err
	}
	if one == nil {
		one = map[string][]json.RawMessage{}
	}
	for name, entries := range other {
		for _, entry := range entries {
			if !slices.ContainsFunc(one[name], func(known json.RawMessage) bool { return sameJSON(known, entry) }) {
				one[name] = append(one[name], entry)
			}
		}
	}
	truncated := false
	if limit > 0 && len(one) > limit {
		for _, name := range slices.Sorted(maps.Keys(one))[limit:] {
			delete(one, name)
		}
		truncated = true
	}
	encoded, err := json.Marshal(one)
	return encoded, truncated, err
}

func sameJSON(one, other json.RawMessage) bool {
	var a, b any
	if json.Unmarshal(one, &a) != nil || json.Unmarshal(other, &b) != nil {
		return false
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func unmarshalBoth(first, second json.RawMessage, one, other any) error {
	if err := json.Unmarshal(first, one); err != nil {
		return undecodable(err)
	}
	if err := json.Unmarshal(second, other); err != nil {
		return undecodable(err)
	}
	return nil
}

func marshalLimited[T any](list []T, limit int) (json.RawMessage, bool, error) {
	truncated := limit > 0 && len(list) > limit
	if truncated {
		list = list[:limit]
	}
	if list == nil {
		list = []T{}
	}
	encoded, err := json.Marshal(list)
	return encoded, truncated, err
}

// sortSeries sorts label sets as Prometheus does: by names and values in turn.
func sortSeries(series []map[string]string) []map[string]string {
	slices.SortFunc(series, func(a, b map[string]string) int { return strings.Compare(labelText(a), labelText(b)) })
	return series
}

func labelText(labels map[string]string) string {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		key.WriteString(name + "\xff" + labels[name] + "\xff")
	}
	return key.String()
}

// referenceLimitResult cuts the result of a query answer to its first series, as
// Prometheus does for the parameter limit.
func referenceLimitResult(data json.RawMessage, limit int) (limited json.RawMessage, truncated bool, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, false, undecodable(err)
	}
	var kind string
	if err := json.Unmarshal(members["resultType"], &kind); err != nil {
		return nil, false, undecodable(err)
	}
	if kind != "vector" && kind != "matrix" {
		return data, false, nil
	}
	var result []json.RawMessage
	if err := json.Unmarshal(members["result"], &result); err != nil {
		return nil, false, undecodable(err)
	}
	if len(result) <= limit {
		return data, false, nil
	}
	if members["result"], err = json.Marshal(result[:limit]); err != nil {
		return nil, false, err
	}
	limited, err = json.Marshal(members)
	return limited, true, err
}

// tierField is the field of a group of rules, and of an alert, that says which
// tier it comes from. Clients of Prometheus pass over fields that they do not
// know.
const tierField = "tier"

// referenceUniteRules returns the groups of rules of two tiers, those of hot first, each
// with its tier in the field "tier". A group that both have, as a Thanos does
// of the rules of its Prometheus, is there once, as hot has it, with both tiers.
func referenceUniteRules(hot, cold json.RawMessage) (json.RawMessage, error) {
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
		slices.Sort(keys) // Thanos has another order.
		return string(group["name"]) + "\x01" + strings.Join(keys, "\x01"), nil
	})
}

// referenceUniteAlerts returns the alerts of two tiers, those of hot first, each with its
// tier in the field "tier". added are the labels that hot's alerts get on the way
// out, and that they are given here. An alert that both have is there once.
func referenceUniteAlerts(hot, cold json.RawMessage, added map[string]string) (json.RawMessage, error) {
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
		answer := map[string][]map[string]json.RawMessage{}
		if err := json.Unmarshal(from.data, &answer); err != nil {
			return nil, undecodable(err)
		}
		for _, each := range answer[field] {
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
