package livestream

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Difference counts the equal samples of two matrices, each the data of an answer to query_range, or says where
// they differ.
func Difference(expected, got any) (points int, problem string) {
	samples := func(of any) map[string]string {
		all := map[string]string{}
		object, _ := of.(map[string]any)
		result, _ := object["result"].([]any)
		for _, each := range result {
			series, _ := each.(map[string]any)
			name, _ := json.Marshal(series["metric"])
			for _, kind := range []string{"values", "histograms"} {
				list, _ := series[kind].([]any)
				for _, sample := range list {
					if pair, _ := sample.([]any); len(pair) == 2 {
						all[fmt.Sprintf("%s %s %v", name, kind, pair[0])] = fmt.Sprint(pair[1])
					}
				}
			}
		}
		return all
	}
	left, right := samples(expected), samples(got)
	for at, value := range left {
		if other, exists := right[at]; !exists || !isSame(value, other) {
			return 0, fmt.Sprintf("%s is %q and not %q", at, other, value)
		}
	}
	if len(right) != len(left) {
		return 0, fmt.Sprintf("%d samples and not %d", len(right), len(left))
	}
	return len(left), ""
}

// isSame compares values: the order in which numbers are added may differ, and with it the last digits.
func isSame(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return a == b || (errX == nil && errY == nil && math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y)))
}
