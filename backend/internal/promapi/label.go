package promapi

import (
	"net/url"
	"strings"

	"github.com/prometheus/common/model"
)

const (
	labelPrefix = "/api/v1/label/"
	labelSuffix = "/values"
	// escapedPrefix begins a name in the escaping that Prometheus calls "values":
	// U__k8s_2e_cluster is k8s.cluster. Grafana asks for every name in it.
	escapedPrefix = "U__"
)

// labelOfPath returns the label of /api/v1/label/NAME/values, unescaped, and the path
// that every tier understands: Thanos and Prometheus before 3.0 do not know the escaping
// of Prometheus. A name that no path segment can hold stays escaped. label is empty for
// other paths.
func labelOfPath(path string) (label, canonical string) {
	rest, _ := strings.CutPrefix(path, labelPrefix)
	segment, found := strings.CutSuffix(rest, labelSuffix)
	label, err := url.PathUnescape(segment)
	if !found || err != nil {
		return "", path
	}
	if strings.HasPrefix(label, escapedPrefix) {
		label = model.UnescapeName(label, model.ValueEncodingEscaping)
	}
	if strings.Contains(label, "/") || strings.Trim(label, ".") == "" {
		return label, path
	}
	return label, labelPrefix + url.PathEscape(label) + labelSuffix
}
