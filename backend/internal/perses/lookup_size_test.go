package perses

import (
	"encoding/json"
	"fmt"
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

// Where Perses authenticates nobody, every made-up credential makes an entry.
func TestLookup_WhatIsKeptIsBoundedInBytes(t *testing.T) {
	spec := `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}},"queryParams":{"a":"` + strings.Repeat("x", maxSpecBytes/2) + `"}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]string{"name": "metrics"}, "spec": map[string]any{
			"plugin": map[string]any{"kind": Kind, "spec": json.RawMessage(spec)},
		}})
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client, err := NewClient(Options{URL: base, Timeout: time.Minute, Transport: http.DefaultTransport, Now: time.Now})
	require.NoError(t, err)
	for i := range 300 {
		incoming := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		incoming.Header.Set("Authorization", fmt.Sprintf("Bearer made-up-%d", i))
		found, err := client.Lookup(t.Context(), Reference{Name: "metrics"}, CallerOf(incoming))
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("x", maxSpecBytes/2), found.Spec.QueryParams["a"])
		require.LessOrEqual(t, client.kept.Load(), int64(cacheBytes))
		require.Equal(t, client.kept.Load(), int64(client.cache.Len()*specFactor*len(spec)))
	}
	require.Less(t, client.cache.Len(), 300)
	require.Positive(t, client.cache.Len())

	// What is kept anew takes the place of what was kept before.
	key := Caller{}.cacheKey("again")
	for range 3 {
		client.keep(key, entry{datasource: &Datasource{size: len(spec)}})
	}
	require.Equal(t, client.kept.Load(), int64(client.cache.Len()*specFactor*len(spec)))
}
