//go:build e2e

package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// server is something that answers questions.
type server struct {
	// base is the URL before /api/v1.
	base   string
	header map[string]string
	// isVictoriaMetrics is set for a server that has to be asked for exactly the times of a query.
	isVictoriaMetrics bool
}

// answer is what a server says.
type answer struct {
	status         int
	tier, reason   string
	fromCache      bool
	kind           string                       // vector, matrix, scalar or list
	points         map[string]map[string]string // values by series and time; empty of a list
	items          []string                     // of a list
	warnings       []string
	errorType, why string
	body           string
}

// ask asks a server.
func (s server) ask(ctx context.Context, endpoint string, values url.Values) (answer, error) {
	if s.isVictoriaMetrics {
		values = maps.Clone(values)
		values.Set("nocache", "1")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/api/v1/"+endpoint+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return answer{}, err
	}
	for name, value := range s.header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return answer{}, err
	}
	var read struct {
		Data             json.RawMessage
		Warnings         []string
		ErrorType, Error string
	}
	if err := json.Unmarshal(body, &read); err != nil {
		return answer{}, fmt.Errorf("%w: status %d: %s", err, response.StatusCode, body[:min(len(body), 300)])
	}
	kept, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("X-Tier-Cache"), "steps="), "/")
	found := answer{
		status: response.StatusCode, tier: response.Header.Get("X-Tier"), reason: response.Header.Get("X-Tier-Reason"),
		fromCache: strings.Contains(response.Header.Get("X-Tier-Cache"), "steps=") && kept != "0",
		warnings:  read.Warnings, errorType: read.ErrorType, why: read.Error, body: string(body),
	}
	if response.StatusCode != http.StatusOK {
		return found, nil
	}
	return found, found.read(read.Data)
}

// read reads the data of an answer.
func (a *answer) read(data json.RawMessage) error {
	if bytes.HasPrefix(data, []byte("[")) {
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		a.kind = "list"
		for _, each := range list {
			var item any
			_ = json.Unmarshal(each, &item) // It was valid a line ago.
			sorted, _ := json.Marshal(item)
			a.items = append(a.items, string(sorted))
		}
		slices.Sort(a.items)
		return nil
	}
	var read struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	a.kind, a.points = read.ResultType, map[string]map[string]string{}
	var series []struct {
		Metric map[string]string
		Value  []any
		Values [][]any
	}
	if err := json.Unmarshal(read.Result, &series); err != nil {
		return err
	}
	for _, each := range series {
		name, _ := json.Marshal(each.Metric)
		points := map[string]string{}
		for _, pair := range append(each.Values, each.Value) {
			if len(pair) == 2 {
				points[strconv.FormatFloat(pair[0].(float64), 'f', 3, 64)] = fmt.Sprint(pair[1])
			}
		}
		if a.points[string(name)] != nil {
			return fmt.Errorf("the series %s is there twice", name)
		}
		a.points[string(name)] = points
	}
	return nil
}

// difference says how an answer differs from the expected one; empty if it does not. topk may take
// another one of equal values.
func difference(expected, got answer) string {
	switch {
	case expected.status != got.status:
		return fmt.Sprintf("status %d (%s), expected %d", got.status, got.why, expected.status)
	case expected.status != http.StatusOK:
		return ""
	case expected.kind != got.kind:
		return fmt.Sprintf("a %s, expected a %s", got.kind, expected.kind)
	case !slices.Equal(expected.items, got.items):
		return fmt.Sprintf("%d items, expected %d: %v, expected %v", len(got.items), len(expected.items), short(got.items), short(expected.items))
	}
	for _, name := range slices.Sorted(maps.Keys(expected.points)) {
		other, exists := got.points[name]
		if !exists {
			return fmt.Sprintf("%s is missing (%d series instead of %d: %s)", name, len(got.points), len(expected.points), short(slices.Sorted(maps.Keys(got.points))))
		}
		if differs := differentPoints(expected.points[name], other); differs != "" {
			return name + ": " + differs
		}
	}
	if len(got.points) > len(expected.points) {
		return fmt.Sprintf("%d series instead of %d: %s", len(got.points), len(expected.points), short(slices.Sorted(maps.Keys(got.points))))
	}
	return ""
}

// differentPoints says how the points of a series differ.
func differentPoints(expected, got map[string]string) string {
	var list []string
	for _, at := range slices.Sorted(maps.Keys(expected)) {
		if !sameNumber(expected[at], got[at]) {
			list = append(list, fmt.Sprintf("%q instead of %q at %s", got[at], expected[at], at))
		}
	}
	for _, at := range slices.Sorted(maps.Keys(got)) {
		if _, exists := expected[at]; !exists {
			list = append(list, fmt.Sprintf("%q at %s is too much", got[at], at))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d points differ: %s", len(list), len(expected), strings.Join(list[:min(len(list), 3)], ", "))
}

// sameNumber compares values: the order of a sum changes the last digits.
func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX != nil || errY != nil {
		return a == b
	}
	return x == y || (math.IsNaN(x) && math.IsNaN(y)) || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y)) || math.Abs(x-y) < 1e-12
}

func short(list []string) string {
	text := strings.Join(list[:min(len(list), 3)], " ")
	return text[:min(len(text), 400)]
}

// ownWarnings are those of the gateway: it says which tier may be wrong, or that it speaks another language.
func (a *answer) ownWarnings() (list []string) {
	for _, each := range a.warnings {
		if strings.Contains(each, "the hot tier") || strings.Contains(each, "the cold tier") || promapi.IsAboutLanguage(each) {
			list = append(list, each)
		}
	}
	return list
}

// post sends samples by remote write.
func post(ctx context.Context, target string, header map[string]string, list []prompb.TimeSeries) error {
	if len(list) == 0 {
		return nil
	}
	text, err := (&prompb.WriteRequest{Timeseries: list}).Marshal()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(snappy.Encode(nil, text)))
	if err != nil {
		return err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode < http.StatusMultipleChoices {
		return err
	}
	return fmt.Errorf("status %d: %s", response.StatusCode, body)
}

// sameOrLater reports whether a value in seconds is not before a time.
func sameOrLater(value string, at time.Time) bool {
	number, err := strconv.ParseFloat(value, 64)
	return err == nil && number >= float64(at.Unix())
}
