package upstream

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	promconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func access(t *testing.T, options AccessOptions) *Access {
	t.Helper()
	made, err := NewAccess(options)
	require.NoError(t, err)
	return made
}

// httpConfig reads the configuration as Prometheus does.
func httpConfig(t testing.TB, text string) *promconfig.HTTPClientConfig {
	t.Helper()
	config, err := promconfig.LoadHTTPConfig(text)
	require.NoError(t, err)
	return config
}

// write writes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// serveTLS serves a fake tier with a certificate. It asks for a client
// certificate of the authority, if not nil.
func serveTLS(t testing.TB, pair certificates.Pair, clients *certificates.Authority, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}
	if clients != nil {
		server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestWhichCertificatesAreAccepted(t *testing.T) {
	known, unknown := certificates.NewAuthority(t), certificates.NewAuthority(t)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	authority := write(t, "ca.pem", string(known.PEM))
	withCA := access(t, AccessOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}")})
	cluster := access(t, AccessOptions{Authorities: []string{"/does/not/exist", authority}})
	for _, test := range []struct {
		name   string
		pair   certificates.Pair
		access *Access
		err    string
	}{
		{"a known authority", known.Issue(tomorrow, "127.0.0.1"), withCA, ""},
		{"the authority of the cluster", known.Issue(tomorrow, "127.0.0.1"), cluster, ""},
		{"expired", known.Issue(yesterday, "127.0.0.1"), withCA, "its TLS certificate was not accepted"},
		{"expired, of the cluster", known.Issue(yesterday, "127.0.0.1"), cluster, "its TLS certificate was not accepted"},
		{"a wrong name", known.Issue(tomorrow, "prometheus.example.com"), withCA, "its TLS certificate was not accepted"},
		{"an unknown authority", unknown.Issue(tomorrow, "127.0.0.1"), withCA, "its TLS certificate was not accepted"},
		{"an unknown authority in the cluster", unknown.Issue(tomorrow, "127.0.0.1"), cluster, "its TLS certificate was not accepted"},
		{"no authority configured", known.Issue(tomorrow, "127.0.0.1"), nil, "its TLS certificate was not accepted"},
		{"a name that the operator names", known.Issue(tomorrow, "prometheus.example.com"),
			access(t, AccessOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+", server_name: prometheus.example.com}")}), ""},
		{"anything, where nobody looks", unknown.Issue(yesterday, "elsewhere"),
			access(t, AccessOptions{HTTP: httpConfig(t, "tls_config: {insecure_skip_verify: true}")}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serveTLS(t, test.pair, nil, sources{})
			require.Equal(t, test.err, client(t, server.URL, test.access).measure(t.Context(), tier.Cold).Error)
		})
	}
	require.True(t, access(t, AccessOptions{HTTP: httpConfig(t, "tls_config: {insecure_skip_verify: true}")}).SkipsVerification())
	require.False(t, withCA.SkipsVerification())
	require.False(t, (*Access)(nil).SkipsVerification())
}

func TestAccessThatCannotWork(t *testing.T) {
	empty := write(t, "empty.pem", "nothing")
	for text, message := range map[string]string{
		"tls_config: {ca_file: /does/not/exist}":                            "read the CA file",
		"tls_config: {ca_file: " + empty + "}":                              "holds no PEM certificate",
		"tls_config: {cert_file: /does/not/exist, key_file: " + empty + "}": "read the client certificate",
		"tls_config: {cert_file: " + empty + ", key_file: " + empty + "}":   "the client certificate and its key cannot be used",
		"tls_config: {min_version: TLS13, max_version: TLS12}":              "max_version is below min_version",
		"authorization: {credentials_ref: vault}":                           "use those that end in _file",
	} {
		_, err := NewAccess(AccessOptions{HTTP: httpConfig(t, text)})
		require.ErrorContains(t, err, message, text)
	}
	both := httpConfig(t, "basic_auth: {username: a}")
	both.Authorization = &promconfig.Authorization{Credentials: "b"}
	_, err := NewAccess(AccessOptions{HTTP: both})
	require.ErrorContains(t, err, "at most one of basic_auth")
}

func TestCredentialsInTheStandardForm(t *testing.T) {
	file := write(t, "secret", "from the file\n")
	for text, expected := range map[string]http.Header{
		"authorization: {credentials: inline}":                          {"Authorization": {"Bearer inline"}},
		"authorization: {type: Custom, credentials_file: " + file + "}": {"Authorization": {"Custom from the file"}},
		"bearer_token_file: " + file:                                    {"Authorization": {"Bearer from the file"}},
		"basic_auth: {username: me, password_file: " + file + "}":       {"Authorization": {"Basic bWU6ZnJvbSB0aGUgZmlsZQ=="}},
		"http_headers: {X-Api-Key: {files: [" + file + "]}}":            {"X-Api-Key": {"from the file"}},
		"follow_redirects: true":                                        {},
	} {
		fake := faketier.New()
		made := client(t, fake.URL, access(t, AccessOptions{HTTP: httpConfig(t, text), TokenFile: "/does/not/exist"}))
		ask(t, made)
		seen := fake.Requests()[0].Header
		for _, name := range []string{"Content-Length", "User-Agent", "X-Scope-Orgid", "Accept-Encoding", "Content-Type"} {
			seen.Del(name)
		}
		require.Equal(t, expected, seen, text)
		fake.Close()
	}
}

// ask asks a tier and wants an answer.
func ask(t *testing.T, made *Client) {
	t.Helper()
	response, err := made.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}}, nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestClientCertificatesAreReadAnew(t *testing.T) {
	servers, first, second := certificates.NewAuthority(t), certificates.NewAuthority(t), certificates.NewAuthority(t)
	directory := t.TempDir()
	tomorrow := time.Now().Add(24 * time.Hour)
	certificate, key := first.Issue(tomorrow, "tierproxy").Write(t, directory)
	authority := filepath.Join(directory, "ca.pem")
	require.NoError(t, os.WriteFile(authority, servers.PEM, 0o600))
	shown := access(t, AccessOptions{HTTP: httpConfig(t, fmt.Sprintf("tls_config: {ca_file: %s, cert_file: %s, key_file: %s}", authority, certificate, key))})

	old := serveTLS(t, servers.Issue(tomorrow, "127.0.0.1"), first, sources{})
	made := client(t, old.URL, shown)
	require.Empty(t, made.measure(t.Context(), tier.Cold).Error)

	// The server moves to another authority for clients, and to one of its own.
	others := certificates.NewAuthority(t)
	rotated := serveTLS(t, others.Issue(tomorrow, "127.0.0.1"), second, sources{})
	made.base.Host = strings.TrimPrefix(rotated.URL, "https://")
	require.NotEmpty(t, made.measure(t.Context(), tier.Cold).Error)
	second.Issue(tomorrow, "tierproxy").Write(t, directory)
	certificates.Replace(t, authority, others.PEM)
	require.Empty(t, made.measure(t.Context(), tier.Cold).Error)

	// Half of a rotation is no reason to fail.
	certificates.Replace(t, authority, []byte("half of a"))
	require.Empty(t, made.measure(t.Context(), tier.Cold).Error)
	require.NoError(t, os.Remove(key))
	require.Empty(t, made.measure(t.Context(), tier.Cold).Error)
}

func TestTheServiceAccountTokenGoesOutOverTLSOnly(t *testing.T) {
	known := certificates.NewAuthority(t)
	authority := write(t, "ca.pem", string(known.PEM))
	var mutex sync.Mutex
	var seen []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		seen = append(seen, request.Header.Get("Authorization"))
		mutex.Unlock()
		faketier.Success(w, request)
	})
	secure := serveTLS(t, known.Issue(time.Now().Add(time.Hour), "127.0.0.1"), nil, handler)
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	token := filepath.Join(t.TempDir(), "token")
	shown := access(t, AccessOptions{TokenFile: token, Authorities: []string{authority}})
	made := client(t, secure.URL, shown)
	ask(t, made) // There is no token yet.
	certificates.Replace(t, token, []byte("one\n"))
	ask(t, made)
	certificates.Replace(t, token, []byte("two"))
	ask(t, made)
	ask(t, client(t, plain.URL, shown))
	// What the configuration names wins.
	ask(t, client(t, secure.URL, access(t, AccessOptions{TokenFile: token, HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}\nbasic_auth: {username: u, password: p}")})))
	ask(t, client(t, secure.URL, access(t, AccessOptions{TokenFile: token, HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}")})))
	require.Equal(t, []string{"", "Bearer one", "Bearer two", "", "Basic dTpw", "Bearer two"}, seen)
}

// tokenUntil makes a token as Kubernetes does, which says when it ends.
func tokenUntil(t *testing.T, end time.Time) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(end), ID: fmt.Sprint(time.Now().UnixNano())}).SignedString([]byte("key"))
	require.NoError(t, err)
	return token
}

func TestTokenRotationUnderLoadLosesNoQuery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var valid sync.Map // every token that was ever written
	issue := func() {
		token := tokenUntil(t, time.Now().Add(time.Hour))
		valid.Store("Bearer "+token, true)
		certificates.Replace(t, path, []byte(token))
	}
	issue()
	var answered, refused atomic.Int64
	known := certificates.NewAuthority(t)
	server := serveTLS(t, known.Issue(time.Now().Add(time.Hour), "127.0.0.1"), nil, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, ok := valid.Load(request.Header.Get("Authorization")); !ok {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answered.Add(1)
		faketier.Success(w, request)
	}))
	made := client(t, server.URL, access(t, AccessOptions{TokenFile: path, Authorities: []string{write(t, "ca.pem", string(known.PEM))}}))
	ask(t, made)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var load sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				response, err := made.Do(ctx, &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}}, nil)
				if err != nil {
					t.Errorf("a query was lost: %s", err)
					return
				}
				_ = response.Body.Close()
			}
		})
	}
	for rotation := 0; rotation < 300 || (answered.Load() <= 100 && ctx.Err() == nil); rotation++ {
		if rotation%3 == 0 {
			// Somebody who writes in place leaves the file empty for a moment.
			require.NoError(t, os.Truncate(path, 0))
		}
		issue()
	}
	close(done)
	load.Wait()
	require.Zero(t, refused.Load())
	require.Greater(t, answered.Load(), int64(100))
}

func TestATokenIsNotUsedPastItsLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	secret := &secretFile{path: path}
	_, err := secret.Fetch(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)

	ended := tokenUntil(t, time.Now().Add(-time.Second))
	certificates.Replace(t, path, []byte(ended))
	got, err := secret.Fetch(t.Context())
	require.NoError(t, err, "who accepts the token decides, as long as it is what the file holds")
	require.Equal(t, ended, got)
	require.NoError(t, os.Truncate(path, 0))
	_, err = secret.Fetch(t.Context())
	require.Equal(t, FailureCredential, FailureOf(err), "it is over, so it does not outlive the file")
	require.NotContains(t, err.Error(), ended)

	good := tokenUntil(t, time.Now().Add(time.Hour))
	certificates.Replace(t, path, []byte(good))
	_, err = secret.Fetch(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	got, err = secret.Fetch(t.Context())
	require.NoError(t, err, "a moment without the file")
	require.Equal(t, good, got)
	secret.readAt = time.Now().Add(-rotationGrace)
	_, err = secret.Fetch(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOAuth2(t *testing.T) {
	var refuse atomic.Bool
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user, password, _ := request.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if refuse.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"no such secret: %s"}`, password)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"for-%s-%s","token_type":"Bearer","expires_in":1}`, user, password)
	}))
	t.Cleanup(tokens.Close)
	fake := faketier.New()
	t.Cleanup(fake.Close)
	secret := write(t, "secret", "planted-secret")
	made := client(t, fake.URL, access(t, AccessOptions{HTTP: httpConfig(t, fmt.Sprintf("oauth2: {client_id: me, client_secret_file: %s, token_url: %q}", secret, tokens.URL))}))
	ask(t, made)
	require.Equal(t, "Bearer for-me-planted-secret", fake.Requests()[0].Header.Get("Authorization"))

	// What the server says of a refusal can hold the secret.
	refuse.Store(true)
	_, err := made.get(t.Context(), "/api/v1/query", nil)
	require.Error(t, err)
	require.Equal(t, FailureCredential, FailureOf(err))
	require.ErrorContains(t, err, "the OAuth 2 server gave no token: status 401: invalid_client")
	require.NotContains(t, fmt.Sprintf("%+v", err), "planted-secret")
	require.Equal(t, "the gateway's own credential for it cannot be had", Describe(err))

	// A tier that fails is not taken for a server of tokens.
	refuse.Store(false)
	fake.Close()
	_, err = made.get(t.Context(), "/api/v1/query", nil)
	require.Equal(t, FailureRefused, FailureOf(err))
}

// What a client shows to a server of tokens goes to no other: neither its secret,
// in a header or in the body, nor what it signed.
func TestTheSecretOfAClientDoesNotFollowARedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"access_token":"stolen","token_type":"Bearer"}`)
	}))
	t.Cleanup(other.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encoded := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	keyFile := write(t, "key", string(encoded))
	for _, grant := range []string{
		"client_secret: planted-secret",
		"client_certificate_key_file: " + keyFile + ", grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			var asked atomic.Int64
			tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				asked.Add(1)
				http.Redirect(w, request, other.URL+"/token", status)
			}))
			fake := faketier.New()
			made := client(t, fake.URL, access(t, AccessOptions{HTTP: httpConfig(t, fmt.Sprintf("oauth2: {client_id: me, %s, token_url: %q}", grant, tokens.URL))}))
			_, err := made.get(t.Context(), "/api/v1/query", nil)
			require.Equal(t, FailureCredential, FailureOf(err), "%d: %v", status, err)
			require.NotContains(t, fmt.Sprintf("%+v", err), "planted-secret")
			require.Positive(t, asked.Load())
			require.Zero(t, elsewhere.Load(), "%s, status %d", grant, status)
			require.Empty(t, fake.Requests())
			tokens.Close()
			fake.Close()
		}
	}
}

// An assertion that is signed with a key takes the place of a secret.
func TestOAuth2BySignature(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	keyFile := write(t, "key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	for _, algorithm := range []string{"RS256", "RS384", "RS512"} {
		tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			claims := jwt.MapClaims{}
			_, err := jwt.ParseWithClaims(request.PostFormValue("assertion"), claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{algorithm}))
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = fmt.Fprintf(w, `{"access_token":"for-%v-%v-%v","token_type":"Bearer","expires_in":60}`, claims["iss"], claims["team"], request.PostFormValue("tenant"))
		}))
		fake := faketier.New()
		ask(t, client(t, fake.URL, access(t, AccessOptions{HTTP: httpConfig(t, fmt.Sprintf(
			"oauth2: {client_id: me, client_certificate_key_file: %s, grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', signature_algorithm: %s, "+
				"claims: {team: shop}, endpoint_params: {tenant: a}, token_url: %q}", keyFile, algorithm, tokens.URL))})))
		require.Equal(t, "Bearer for-me-shop-a", fake.Requests()[0].Header.Get("Authorization"))
		tokens.Close()
		fake.Close()
	}
}

func TestACredentialDoesNotFollowARedirect(t *testing.T) {
	elsewhere := faketier.New()
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/api/v1/query?query=up", status))
		made := client(t, server.URL, access(t, AccessOptions{HTTP: httpConfig(t, "authorization: {credentials: planted}\nfollow_redirects: true")}))
		_, err := made.get(t.Context(), "/api/v1/query", nil)
		require.Equal(t, FailureNotPrometheus, FailureOf(err))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			response, err := made.Do(t.Context(), &promapi.Request{Method: method, Path: "/api/v1/query", Header: http.Header{}}, nil)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, status, response.StatusCode)
		}
		server.Close()
	}
	require.Empty(t, elsewhere.Requests())
}

func TestTenancyPorts(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	made := client(t, fake.URL, nil)
	made.tenancy = &Tenancy{Parameter: "namespace", Probe: "monitoring"}
	do := func(method, rawQuery, body string, confined ...string) faketier.Request {
		t.Helper()
		request := &promapi.Request{Method: method, Path: "/api/v1/query", RawQuery: rawQuery, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, ConfinedTo: confined}
		if body != "" {
			request.Body = []byte(body)
		}
		response, err := made.Do(t.Context(), request, nil)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		seen := fake.Requests()
		return seen[len(seen)-1]
	}
	seen := do(http.MethodPost, "", "query=up", "shop")
	require.Equal(t, http.MethodGet, seen.Method, "a POST that fits into a URL")
	require.Equal(t, url.Values{"query": {"up"}, "namespace": {"shop"}}, seen.Parameters)
	require.Empty(t, seen.Body)
	require.Empty(t, seen.Header.Get("Content-Type"))
	seen = do(http.MethodGet, "query=up", "", "shop", "bank")
	require.Equal(t, url.Values{"query": {"up"}, "namespace": {"shop", "bank"}}, seen.Parameters)
	long := "query=" + strings.Repeat("a", longestQuery)
	seen = do(http.MethodPost, "", long, "shop")
	require.Equal(t, http.MethodPost, seen.Method)
	require.Equal(t, long, seen.Body)
	require.Equal(t, []string{"shop"}, seen.Parameters["namespace"], "such a proxy reads it from the URL only")

	_, err := made.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}}, nil)
	require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status)
	require.Equal(t, url.Values{"query": {"vector(1)"}, "namespace": {"monitoring"}}, made.tenancy.ofProbe("/api/v1/query", url.Values{"query": {"vector(1)"}}))
	require.Nil(t, made.tenancy.ofProbe("/api/v1/label/__name__/values", nil))
}
