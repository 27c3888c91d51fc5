package perses

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// fakePerses answers what a test tells it to. The real one is in the
// end-to-end tests: this one can be unreachable, slow and wrong.
type fakePerses struct {
	*httptest.Server
	requests atomic.Int64
	mutex    sync.Mutex
	status   int
	body     string
	seen     []http.Header
	paths    []string
}

const savedDatasource = `{"kind":"GlobalDatasource","metadata":{"name":"metrics","version":3},"spec":{"default":true,"plugin":{"kind":"TieredPrometheusDatasource",
	"spec":{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy:9190/proxy/globaldatasources/metrics"}}}}}}`

func newFakePerses(t *testing.T) *fakePerses {
	t.Helper()
	fake := &fakePerses{status: http.StatusOK, body: savedDatasource}
	fake.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fake.requests.Add(1)
		fake.mutex.Lock()
		defer fake.mutex.Unlock()
		fake.seen = append(fake.seen, r.Header.Clone())
		fake.paths = append(fake.paths, r.URL.EscapedPath())
		w.WriteHeader(fake.status)
		_, _ = w.Write([]byte(fake.body))
	}))
	t.Cleanup(fake.Close)
	return fake
}

func (f *fakePerses) answer(status int, body string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.status, f.body = status, body
}

// clock is a clock that a test moves.
type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Time       { return time.Unix(1_760_000_000, c.now.Load()) }
func (c *clock) add(by time.Duration) { c.now.Add(int64(by)) }
func (f *fakePerses) client(t *testing.T, time *clock, prefix string) *Client {
	t.Helper()
	base, err := url.Parse(f.URL + prefix)
	require.NoError(t, err)
	client, err := NewClient(Options{URL: base, Timeout: 5e9, Transport: http.DefaultTransport, Now: time.Now})
	require.NoError(t, err)
	return client
}

func caller(header http.Header) Caller { return CallerOf(&http.Request{Header: header}) }

func token(t *testing.T, expires time.Time) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(expires)}).SignedString([]byte("key"))
	require.NoError(t, err)
	return text
}

func statusOf(err error) int {
	var apiError *promapi.Error
	if errors.As(err, &apiError) {
		return apiError.Status
	}
	return 0
}

var metrics = Reference{Name: "metrics"}

func TestLookup_PassesOnlyCredentialsOfTheCaller(t *testing.T) {
	fake := newFakePerses(t)
	client := fake.client(t, &clock{}, "/perses/")
	_, err := client.Lookup(t.Context(), metrics, caller(http.Header{
		"Authorization":    {"Bearer abc"},
		"Cookie":           {"a=1; jwtPayload=x.y; jwtRefreshToken=secret; jwtSignature=z", "jwtPayload=again"},
		"Impersonate-User": {"someone"},
		"X-Other":          {"no"},
	}))
	require.NoError(t, err)
	seen := fake.seen[0]
	require.Equal(t, "/perses/api/v1/globaldatasources/metrics", fake.paths[0])
	require.Equal(t, "Bearer abc", seen.Get("Authorization"))
	require.Equal(t, "jwtPayload=x.y; jwtSignature=z; jwtPayload=again", seen.Get("Cookie"))
	require.Equal(t, "someone", seen.Get("Impersonate-User"))
	require.Empty(t, seen.Get("X-Other"))
}

func TestLookup_ReportsErrors(t *testing.T) {
	for _, test := range []struct {
		status   int
		body     string
		expected int
		message  string
	}{
		{http.StatusNotFound, "", 404, `Perses has no global datasource "metrics"`},
		{http.StatusUnauthorized, "", 401, `Perses does not know who asks for global datasource "metrics"`},
		{http.StatusForbidden, "", 403, `you may not read global datasource "metrics"`},
		{http.StatusInternalServerError, "", 503, `cannot ask Perses for global datasource "metrics": it answered with status 500`},
		{http.StatusFound, "", 502, "check the gateway's perses.url"},
		{http.StatusOK, "<html>", 502, "check the gateway's perses.url"},
		{http.StatusOK, `{"metadata":{"name":"other"}}`, 502, "another datasource"},
		{http.StatusOK, `{"metadata":{"name":"metrics","project":"p"}}`, 502, "another datasource"},
		{http.StatusOK, `{"metadata":{"name":"metrics"},"spec":{"plugin":{"kind":"PrometheusDatasource"}}}`, 400, `is of kind "PrometheusDatasource", not "TieredPrometheusDatasource"`},
		{http.StatusOK, `{"metadata":{"name":"metrics"},"spec":{"plugin":{"kind":"TieredPrometheusDatasource","spec":{"threshold":"0s"}}}}`, 400, `spec.threshold: must be a duration longer than zero, such as 90s, 15m or 1h30m; spec: the field proxy is required`},
	} {
		fake := newFakePerses(t)
		fake.answer(test.status, test.body)
		_, err := fake.client(t, &clock{}, "").Lookup(t.Context(), metrics, Caller{})
		require.ErrorContains(t, err, test.message)
		require.Equal(t, test.expected, statusOf(err))
	}
}

func TestLookup_RefusesImpossibleNames(t *testing.T) {
	fake := newFakePerses(t)
	for _, reference := range []Reference{{}, {Name: ".."}, {Name: "a/b"}, {Name: "a b"}, {Project: "..", Name: "a"}, {Project: "p?x", Name: "a"}} {
		_, err := fake.client(t, &clock{}, "").Lookup(t.Context(), reference, Caller{})
		require.Equal(t, http.StatusBadRequest, statusOf(err), "%#v", reference)
	}
	require.Zero(t, fake.requests.Load())
}

func TestLookup_KeepsAnswersPerCaller(t *testing.T) {
	fake, now := newFakePerses(t), &clock{}
	client := fake.client(t, now, "")
	lookup := func(c Caller) error { _, err := client.Lookup(t.Context(), metrics, c); return err }
	alice := caller(http.Header{"Authorization": {"Bearer " + token(t, now.Now().Add(time.Hour))}})

	require.NoError(t, lookup(alice))
	now.add(refreshAfter - time.Millisecond)
	require.NoError(t, lookup(alice))
	require.EqualValues(t, 1, fake.requests.Load(), "from then on it is refreshed in the background")
	require.NoError(t, lookup(Caller{}))
	require.EqualValues(t, 2, fake.requests.Load(), "nobody is answered from another caller's entry")
	now.add(freshFor - refreshAfter + time.Millisecond)
	fake.answer(http.StatusForbidden, "")
	require.Equal(t, http.StatusForbidden, statusOf(lookup(alice)), "a revoked permission takes effect")
	fake.answer(http.StatusServiceUnavailable, "")
	require.Equal(t, http.StatusServiceUnavailable, statusOf(lookup(alice)), "a refusal ends the use of older answers")
}

func TestLookup_ServesStaleWhilePersesIsUnreachable(t *testing.T) {
	fake, now := newFakePerses(t), &clock{}
	client := fake.client(t, now, "")
	soon := caller(http.Header{"Authorization": {"Bearer " + token(t, now.Now().Add(30*time.Second))}})
	late := caller(http.Header{"Cookie": {cookies(token(t, now.Now().Add(time.Hour)))}})
	soonCookie := caller(http.Header{"Cookie": {cookies(token(t, now.Now().Add(30*time.Second)))}})
	opaque := caller(http.Header{"Authorization": {"Bearer opaque"}})
	impersonating := caller(http.Header{"Impersonate-User": {"someone"}})
	for _, each := range []Caller{soon, late, soonCookie, opaque, impersonating, {}} {
		_, err := client.Lookup(t.Context(), metrics, each)
		require.NoError(t, err)
	}
	fake.Close()
	for _, test := range []struct {
		name  string
		after time.Duration // since the previous row
		ok    []Caller
		fails []Caller
	}{
		{"within a minute", 20 * time.Second, []Caller{soon, late, soonCookie, {}}, []Caller{opaque, impersonating}},
		{"never past the token's expiry", 15 * time.Second, []Caller{late, {}}, []Caller{soon, soonCookie, opaque, impersonating}},
		{"not after a minute", 25 * time.Second, nil, []Caller{soon, late, opaque, {}}},
	} {
		now.add(test.after)
		for _, each := range test.ok {
			_, err := client.Lookup(t.Context(), metrics, each)
			require.NoError(t, err, test.name)
		}
		for _, each := range test.fails {
			_, err := client.Lookup(t.Context(), metrics, each)
			require.Equal(t, http.StatusServiceUnavailable, statusOf(err), test.name)
		}
	}
}

// cookies splits a token over the two cookies of Perses.
func cookies(token string) string {
	for i := len(token) - 1; i > 0; i-- {
		if token[i] == '.' {
			return fmt.Sprintf("jwtPayload=%s; jwtSignature=%s", token[:i], token[i+1:])
		}
	}
	return ""
}

func TestExpiry_IsThatOfTheFirstTokenToEnd(t *testing.T) {
	first, second := time.Unix(2_000_000_000, 0), time.Unix(2_100_000_000, 0)
	for header, cookie := range map[time.Time]time.Time{first: second, second: first} {
		end, known := caller(http.Header{"Authorization": {"Bearer " + token(t, header)}, "Cookie": {cookies(token(t, cookie))}}).expiry()
		require.True(t, known)
		require.True(t, first.Equal(end))
	}
	for _, header := range []http.Header{
		{"Authorization": {"Basic abc"}},
		{"Authorization": {"Bearer x.y.z"}},
		{"Authorization": {"Bearer " + tokenOf(t, "alice")}},
		{"Cookie": {"jwtPayload=x"}},
		{"Authorization": {"Bearer " + token(t, second)}, "Cookie": {"jwtSignature=x"}},
		{"Impersonate-User": {"x"}},
	} {
		_, known := caller(header).expiry()
		require.False(t, known, "%v", header)
	}
}

func TestCacheKey_DoesNotCollide(t *testing.T) {
	keys := map[cacheKey]bool{}
	for _, each := range []Caller{
		{}, caller(http.Header{"Authorization": {"a"}}), caller(http.Header{"Cookie": {"jwtPayload=a"}}), caller(http.Header{"Impersonate-User": {"a"}}),
		caller(http.Header{"Authorization": {"a", "b"}}), caller(http.Header{"Authorization": {"ab"}}), caller(http.Header{"Authorization": {"a"}, "Cookie": {"jwtPayload=b"}}),
		caller(http.Header{"Authorization": {"b"}}), caller(http.Header{"Cookie": {"jwtPayload=b"}}), caller(http.Header{"Impersonate-User": {"b"}}),
		caller(http.Header{"Authorization": {"ab", "c"}}), caller(http.Header{"Authorization": {"a", "bc"}}), ServiceCaller(),
	} {
		for _, path := range []string{"/x", "/y", "/xa"} {
			key := each.cacheKey(path)
			require.False(t, keys[key], "%s %+v", path, each)
			keys[key] = true
		}
	}
}

// heldPerses is a Perses without a socket that answers when it is released, so
// that synctest.Wait returns once every caller waits.
type heldPerses struct {
	requests atomic.Int64
	release  chan struct{}
}

func (p *heldPerses) RoundTrip(*http.Request) (*http.Response, error) {
	p.requests.Add(1)
	<-p.release
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(savedDatasource))}, nil
}

func (p *heldPerses) client(t *testing.T, clock *clock) *Client {
	t.Helper()
	client, err := NewClient(Options{URL: &url.URL{Scheme: "http", Host: "perses"}, Timeout: time.Minute, Transport: p, Now: clock.Now})
	require.NoError(t, err)
	return client
}

func TestLookup_AsksOnceForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := &heldPerses{release: make(chan struct{})}
		client := held.client(t, &clock{})
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if _, err := client.Lookup(t.Context(), metrics, Caller{}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		asked := held.requests.Load()
		close(held.release)
		waiting.Wait()
		require.EqualValues(t, 1, asked, "while all wait")
		require.EqualValues(t, 1, held.requests.Load())
	})
}

// TestLookup_DatasourcesOfDashboards needs two permissions: to read the dashboard,
// and to read datasources of its project.
func TestLookup_DatasourcesOfDashboards(t *testing.T) {
	const dashboard = `{"kind":"Dashboard","metadata":{"name":"board","project":"team"},"spec":{"datasources":{
		"local":{"plugin":{"kind":"TieredPrometheusDatasource","spec":{"threshold":"5m","proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/projects/team/dashboards/board/datasources/local"}}}}},
		"other":{"plugin":{"kind":"PrometheusDatasource","spec":{}}}}}}`
	statuses := map[string]int{"/api/v1/projects/team/datasources": 200, "/api/v1/projects/team/dashboards/board": 200}
	answered := dashboard
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(statuses[r.URL.Path])
		_, _ = w.Write([]byte(answered))
	}))
	t.Cleanup(server.Close)
	lookup := func(name string) (*Datasource, error) {
		base, err := url.Parse(server.URL)
		require.NoError(t, err)
		client, err := NewClient(Options{URL: base, Timeout: time.Second, Transport: http.DefaultTransport, Now: time.Now})
		require.NoError(t, err)
		return client.Lookup(t.Context(), Reference{Project: "team", Dashboard: "board", Name: name}, Caller{})
	}
	found, err := lookup("local")
	require.NoError(t, err)
	require.EqualValues(t, 5*time.Minute, found.Spec.Threshold)
	require.Equal(t, `datasource "local" of dashboard "board" of project "team"`, found.Reference.String())
	for name, status := range map[string]int{"missing": 404, "other": 400, "..": 400} {
		_, err := lookup(name)
		require.Equal(t, status, promapi.AsError(err).Status, "%s: %v", name, err)
	}
	for path := range statuses {
		statuses[path] = 403
		_, err := lookup("local")
		require.Equal(t, 403, promapi.AsError(err).Status, "without %s", path)
		statuses[path] = 200
	}
	for _, part := range []string{`"name":"board"`, `"project":"team"`} {
		answered = strings.Replace(dashboard, part, strings.Replace(part, `":"`, `":"another-`, 1), 1)
		_, err := lookup("local")
		require.ErrorContains(t, err, "answered with another dashboard", part)
	}
}

func TestLookup_RefreshesBeforeExpiry(t *testing.T) {
	fake, clock := newFakePerses(t), &clock{}
	client := fake.client(t, clock, "")
	user := caller(http.Header{"Authorization": {"Bearer one"}})
	_, err := client.Lookup(t.Context(), metrics, user)
	require.NoError(t, err)

	// Perses is slow, and nobody waits for it.
	fake.mutex.Lock()
	clock.add(3 * time.Second)
	for range 5 {
		found, err := client.Lookup(t.Context(), metrics, user)
		require.NoError(t, err)
		require.Zero(t, found.Spec.Threshold)
	}
	require.Eventually(t, func() bool { return fake.requests.Load() == 2 }, 5*time.Second, time.Millisecond)
	fake.body = strings.Replace(savedDatasource, `"proxy"`, `"threshold":"1m","proxy"`, 1)
	fake.mutex.Unlock()
	require.Eventually(t, func() bool {
		found, err := client.Lookup(t.Context(), metrics, user)
		return err == nil && time.Duration(found.Spec.Threshold) == time.Minute
	}, 5*time.Second, time.Millisecond)
	require.EqualValues(t, 2, fake.requests.Load(), "once, however many ask meanwhile")
	require.Equal(t, "Bearer one", fake.seen[1].Get("Authorization"))

	// What one caller may read is asked for nobody else.
	_, err = client.Lookup(t.Context(), metrics, caller(http.Header{"Authorization": {"Bearer other"}}))
	require.NoError(t, err)
	require.EqualValues(t, 3, fake.requests.Load())
	require.Equal(t, "Bearer other", fake.seen[2].Get("Authorization"))

	// It was asked 3 s in, and is fresh until 8 s.
	clock.add(4 * time.Second)
	fake.answer(http.StatusForbidden, "")
	require.Eventually(t, func() bool {
		_, err := client.Lookup(t.Context(), metrics, user)
		return statusOf(err) == http.StatusForbidden
	}, 5*time.Second, time.Millisecond, "a revoked permission takes effect with the refresh")
}

func TestLookup_RepeatsOldSharedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, clock := &heldPerses{release: make(chan struct{})}, &clock{}
		client := held.client(t, clock)
		answers := make(chan error, 2)
		lookup := func() {
			_, err := client.Lookup(t.Context(), metrics, Caller{})
			answers <- err
		}
		go lookup()
		synctest.Wait()
		clock.add(freshFor)
		go lookup()
		synctest.Wait()
		asked := held.requests.Load()
		close(held.release)
		require.NoError(t, <-answers)
		require.NoError(t, <-answers)
		require.EqualValues(t, 1, asked, "the second joins the first")
		require.EqualValues(t, 2, held.requests.Load())
	})
}
