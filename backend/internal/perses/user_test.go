package perses

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

func tokenOf(t *testing.T, subject string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Subject: subject}).SignedString([]byte("key"))
	require.NoError(t, err)
	return text
}

func TestUser_IsWhomPersesNames(t *testing.T) {
	bearer := http.Header{"Authorization": {"Bearer " + tokenOf(t, "alice")}}
	for name, test := range map[string]struct {
		answers map[string]string // bodies of status 200 by path; 404 for all others
		status  int               // for all paths, if not zero
		header  http.Header
		user    string
		asked   int64
	}{
		"named":                               {map[string]string{whoAmIPath: `{"kind":"User","metadata":{"name":"bob"}}`}, 0, bearer, "bob", 1},
		"no credentials":                      {map[string]string{whoAmIPath: `{"kind":"User","metadata":{"name":"bob"}}`}, 0, nil, "", 0},
		"no authentication":                   {nil, http.StatusUnauthorized, bearer, "", 1},
		"out of order":                        {nil, http.StatusInternalServerError, bearer, "", 2},
		"an old Perses":                       {map[string]string{"/api/v1/users/alice/permissions": `{}`}, 0, bearer, "alice", 2},
		"a page for every path":               {map[string]string{whoAmIPath: `<html>`, "/api/v1/users/alice/permissions": `<html>`}, 0, bearer, "", 2},
		"an old Perses denies the subject":    {map[string]string{"/api/v1/users/bob/permissions": `{}`}, 0, bearer, "", 2},
		"an old Perses, and no token to read": {nil, 0, http.Header{"Authorization": {"Basic x"}}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				body, found := test.answers[r.URL.Path]
				switch {
				case test.status != 0:
					w.WriteHeader(test.status)
				case !found:
					w.WriteHeader(http.StatusNotFound)
				default:
					_, _ = w.Write([]byte(body))
				}
			}))
			t.Cleanup(server.Close)
			base, err := url.Parse(server.URL)
			require.NoError(t, err)
			client, err := NewClient(Options{URL: base, Timeout: 5 * time.Second, Transport: http.DefaultTransport, Now: time.Now})
			require.NoError(t, err)
			for range 3 {
				require.Equal(t, test.user, client.User(t.Context(), caller(test.header)))
			}
			require.Equal(t, test.asked, asked.Load(), "it is asked once for the same credentials")
		})
	}
}

// What one caller was answered is not found for another.
func TestCacheKey_EveryFieldOfACaller(t *testing.T) {
	changes := map[string]func(*Caller){
		"authorization": func(c *Caller) { c.authorization = []string{"Bearer a"} },
		"cookies":       func(c *Caller) { c.cookies = []string{"Bearer a"} },
		"impersonate":   func(c *Caller) { c.impersonate = []string{"Bearer a"} },
		"service":       func(c *Caller) { c.service = true },
	}
	seen := map[cacheKey]string{Caller{}.cacheKey("/path"): "none"}
	for field := range reflect.TypeFor[Caller]().Fields() {
		require.Contains(t, changes, field.Name, "a new field belongs into the key")
		var changed Caller
		changes[field.Name](&changed)
		require.NotContains(t, seen, changed.cacheKey("/path"), field.Name)
		seen[changed.cacheKey("/path")] = field.Name
	}
	require.NotContains(t, seen, Caller{}.cacheKey("/other"))
}
