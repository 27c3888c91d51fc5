package promapi

import (
	"bytes"
	"encoding/json"
	"slices"
)

// TruncatedWarning is what Prometheus says when limit cut an answer.
const TruncatedWarning = "results truncated due to limit"

// IsEmpty reports whether an answer of any endpoint holds nothing.
func IsEmpty(body []byte) bool {
	var decoded envelope
	if json.Unmarshal(body, &decoded) != nil || decoded.Status != "success" {
		return false
	}
	var result struct {
		Result json.RawMessage `json:"result"`
	}
	data := decoded.Data
	if json.Unmarshal(data, &result) == nil && result.Result != nil {
		data = result.Result
	}
	var compact bytes.Buffer
	return json.Compact(&compact, data) == nil && slices.Contains([]string{"[]", "{}", "null"}, compact.String())
}
