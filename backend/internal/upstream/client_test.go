package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func client(t *testing.T, address string, access *TransportConfig) *Client {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	made, err := NewClient(ClientOptions{URL: base, Transport: access, PoolSize: 4, Header: http.Header{"X-Scope-Orgid": {"tenant"}}})
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
}

// describeProbe asks a server for what a probe asks, and returns what Describe says
// of the failure; nothing where there is none.
func describeProbe(t *testing.T, asked *Client) string {
	t.Helper()
	if _, _, err := asked.Get(t.Context(), "/api/v1/query", url.Values{"query": {"vector(1)"}}); err != nil {
		return Describe(err)
	}
	return ""
}

func TestClient_RequestsToTheTier(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	made := client(t, fake.URL+"/prefix/", nil)
	request := &promapi.Request{
		Method: http.MethodPost, Path: "/api/v1/label/a%2Fb/values", RawQuery: "x=1", Body: []byte("query=up"),
		Header:     http.Header{"Content-Type": {"text/plain"}, "Accept": {"a", "b"}},
		Parameters: url.Values{"x": {"1"}, "query": {"up"}},
	}
	response, err := made.Do(t.Context(), request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	seen := fake.Requests()[0]
	require.Equal(t, "/prefix/api/v1/label/a%2Fb/values", seen.Path)
	require.Equal(t, url.Values{"x": {"1"}, "query": {"up"}}, seen.Parameters)
	require.Equal(t, "query=up", seen.Body)
	seen.Header.Del("Content-Length")
	require.Equal(t, http.Header{
		"Content-Type": {"text/plain"}, "Accept": {"a", "b"}, "User-Agent": {"tierproxy"}, "X-Scope-Orgid": {"tenant"},
	}, seen.Header, "nothing else, not even what makes Go's client try again")
	require.NotContains(t, request.Header, "X-Scope-Orgid", "the request is shared by both tries")
}

// What is said of a failed tier is read by callers: no address, no query.
func TestDescribe_NamesNoAddress(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(faketier.Hang))
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(closed.Close)
	refused, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusedURL := "http://" + refused.Addr().String()
	require.NoError(t, refused.Close())
	ask := func(ctx context.Context, address string) error {
		_, _, err := client(t, address, nil).Get(ctx, "/secret", url.Values{"query": {"secret"}})
		require.Error(t, err)
		return err
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cancelled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	for expected, err := range map[string]error{
		"it refused the connection":            ask(t.Context(), refusedURL),
		"it closed the connection":             ask(t.Context(), closed.URL),
		"it did not answer in time":            ask(short, plain.URL),
		"the request was cancelled":            ask(cancelled, plain.URL),
		"it does not speak TLS on this port":   ask(t.Context(), strings.Replace(closed.URL, "http:", "https:", 1)),
		"its host name was not found":          &net.DNSError{Err: "no such host", Name: "secret", IsNotFound: true},
		"it could not be reached":              errors.New("secret"),
		"answered with status 404 (Not Found)": &StatusError{Status: 404},
	} {
		require.Equal(t, expected, Describe(err), "%v", err)
		require.NotContains(t, Describe(err), "secret")
	}
}

func TestClient_RedirectIsNotFollowed(t *testing.T) {
	elsewhere := faketier.New()
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	_, _, err := client(t, server.URL, nil).Get(t.Context(), "/api/v1/query", nil)
	require.Equal(t, "answered with status 307 (Temporary Redirect)", Describe(err))
	require.Empty(t, elsewhere.Requests())
}
