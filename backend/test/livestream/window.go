package livestream

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
)

// About is the member live of an update.
type About struct {
	Start  float64 `json:"start"`
	End    float64 `json:"end"`
	Step   float64 `json:"step"`
	Tier   string  `json:"tier"`
	Reason string  `json:"reason"`
}

// update is the data of a snapshot or an append.
type update struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Metric     map[string]string    `json:"metric"`
			Values     [][2]json.RawMessage `json:"values"`
			Histograms [][2]json.RawMessage `json:"histograms"`
		} `json:"result"`
	} `json:"data"`
	Warnings []string `json:"warnings"`
	Live     About    `json:"live"`
}

// point is a sample as it was sent.
type point struct {
	at   int64 // in milliseconds since the Unix epoch
	text string
}

// series are the samples of a series in the order of time.
type series struct{ values, histograms []point }

// window is what a client has of a query. All times are in milliseconds since the Unix epoch.
type window struct {
	length, step int64
	// first and last are the steps that the client has; last is zero before the first update.
	first, last int64
	// id is that of the last update.
	id     int64
	series map[string]*series // by labels in JSON
}

// applied counts the steps of an update.
type applied struct {
	// fresh steps are new, changed ones had other samples, and same ones had the same.
	fresh, changed, same int
	// isNeedless is set if the first step of an append had the same samples.
	isNeedless bool
	// hasHole is set if an append begins after the step that follows the last one.
	hasHole bool
	// wasSettled is set if an append changes a step until the id.
	wasSettled bool
}

func milliseconds(seconds float64) int64 { return int64(math.Round(seconds * 1000)) }

// apply applies a snapshot or an append.
func (w *window) apply(isSnapshot bool, of *update, id int64) (applied, error) {
	start, end, step := milliseconds(of.Live.Start), milliseconds(of.Live.End), milliseconds(of.Live.Step)
	incoming, err := pointsOf(of)
	switch {
	case err != nil:
		return applied{}, err
	case step <= 0 || start%step != 0 || end%step != 0 || start > end:
		return applied{}, fmt.Errorf("steps from %d to %d, each %d ms, are not multiples of the step", start, end, step)
	case w.step != 0 && w.step != step:
		return applied{}, fmt.Errorf("the step has changed from %d to %d ms", w.step, step)
	}
	if w.step = step; isSnapshot {
		w.series, w.first, w.last = incoming, start, end
		w.id = id
		w.forget()
		return applied{fresh: int((end-start)/step + 1)}, nil
	}
	if w.last == 0 {
		return applied{}, fmt.Errorf("an append from %d comes before any snapshot", start)
	}
	found := applied{hasHole: start > w.last+step, wasSettled: start <= w.id}
	before, after := columns(w.series, start, end), columns(incoming, start, end)
	for at := start; at <= end; at += step {
		switch {
		case at > w.last || at < w.first:
			found.fresh++
		case before[at] == after[at]:
			found.same++
			found.isNeedless = found.isNeedless || at == start
		default:
			found.changed++
		}
	}
	w.replace(incoming, start, end)
	w.last, w.id = max(w.last, end), id
	w.forget()
	return found, nil
}

// resume drops the steps after the id, as a client does that connects again.
func (w *window) resume() {
	if w.last > w.id {
		w.replace(nil, w.id+1, math.MaxInt64)
		w.last = max(w.id, w.first-w.step)
	}
}

// replace replaces the samples from a time to another, both inclusive.
func (w *window) replace(by map[string]*series, from, to int64) {
	if w.series == nil {
		w.series = map[string]*series{}
	}
	for key, added := range by {
		if w.series[key] == nil {
			w.series[key] = &series{}
		}
		known := w.series[key]
		known.values, known.histograms = spliced(known.values, added.values, from, to), spliced(known.histograms, added.histograms, from, to)
	}
	for key, known := range w.series {
		if by[key] == nil {
			known.values, known.histograms = spliced(known.values, nil, from, to), spliced(known.histograms, nil, from, to)
		}
	}
}

// forget drops the steps before the window.
func (w *window) forget() {
	w.first = max(w.first, w.last-w.length)
	for key, known := range w.series {
		known.values, known.histograms = since(known.values, w.first), since(known.histograms, w.first)
		if len(known.values)+len(known.histograms) == 0 {
			delete(w.series, key)
		}
	}
}

// index returns where a time is or would be.
func index(in []point, at int64) int {
	found, _ := slices.BinarySearchFunc(in, at, func(each point, at int64) int { return cmp.Compare(each.at, at) })
	return found
}

func since(in []point, at int64) []point { return slices.Delete(in, 0, index(in, at)) }

func spliced(in, by []point, from, to int64) []point {
	begin, end := index(in, from), len(in)
	if to < math.MaxInt64 {
		end = index(in, to+1)
	}
	return slices.Replace(in, begin, end, by...)
}

// seed is that of the hashes of columns.
var seed = maphash.MakeSeed()

// columns returns a hash of all samples of each step.
func columns(of map[string]*series, from, to int64) map[int64]uint64 {
	hashes := map[int64]uint64{}
	for key, each := range of {
		for kind, points := range [][]point{each.values, each.histograms} {
			for _, sample := range points[index(points, from):] {
				if sample.at > to {
					break
				}
				hashes[sample.at] += maphash.String(seed, fmt.Sprint(kind, key, sample.text)) // In whatever order.
			}
		}
	}
	return hashes
}

// pointsOf returns the samples of an update by series. It returns an error for what is no matrix on
// the steps of the update.
func pointsOf(of *update) (map[string]*series, error) {
	if of.Status != "success" || of.Data.ResultType != "matrix" {
		return nil, fmt.Errorf("status %q with a %q is no matrix", of.Status, of.Data.ResultType)
	}
	all := map[string]*series{}
	start, end, step := milliseconds(of.Live.Start), milliseconds(of.Live.End), milliseconds(of.Live.Step)
	for _, each := range of.Data.Result {
		key, err := json.Marshal(each.Metric)
		if err != nil {
			return nil, err
		}
		if all[string(key)] != nil {
			return nil, fmt.Errorf("the series %s is there twice", key)
		}
		made := &series{}
		all[string(key)] = made
		for into, samples := range map[*[]point][][2]json.RawMessage{&made.values: each.Values, &made.histograms: each.Histograms} {
			for _, sample := range samples {
				var at float64
				if err := json.Unmarshal(sample[0], &at); err != nil {
					return nil, err
				}
				if at := milliseconds(at); at < start || at > end || (step > 0 && at%step != 0) {
					return nil, fmt.Errorf("%s has a sample at %d, which is no step from %d to %d", key, at, start, end)
				}
				*into = append(*into, point{milliseconds(at), string(sample[1])})
			}
		}
	}
	return all, nil
}

// matrix returns what the client has from a step to another, both inclusive, as the API has it.
func (w *window) matrix(from, to int64) any {
	result := []any{}
	for _, key := range slices.Sorted(maps.Keys(w.series)) {
		var metric map[string]any
		_ = json.Unmarshal([]byte(key), &metric) // It was made from one.
		each := map[string]any{"metric": metric}
		for name, points := range map[string][]point{"values": w.series[key].values, "histograms": w.series[key].histograms} {
			var list []any
			for _, sample := range points[index(points, from):index(points, to+1)] {
				var value any
				_ = json.Unmarshal([]byte(sample.text), &value) // It was a part of JSON.
				list = append(list, []any{float64(sample.at) / 1000, value})
			}
			if list != nil {
				each[name] = list
			}
		}
		if len(each) > 1 {
			result = append(result, each)
		}
	}
	return map[string]any{"resultType": "matrix", "result": result}
}
