//go:build e2e

package e2e

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// Whatever a caller sends beside the credentials that Perses looks at, it is the
// same user for the turns at a tier.
func TestUser_IsTheOneWhomPersesAuthenticated(t *testing.T) {
	s := newGuardedSite(t, newRecorder(t))
	reader, outsider := s.session("reader"), s.session("outsider")
	with := func(header http.Header, name, value string) http.Header {
		header = header.Clone()
		header.Add(name, value)
		return header
	}
	client := persesClient(t, s.perses.URL)
	for name, test := range map[string]struct {
		header http.Header
		user   string
	}{
		"a token":                          {header(reader, nil), "reader"},
		"cookies":                          {header(nil, reader), "reader"},
		"a token with a junk signature":    {with(header(reader, nil), "Cookie", "jwtSignature=junk"), "reader"},
		"a token with a junk payload":      {with(header(reader, nil), "Cookie", "jwtPayload=junk"), "reader"},
		"a token with an impersonation":    {with(header(reader, nil), "Impersonate-User", "admin"), "reader"},
		"cookies win over another's token": {header(outsider, reader), "reader"},
		"cookies win over a junk token":    {with(header(nil, reader), "Authorization", "Bearer junk"), "reader"},
		"a junk token":                     {http.Header{"Authorization": {"Bearer junk"}}, ""},
		"nothing":                          {http.Header{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.user, client.User(t.Context(), perses.CallerOf(&http.Request{Header: test.header})))
		})
	}
}

func TestUser_IsNoneWherePersesAuthenticatesNobody(t *testing.T) {
	s := newSite(t, stack.Perses{}, document{"cold": document{"url": newRecorder(t).URL}})
	client := persesClient(t, s.perses.URL)
	for _, header := range []http.Header{
		{"Authorization": {"Bearer junk"}}, {"Cookie": {"jwtPayload=a.b; jwtSignature=c"}}, {"Impersonate-User": {"admin"}},
	} {
		require.Empty(t, client.User(t.Context(), perses.CallerOf(&http.Request{Header: header})))
	}
}

func persesClient(t *testing.T, address string) *perses.Client {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	client, err := perses.NewClient(perses.Options{URL: base, Timeout: 5 * time.Second, Transport: http.DefaultTransport, Now: time.Now})
	require.NoError(t, err)
	return client
}
