package promapi

import "bytes"

// PartialWarning is the warning for an answer that says of itself, in the member
// isPartial, that it may lack data. A cluster of VictoriaMetrics answers so if it cannot
// read from one of its nodes.
const PartialWarning = "the answer says of itself that it is partial (isPartial): what some servers of the tier hold may be missing"

var (
	memberPartial = []byte(`"isPartial"`)
	memberData    = []byte(`"data"`)
)

// SaysPartial reports whether a JSON text of an answer, or a part of it, has the member
// isPartial with the value true. Within a JSON string the quotes would be escaped.
func SaysPartial(text []byte) bool {
	for {
		_, rest, found := bytes.Cut(text, memberPartial)
		if !found {
			return false
		}
		value, isMember := bytes.CutPrefix(bytes.TrimSpace(rest), []byte(":"))
		if isMember && bytes.HasPrefix(bytes.TrimSpace(value), []byte("true")) {
			return true
		}
		text = rest
	}
}

// BeginsData reports whether the start of an answer reaches to its data. Servers write
// isPartial before that.
func BeginsData(start []byte) bool { return bytes.Contains(start, memberData) }

// BeginsWithData reports whether the data is the first member of an answer. The other
// members follow it.
func BeginsWithData(start []byte) bool {
	inner, isObject := bytes.CutPrefix(bytes.TrimSpace(start), []byte("{"))
	return isObject && bytes.HasPrefix(bytes.TrimSpace(inner), memberData)
}
