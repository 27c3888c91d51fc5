package promapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Envelope is an answer of any endpoint with its data not decoded.
type Envelope struct {
	// Data is the data of a successful answer.
	Data json.RawMessage
	// Warnings and Infos are the annotations that came with it.
	Warnings, Infos []string
}

// ReadEnvelope reads a successful answer. It returns the errors of
// DecodeEnvelope.
func ReadEnvelope(status int, body io.Reader) (*Envelope, error) {
	data, warnings, infos, err := DecodeEnvelope(status, body)
	if err != nil {
		return nil, err
	}
	return &Envelope{Data: data, Warnings: warnings, Infos: infos}, nil
}

// Bytes writes the envelope as JSON.
func (e *Envelope) Bytes() ([]byte, error) {
	return json.Marshal(struct {
		Status   string          `json:"status"`
		Data     json.RawMessage `json:"data"`
		Warnings []string        `json:"warnings,omitempty"`
		Infos    []string        `json:"infos,omitempty"`
	}{"success", e.Data, e.Warnings, e.Infos})
}

// TruncatedWarning is what Prometheus says when limit cut an answer.
const TruncatedWarning = "results truncated due to limit"

// AddLabels puts labels into the answer of an endpoint: into every series of
// series and query_exemplars, and among the names of labels.
func AddLabels(endpoint Endpoint, data json.RawMessage, added map[string]string) (json.RawMessage, error) {
	switch endpoint {
	case Labels:
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
	case Series:
		var series []map[string]string
		if err := json.Unmarshal(data, &series); err != nil {
			return nil, undecodable(err)
		}
		for _, labels := range series {
			maps.Copy(labels, added)
		}
		return json.Marshal(sortSeries(series))
	case QueryExemplars:
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

// Unite returns the union of two answers of the same metadata endpoint, sorted
// as Prometheus sorts. A limit above zero cuts it; truncated tells that it did.
func Unite(endpoint Endpoint, first, second json.RawMessage, limit int) (united json.RawMessage, truncated bool, err error) {
	switch endpoint {
	case Labels, LabelValues:
		return uniteLists(first, second, limit)
	case Series:
		return uniteSeries(first, second, limit)
	case QueryExemplars:
		return uniteExemplars(first, second)
	case Metadata:
		return uniteMetadata(first, second, limit)
	default:
		return nil, false, Errorf(http.StatusInternalServerError, ErrorInternal, "answers of %s cannot be united", endpoint)
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

// uniteExemplars joins the exemplars of the same series.
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
		for _, exemplar := range each.Exemplars {
			if !slices.ContainsFunc(one[at].Exemplars, func(known json.RawMessage) bool { return bytes.Equal(known, exemplar) }) {
				one[at].Exemplars = append(one[at].Exemplars, exemplar)
			}
		}
	}
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
	text := func(labels map[string]string) string {
		var key strings.Builder
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			key.WriteString(name + "\xff" + labels[name] + "\xff")
		}
		return key.String()
	}
	slices.SortFunc(series, func(a, b map[string]string) int { return strings.Compare(text(a), text(b)) })
	return series
}

// LimitResult cuts the result of a query answer to its first series, as
// Prometheus does for the parameter limit.
func LimitResult(data json.RawMessage, limit int) (limited json.RawMessage, truncated bool, err error) {
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

// IsEmpty tells whether an answer of any endpoint holds nothing.
func IsEmpty(body []byte) bool {
	var decoded envelope
	if json.Unmarshal(body, &decoded) != nil || decoded.Status != "success" {
		return false
	}
	var result struct {
		Result json.RawMessage `json:"result"`
	}
	data := bytes.TrimSpace(decoded.Data)
	if json.Unmarshal(data, &result) == nil && result.Result != nil {
		data = bytes.TrimSpace(result.Result)
	}
	return bytes.Equal(data, []byte("[]")) || bytes.Equal(data, []byte("{}")) || bytes.Equal(data, []byte("null"))
}

// MayBeEmpty tells whether an answer that begins like this can hold nothing.
func MayBeEmpty(start []byte) bool {
	start = bytes.TrimSpace(start)
	if len(start) > 0 && start[0] != '{' {
		return false
	}
	for _, list := range []string{`"result":[`, `"data":[`} {
		if _, rest, found := bytes.Cut(start, []byte(list)); found {
			rest = bytes.TrimSpace(rest)
			return len(rest) == 0 || rest[0] == ']'
		}
	}
	return true
}
