package perses

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
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
	long := strings.Repeat("a", maxUserName+1)
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
		"refused":                             {nil, http.StatusForbidden, bearer, "", 1},
		"something else":                      {map[string]string{whoAmIPath: `{"kind":"Role","metadata":{"name":"bob"}}`}, 0, bearer, "", 2},
		"a name that is too long":             {map[string]string{whoAmIPath: `{"kind":"User","metadata":{"name":"` + long + `"}}`}, 0, bearer, "", 2},
		"an old Perses, no subject":           {map[string]string{"/api/v1/users//permissions": `{}`}, 0, http.Header{"Authorization": {"Bearer " + tokenOf(t, "")}}, "", 1},
		"an old Perses, a long subject":       {map[string]string{"/api/v1/users/" + long + "/permissions": `{}`}, 0, http.Header{"Authorization": {"Bearer " + tokenOf(t, long)}}, "", 1},
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
				assert.Equal(t, test.header.Get("Authorization"), r.Header.Get("Authorization"), "asked with the caller's own credentials")
				body, found := test.answers[r.URL.Path]
				switch {
				case test.status != 0:
					w.WriteHeader(test.status)
				case !found:
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"error":"document not found"}`))
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

func TestUser_IsAskedAgainAfterAWhile(t *testing.T) {
	answer, alice := http.StatusOK, caller(http.Header{"Authorization": {"Bearer alice"}})
	fake, clock := newFakePerses(t), &clock{}
	client := fake.client(t, clock, "")
	for name, kept := range map[string]time.Duration{"bob": userFor, "": noUserFor} {
		client.users.Purge()
		asked := fake.requests.Load()
		if name == "" {
			answer = http.StatusUnauthorized
		}
		fake.answer(answer, `{"kind":"User","metadata":{"name":"bob"}}`)
		for _, step := range []struct {
			after time.Duration
			asked int64
		}{{0, 1}, {kept - 1, 1}, {1, 2}} {
			clock.add(step.after)
			require.Equal(t, name, client.User(t.Context(), alice))
			require.Equal(t, step.asked, fake.requests.Load()-asked, "%q after %s", name, step.after)
		}
		answer = http.StatusOK
	}
}

// The gateway's own credential is for the service caller alone.
func TestServiceCaller_ShowsTheGatewaysCredential(t *testing.T) {
	fake := newFakePerses(t)
	base, err := url.Parse(fake.URL)
	require.NoError(t, err)
	clock := &clock{}
	options := Options{URL: base, Timeout: 5 * time.Second, Transport: http.DefaultTransport, Now: clock.Now}
	without, err := NewClient(options)
	require.NoError(t, err)
	_, err = without.Lookup(t.Context(), metrics, ServiceCaller())
	require.ErrorContains(t, err, "no credential of its own")
	require.Equal(t, http.StatusUnauthorized, statusOf(err))
	require.Empty(t, fake.seen)

	options.Service = ownCredential{}
	client, err := NewClient(options)
	require.NoError(t, err)
	for _, each := range []Caller{ServiceCaller(), {}, caller(http.Header{"Authorization": {"Bearer alice"}})} {
		_, err = client.Lookup(t.Context(), metrics, each)
		require.NoError(t, err)
	}
	require.Empty(t, client.User(t.Context(), ServiceCaller()), "it is nobody")
	require.Len(t, fake.seen, 3, "no caller gets what Perses answered another one")
	for i, expected := range []string{"Bearer own", "", "Bearer alice"} {
		require.Equal(t, expected, fake.seen[i].Get("Authorization"))
	}
	fake.Close()
	clock.add(staleFor - 1)
	_, err = client.Lookup(t.Context(), metrics, ServiceCaller())
	require.NoError(t, err, "the credential does not expire")
}

type ownCredential struct{}

func (ownCredential) RoundTrip(request *http.Request) (*http.Response, error) {
	request.Header.Set("Authorization", "Bearer own")
	return http.DefaultTransport.RoundTrip(request)
}

// What one caller was answered is not found for another.
func TestCacheKey_EveryFieldOfACaller(t *testing.T) {
	changes := map[string]func(*Caller){
		"header":  func(c *Caller) { c.header = http.Header{"Authorization": {"Bearer a"}} },
		"service": func(c *Caller) { c.service = true },
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
