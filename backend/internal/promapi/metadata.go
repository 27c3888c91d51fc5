package promapi

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Envelope is an answer that is written here.
type Envelope struct {
	// Data is the data of a successful answer.
	Data json.RawMessage
	// Warnings and Infos are the annotations that came with it.
	Warnings, Infos []string
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

// IsEmpty tells whether an answer of any endpoint holds nothing.
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
