package perses

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// TestLookup_LargeAnswersAreRefused lets Perses answer with a large spec, and
// with a large document.
func TestLookup_LargeAnswersAreRefused(t *testing.T) {
	proxy := `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}},"queryParams":{"a":"` + strings.Repeat("x", maxSpecBytes) + `"}}`
	var padding string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"padding": padding, "metadata": map[string]string{"name": "metrics"}, "spec": map[string]any{
			"plugin": map[string]any{"kind": Kind, "spec": json.RawMessage(proxy)},
		}})
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client, err := NewClient(Options{URL: base, Timeout: time.Minute, Transport: http.DefaultTransport, Now: time.Now})
	require.NoError(t, err)
	_, err = client.Lookup(t.Context(), Reference{Name: "metrics"}, Caller{})
	require.Equal(t, http.StatusBadRequest, promapi.AsError(err).Status, err)
	require.ErrorContains(t, err, "larger than")
	padding = strings.Repeat("x", maxDocumentBytes)
	_, err = client.Lookup(t.Context(), Reference{Name: "metrics"}, Caller{})
	require.Equal(t, http.StatusBadGateway, promapi.AsError(err).Status, err)
	require.ErrorContains(t, err, "larger than")
}
