//go:build e2e

package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// question is one request.
type question struct {
	endpoint string
	values   url.Values
	header   http.Header
	// origin says where it comes from.
	origin string
}

// String shows what has to be typed to ask again.
func (q question) String() string {
	return fmt.Sprintf("%s [%s] %s", q.endpoint, q.origin, q.values.Encode()) + "\n      " + q.values.Get("query")
}

// reply is what a server answered.
type reply struct {
	status       int
	tier, reason string
	source       string // external labels of the source that answered
	cache        string // how much of it came from the cache
	errorType    string
	message      string
	data         any
	warnings     []string
}

func ask(ctx context.Context, base string, q question) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/"+q.endpoint+"?"+q.values.Encode(), http.NoBody)
	if err != nil {
		return reply{}, err
	}
	for name, values := range q.header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	var decoded struct {
		Data      any      `json:"data"`
		ErrorType string   `json:"errorType"`
		Error     string   `json:"error"`
		Warnings  []string `json:"warnings"`
	}
	if err := json.Unmarshal(body, &decoded); err != nil {
		return reply{}, fmt.Errorf("%w: %s", err, body)
	}
	return reply{
		status: response.StatusCode, tier: response.Header.Get("X-Tier"), reason: response.Header.Get("X-Tier-Reason"),
		source: response.Header.Get("X-Tier-Source"), cache: response.Header.Get("X-Tier-Cache"),
		errorType: decoded.ErrorType, message: decoded.Error, data: decoded.Data, warnings: decoded.Warnings,
	}, nil
}

// difference says how two replies differ; empty when they are equal.
func difference(expected, got reply) string {
	if expected.status != got.status || expected.errorType != got.errorType {
		return fmt.Sprintf("status %d %s %q, expected %d %s %q", got.status, got.errorType, got.message, expected.status, expected.errorType, expected.message)
	}
	if expected.status != http.StatusOK {
		return ""
	}
	return differ("", normalize(expected.data), normalize(got.data))
}

// normalize turns the list of series of a query answer into a map by their
// labels, and leaves out what only one server says beside the result.
func normalize(data any) any {
	object, ok := data.(map[string]any)
	if !ok {
		return data
	}
	result, ok := object["result"].([]any)
	if !ok || (object["resultType"] != "vector" && object["resultType"] != "matrix") {
		return map[string]any{"resultType": object["resultType"], "result": object["result"]}
	}
	series := map[string]any{}
	for _, each := range result {
		one, _ := each.(map[string]any)
		name, _ := json.Marshal(one["metric"])
		for series[string(name)] != nil {
			name = append(name, '+')
		}
		series[string(name)] = map[string]any{"value": one["value"], "values": one["values"], "histogram": one["histogram"], "histograms": one["histograms"]}
	}
	return map[string]any{"resultType": object["resultType"], "result": series}
}

func differ(path string, expected, got any) string {
	switch expected := expected.(type) {
	case map[string]any:
		other, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: %v, expected an object", path, got)
		}
		for name := range expected {
			if _, found := other[name]; !found {
				return fmt.Sprintf("%s: %s is missing (%d instead of %d)", path, name, len(other), len(expected))
			}
		}
		for name, value := range other {
			if _, found := expected[name]; !found {
				return fmt.Sprintf("%s: %s is too much (%d instead of %d)", path, name, len(other), len(expected))
			}
			if found := differ(path+"/"+name, expected[name], value); found != "" {
				return found
			}
		}
		return ""
	case []any:
		other, ok := got.([]any)
		if !ok || len(other) != len(expected) {
			return fmt.Sprintf("%s: %s, expected %s", path, short(got), short(expected))
		}
		for i := range expected {
			if found := differ(fmt.Sprintf("%s[%d]", path, i), expected[i], other[i]); found != "" {
				return found
			}
		}
		return ""
	case string:
		other, ok := got.(string)
		if ok && (expected == other || sameNumber(expected, other)) {
			return ""
		}
		return fmt.Sprintf("%s: %v, expected %v", path, got, expected)
	}
	if fmt.Sprint(expected) != fmt.Sprint(got) {
		return fmt.Sprintf("%s: %v, expected %v", path, got, expected)
	}
	return ""
}

func short(value any) string {
	text := fmt.Sprint(value)
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return text
}

// sameNumber compares values: the order in which numbers are added may differ,
// and with it the last digits.
func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX != nil || errY != nil {
		return false
	}
	if x == y || (math.IsNaN(x) && math.IsNaN(y)) {
		return true
	}
	return math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y)) || math.Abs(x-y) < 1e-12
}

// hasOwnWarning reports whether the gateway itself says that the answer may
// differ.
func (r reply) hasOwnWarning() bool {
	return slices.ContainsFunc(r.warnings, func(warning string) bool {
		return strings.Contains(warning, "the hot tier ") || strings.Contains(warning, "the cold tier ")
	})
}

// warnsOfEnd reports whether the gateway says that the tier that answered does not hold
// everything: more is read than cold holds yet, or than hot holds still.
func (r reply) warnsOfEnd() bool {
	return slices.ContainsFunc(r.warnings, func(warning string) bool {
		return strings.Contains(warning, "the cold tier answered, whose data ends at") || strings.Contains(warning, "the hot tier answered, whose data begins at")
	})
}

// lacksStore reports whether cold says that it could not reach a store.
func (r reply) lacksStore() bool {
	return slices.ContainsFunc(r.warnings, func(warning string) bool { return strings.HasPrefix(warning, "fetch series for ") })
}

// metadataDifference compares an answer of series, labels or values. Prometheus
// answers them from whole blocks and chunks, so that what lies outside of the
// time range may appear or not, depending on how the samples are cut into
// blocks. What has a sample in the range must be there; what has none at any
// time must not.
func metadataDifference(ctx context.Context, oracle string, asked question, expected, got reply) (string, error) {
	if expected.status != http.StatusOK || got.status != http.StatusOK {
		return difference(expected, got), nil
	}
	start, _ := strconv.ParseFloat(asked.values.Get("start"), 64)
	end, _ := strconv.ParseFloat(asked.values.Get("end"), 64)
	selector := asked.values.Get("match[]")
	if selector == "" {
		selector = `{__name__!=""}`
	}
	inRange, err := ask(ctx, oracle, question{endpoint: "query", values: url.Values{
		"query": {fmt.Sprintf("last_over_time(%s[%dms])", selector, int64(math.Round((end-start)*1000))+1)}, "time": {asked.values.Get("end")},
	}})
	if err != nil {
		return "", err
	}
	must := itemsOfSeries(asked.endpoint, inRange.data)
	ever := asked
	ever.values = maps.Clone(asked.values)
	ever.values.Del("start")
	ever.values.Del("end")
	may, err := ask(ctx, oracle, ever)
	if err != nil {
		return "", err
	}
	items := itemsOf(got.data)
	for item := range must {
		if !items[item] {
			return fmt.Sprintf("%s is missing", item), nil
		}
	}
	all := itemsOf(may.data)
	for item := range items {
		// Thanos lists replica labels although it removes them from series.
		if !all[item] && item != "replica" {
			return fmt.Sprintf("%s is too much", item), nil
		}
	}
	return "", nil
}

// itemsOf are the items of a metadata answer as texts.
func itemsOf(data any) map[string]bool {
	items := map[string]bool{}
	list, _ := data.([]any)
	for _, each := range list {
		if text, ok := each.(string); ok {
			items[text] = true
			continue
		}
		text, _ := json.Marshal(each)
		items[string(text)] = true
	}
	return items
}

// itemsOfSeries are the items that an endpoint has to answer for the series of
// a query answer.
func itemsOfSeries(endpoint string, data any) map[string]bool {
	items := map[string]bool{}
	object, _ := data.(map[string]any)
	result, _ := object["result"].([]any)
	for _, each := range result {
		one, _ := each.(map[string]any)
		metric, _ := one["metric"].(map[string]any)
		switch endpoint {
		case "series":
			text, _ := json.Marshal(metric)
			items[string(text)] = true
		case "labels":
			for name := range metric {
				items[name] = true
			}
		default:
			name := strings.TrimSuffix(strings.TrimPrefix(endpoint, "label/"), "/values")
			if value, ok := metric[name].(string); ok {
				items[value] = true
			}
		}
	}
	return items
}
