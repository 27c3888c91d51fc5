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

// MayBeEmpty reports whether an answer that starts like this can hold nothing.
func MayBeEmpty(start []byte) bool {
	start = bytes.TrimSpace(start)
	if len(start) > 0 && start[0] != '{' {
		return false
	}
	for _, list := range []string{`"result":[`, `"data":[`} {
		if _, rest, ok := bytes.Cut(start, []byte(list)); ok {
			rest = bytes.TrimSpace(rest)
			return len(rest) == 0 || rest[0] == ']'
		}
	}
	return true
}
