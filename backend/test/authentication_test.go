//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// lookupFreshness is how long tierproxy trusts what Perses said of a caller.
const lookupFreshness = 5 * time.Second

const password = "a password that is long enough"

// recorder is a tier that keeps what reached it, and answers every query with
// a sample from six hours ago, so that it passes for a hot tier too.
type recorder struct {
	*httptest.Server
	mutex sync.Mutex
	seen  []*http.Request
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mutex.Lock()
		r.seen = append(r.seen, request)
		r.mutex.Unlock()
		w.Header().Set("Content-Type", "application/json")
		http.SetCookie(w, &http.Cookie{Name: "jwtPayload", Value: "stolen"})
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,"%d"]}]}}`,
			time.Now().Unix(), time.Now().Add(-hotReach).Unix())
	}))
	t.Cleanup(r.Close)
	return r
}

// requests returns what reached the tier so far.
func (r *recorder) requests() []*http.Request {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.seen)
}

// session is what a user has after logging in.
type session struct {
	token   string
	cookies []*http.Cookie
}

// header returns the credentials in the given forms.
func header(bearer, cookies *session) http.Header {
	h := http.Header{}
	if bearer != nil {
		h.Set("Authorization", "Bearer "+bearer.token)
	}
	if cookies != nil {
		var pairs []string
		for _, cookie := range cookies.cookies {
			pairs = append(pairs, cookie.Name+"="+cookie.Value)
		}
		h.Set("Cookie", strings.Join(pairs, "; "))
	}
	return h
}

func (s *site) session(user string) *session {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"login": user, "password": password})
	require.NoError(s.t, err)
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.perses.URL+"/api/auth/providers/native/login", bytes.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	response, err := (&http.Client{Jar: jar}).Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&token))
	result := &session{token: token.AccessToken, cookies: response.Cookies()}
	require.GreaterOrEqual(s.t, len(result.cookies), 3, "payload, signature and refresh token")
	return result
}

func user(name string) document {
	return document{"kind": "User", "metadata": document{"name": name}, "spec": document{"nativeProvider": document{"password": password}}}
}

// role and its binding let users do something, in a project or, when that is
// empty, everywhere.
func role(project, name string, actions, scopes []string, users ...string) []document {
	prefix, metadata := "Global", document{"name": name}
	if project != "" {
		prefix, metadata = "", document{"name": name, "project": project}
	}
	var subjects []document
	for _, each := range users {
		subjects = append(subjects, document{"kind": "User", "name": each})
	}
	return []document{
		{"kind": prefix + "Role", "metadata": metadata, "spec": document{"permissions": []document{{"actions": actions, "scopes": scopes}}}},
		{"kind": prefix + "RoleBinding", "metadata": metadata, "spec": document{"role": name, "subjects": subjects}},
	}
}

// newGuardedSite starts a Perses with authentication: an admin; a reader, who
// may read the datasources of project team and all global ones; mallory, who
// may do everything in project evil, and an outsider, who may do nothing.
func newGuardedSite(t *testing.T, tier *recorder) *site {
	t.Helper()
	provision := []document{user("admin"), user("reader"), user("outsider"), user("mallory")}
	for _, project := range []string{"team", "evil", "unlisted"} {
		provision = append(provision, document{"kind": "Project", "metadata": document{"name": project}, "spec": document{}})
	}
	provision = append(provision, role("", "admin", []string{"*"}, []string{"*"}, "admin")...)
	provision = append(provision, role("", "reader", []string{"read"}, []string{"GlobalDatasource"}, "reader")...)
	provision = append(provision, role("team", "reader", []string{"read"}, []string{"Datasource"}, "reader")...)
	provision = append(provision, role("unlisted", "reader", []string{"read"}, []string{"Datasource"}, "reader")...)
	provision = append(provision, role("evil", "owner", []string{"*"}, []string{"*"}, "mallory")...)
	s := newSite(t, stack.Perses{Authentication: true, Provision: provision}, document{
		"perses": document{"dashboard_datasources": true},
		"hot":    document{"url": tier.URL}, "cold": document{"url": tier.URL},
		"projects": []document{{"name": "team", "all_namespaces": true}, {"name": "evil", "all_namespaces": true}},
	})
	// Perses is ready before it has brought up everything; the last one is looked for.
	require.Eventually(t, func() bool {
		if _, err := s.runPercli("login", s.perses.URL, "--username", "admin", "--password", password); err != nil {
			return false
		}
		_, err := s.runPercli("describe", "rolebinding", "owner", "--project", "evil")
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
	return s
}

func TestAuthentication_OnlyReadersGetData(t *testing.T) {
	tier := newRecorder(t)
	s := newGuardedSite(t, tier)
	s.apply(s.global("metrics", nil), s.project("team", "metrics", nil), s.project("unlisted", "metrics", nil),
		document{"kind": "Datasource", "metadata": document{"name": "plain", "project": "team"}, "spec": document{"plugin": document{
			"kind": "PrometheusDatasource", "spec": document{"proxy": httpProxy(s.tierproxy.URL+"/proxy/projects/team/datasources/plain", nil)},
		}}})
	reader, outsider := s.session("reader"), s.session("outsider")
	const global, team = "/proxy/globaldatasources/metrics", "/proxy/projects/team/datasources/metrics"

	for _, test := range []struct {
		name     string
		path     string
		header   http.Header
		status   int
		contains string // in tierproxy's answer; Perses has words of its own
	}{
		{"a reader by token", global, header(reader, nil), 200, "success"},
		{"a reader by cookies", global, header(nil, reader), 200, "success"},
		{"a reader of the project by token", team, header(reader, nil), 200, "success"},
		{"a reader of the project by cookies", team, header(nil, reader), 200, "success"},
		{"another user by token", global, header(outsider, nil), 403, `may not read global datasource \"metrics\"`},
		{"another user by cookies", team, header(nil, outsider), 403, `may not read datasource \"metrics\" of project \"team\"`},
		{"nobody", global, nil, 401, `"errorType":"unauthorized"`},
		{"nobody in the project", team, nil, 401, `datasource \"metrics\" of project \"team\"`},
		{"an invalid token", team, http.Header{"Authorization": {"Bearer nonsense"}}, 401, `"errorType":"unauthorized"`},
		// Perses lets the cookies win, whatever the header says.
		{"the reader's cookies with another's token", team, header(outsider, reader), 200, "success"},
		{"another's cookies with the reader's token", team, header(reader, outsider), 403, "may not read"},
		{"the reader's payload with another's signature", team, mixed(reader, outsider), 401, `"errorType":"unauthorized"`},
		{"a datasource of another kind", "/proxy/projects/team/datasources/plain", header(reader, nil), 400, `PrometheusDatasource`},
		{"a datasource that does not exist", "/proxy/projects/team/datasources/missing", header(reader, nil), 404, `datasource \"missing\" of project \"team\"`},
		{"a project that the operator does not list", "/proxy/projects/unlisted/datasources/metrics", header(reader, nil), 403, `list project \"unlisted\"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := call{base: s.tierproxy.URL + test.path, endpoint: "query", values: url.Values{"query": {"up"}}, header: test.header}
			before := countAsked(tier, "up")
			got := mustDo(t, c)
			require.Equal(t, test.status, got.status, string(got.body))
			require.Contains(t, string(got.body), test.contains)
			if test.status != http.StatusOK {
				require.Contains(t, string(got.body), `"status":"error"`)
			}
			// What Perses itself answers for the same caller.
			c.base = s.perses.URL + test.path
			throughPerses := mustDo(t, c)
			if !strings.Contains(test.path, "/plain") {
				require.Equal(t, test.status, throughPerses.status, string(throughPerses.body))
			}
			if test.status != http.StatusOK {
				require.Equal(t, before, countAsked(tier, "up"), "a refused query must not reach the tier")
			}
		})
	}
}

// mixed is the first half of one token with the second half of another.
func mixed(payload, signature *session) http.Header {
	find := func(of *session, name string) string {
		for _, cookie := range of.cookies {
			if cookie.Name == name {
				return name + "=" + cookie.Value
			}
		}
		return ""
	}
	return http.Header{"Cookie": {find(payload, "jwtPayload") + "; " + find(signature, "jwtSignature")}}
}

// countAsked counts how often a query reached the tier.
func countAsked(tier *recorder, query string) int {
	count := 0
	for _, request := range tier.requests() {
		if request.URL.Query().Get("query") == query {
			count++
		}
	}
	return count
}

func TestAuthentication_RevokedPermissionTakesEffect(t *testing.T) {
	s := newGuardedSite(t, newRecorder(t))
	s.apply(s.project("team", "metrics", nil))
	reader := s.session("reader")
	c := call{base: s.tierproxy.URL + "/proxy/projects/team/datasources/metrics", endpoint: "query", values: url.Values{"query": {"up"}}, header: header(reader, nil)}
	require.Equal(t, http.StatusOK, mustDo(t, c).status)

	output, err := s.runPercli("delete", "rolebinding", "reader", "--project", "team")
	require.NoError(t, err, output)
	revoked := time.Now()
	require.Eventually(t, func() bool { return mustDo(t, c).status == http.StatusForbidden }, 2*lookupFreshness, 50*time.Millisecond)
	require.LessOrEqual(t, time.Since(revoked), lookupFreshness+time.Second)

	output, err = s.runPercli("delete", "datasource", "metrics", "--project", "team")
	require.NoError(t, err, output)
	admin := s.session("admin")
	c.header = header(admin, nil)
	require.Equal(t, http.StatusNotFound, mustDo(t, c).status)
}

// TestAuthentication_ForeignDatasourceGainsNothing leads a datasource of mallory's
// own project to the path of one that she may not read. She tries her session, none,
// and the headers that a datasource can set.
func TestAuthentication_ForeignDatasourceGainsNothing(t *testing.T) {
	tier := newRecorder(t)
	s := newGuardedSite(t, tier)
	target := s.tierproxy.URL + "/proxy/projects/team/datasources/metrics"
	foreign := func(name string, more document) document {
		return document{"kind": "Datasource", "metadata": document{"name": name, "project": "evil"}, "spec": document{"plugin": document{
			"kind": "PrometheusDatasource", "spec": document{"proxy": httpProxy(target, more)},
		}}}
	}
	s.apply(s.project("team", "metrics", nil))
	mallory := s.session("mallory")
	output, err := s.runPercli("login", s.perses.URL, "--username", "mallory", "--password", password)
	require.NoError(t, err, output)
	ours := s.project("evil", "ours", nil)
	plugin := ours["spec"].(document)["plugin"].(document)["spec"].(document)
	plugin["proxy"] = httpProxy(target, nil)
	s.apply(foreign("plain", nil),
		foreign("cookie", document{"headers": map[string]string{"Cookie": "jwtPayload=a.b; jwtSignature=c"}}),
		foreign("impersonate", document{"headers": map[string]string{"Impersonate-User": "reader"}}),
		ours)
	for _, name := range []string{"plain", "cookie", "impersonate", "ours"} {
		for _, credentials := range []http.Header{header(mallory, nil), header(nil, mallory)} {
			got := mustDo(t, call{base: s.perses.URL + "/proxy/projects/evil/datasources/" + name, endpoint: "query", values: url.Values{"query": {"secret"}}, header: credentials})
			require.Contains(t, []int{http.StatusForbidden, http.StatusUnauthorized}, got.status, "%s: %s", name, got.body)
			require.Contains(t, string(got.body), `"status":"error"`, "tierproxy itself refuses, not Perses")
		}
	}
	require.Zero(t, countAsked(tier, "secret"))
}

// allowedHeaders are all that a tier may see; Go's own transport adds those of
// the last line.
var allowedHeaders = []string{
	"Accept", "Accept-Encoding", "Content-Type", "User-Agent", "Traceparent", "Tracestate", "Baggage",
	"Content-Length",
}

func TestAuthentication_NoSessionReachesATier(t *testing.T) {
	tier := newRecorder(t)
	s := newGuardedSite(t, tier)
	withTenant := s.global("metrics", nil)
	withTenant["spec"].(document)["plugin"].(document)["spec"].(document)["proxy"] = httpProxy(
		s.tierproxy.URL+"/proxy/globaldatasources/metrics", document{"headers": map[string]string{"X-Scope-OrgID": "tenant-of-the-spec", "X-Other": "of the spec"}})
	s.apply(withTenant, s.project("team", "metrics", nil))
	reader := s.session("reader")
	end := time.Now()
	for _, path := range []string{"/proxy/globaldatasources/metrics", "/proxy/projects/team/datasources/metrics"} {
		for _, base := range []string{s.perses.URL, s.tierproxy.URL} {
			for _, credentials := range []http.Header{header(reader, nil), header(nil, reader), header(reader, reader)} {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					asked := credentials.Clone()
					asked.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
					for _, name := range []string{"X-Scope-OrgID", "THANOS-TENANT", "X-Forwarded-User", "X-Anything", "Impersonate-Group", "Proxy-Authorization", "X-Api-Key"} {
						asked.Set(name, "of the request")
					}
					got := mustDo(t, call{base: base + path, method: method, endpoint: "query_range", values: panel.RangeQuery("up", end, 5*minute, minute), header: asked})
					require.Equal(t, http.StatusOK, got.status, string(got.body))
					require.Empty(t, got.header.Values("Set-Cookie"), "a tier must not set cookies at the caller")
				}
			}
		}
	}
	var secrets []string
	for _, cookie := range reader.cookies {
		secrets = append(secrets, cookie.Value)
	}
	secrets = append(secrets, reader.token)
	ranged, tenants := 0, 0
	for _, request := range tier.requests() {
		if strings.HasSuffix(request.URL.Path, "/query_range") {
			ranged++
		}
		for name, values := range request.Header {
			if name == "X-Scope-Orgid" {
				assert.Equal(t, []string{"tenant-of-the-spec"}, values)
				tenants++
				continue
			}
			assert.Contains(t, allowedHeaders, name)
			for _, secret := range secrets {
				assert.NotContains(t, strings.Join(values, " "), secret)
			}
		}
	}
	require.Equal(t, 24, ranged)
	require.GreaterOrEqual(t, tenants, 12)
	text, err := os.ReadFile(s.tierproxy.LogFile)
	require.NoError(t, err)
	log := string(text)
	for _, secret := range secrets {
		require.NotContains(t, log, secret)
	}
}

// TestAuthentication_DatasourceOfADashboard checks that tierproxy asks for the same
// two permissions as Perses.
func TestAuthentication_DatasourceOfADashboard(t *testing.T) {
	tier := newRecorder(t)
	s := newGuardedSite(t, tier)
	const path = "/proxy/projects/team/dashboards/board/datasources/local"
	s.apply(document{"kind": "Dashboard", "metadata": document{"name": "board", "project": "team"}, "spec": document{
		"duration": "1h", "panels": document{}, "layouts": []any{}, "datasources": document{"local": document{"default": false, "plugin": document{
			"kind": "TieredPrometheusDatasource", "spec": document{"proxy": httpProxy(s.tierproxy.URL+path, nil)},
		}}},
	}})
	status := func(user string) int {
		return mustDo(t, call{base: s.tierproxy.URL + path, endpoint: "query", values: url.Values{"query": {"up"}}, header: header(s.session(user), nil)}).status
	}
	require.Equal(t, http.StatusOK, status("admin"))
	require.Equal(t, http.StatusForbidden, status("reader"), "who may read datasources may not see the dashboard")
	s.apply(role("team", "viewer", []string{"read"}, []string{"Dashboard"}, "reader", "outsider")...)
	require.Eventually(t, func() bool { return status("reader") == http.StatusOK }, 2*lookupFreshness, 100*time.Millisecond)
	require.Equal(t, http.StatusForbidden, status("outsider"), "who may see the dashboard may not use datasources")
}
