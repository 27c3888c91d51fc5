package promapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadRequest_LabelIsUnescaped(t *testing.T) {
	for path, expected := range map[string][2]string{
		"/api/v1/label/cluster/values":     {"cluster", "/api/v1/label/cluster/values"},
		"/api/v1/label/%63luster/values":   {"cluster", "/api/v1/label/cluster/values"},
		"/api/v1/label/U__cluster/values":  {"cluster", "/api/v1/label/cluster/values"},
		"/api/v1/label/%55__job/values":    {"job", "/api/v1/label/job/values"},
		"/api/v1/label/U____name__/values": {"_name_", "/api/v1/label/_name_/values"},

		"/api/v1/label/U______name____/values":              {"__name__", "/api/v1/label/__name__/values"},
		"/api/v1/label/U__k8s_2e_cluster_2e_name/values":    {"k8s.cluster.name", "/api/v1/label/k8s.cluster.name/values"},
		"/api/v1/label/k8s.cluster.name/values":             {"k8s.cluster.name", "/api/v1/label/k8s.cluster.name/values"},
		"/api/v1/label/U__caf_e9_/values":                   {"café", "/api/v1/label/caf%C3%A9/values"},
		"/api/v1/label/U__a_20_b_3f__26_/values":            {"a b?&", "/api/v1/label/a%20b%3F&/values"},
		"/api/v1/label/U__app_2e_kubernetes_2f_name/values": {"app.kubernetes/name", "/api/v1/label/U__app_2e_kubernetes_2f_name/values"},
		"/api/v1/label/U___2e__2e_/values":                  {"..", "/api/v1/label/U___2e__2e_/values"},

		// No escaping: the name is what it looks like.
		"/api/v1/label/U__bad_zz/values":     {"U__bad_zz", "/api/v1/label/U__bad_zz/values"},
		"/api/v1/label/U_cluster/values":     {"U_cluster", "/api/v1/label/U_cluster/values"},
		"/api/v1/label/my_U__cluster/values": {"my_U__cluster", "/api/v1/label/my_U__cluster/values"},
	} {
		request, err := ReadRequest(httptest.NewRequest(http.MethodGet, "/", http.NoBody), LabelValues, path, time.Unix(0, 0))
		require.NoError(t, err)
		require.Equal(t, expected, [2]string{request.Label, request.Path}, path)
	}
	// Other endpoints have no label.
	request, err := ReadRequest(httptest.NewRequest(http.MethodGet, "/", http.NoBody), Labels, "/api/v1/labels", time.Unix(0, 0))
	require.NoError(t, err)
	require.Equal(t, [2]string{"", "/api/v1/labels"}, [2]string{request.Label, request.Path})
}
