package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestOAuth2_TokensAndTheirErrors(t *testing.T) {
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
	made := client(t, fake.URL, access(t, TransportOptions{HTTP: httpConfig(t, fmt.Sprintf("oauth2: {client_id: me, client_secret_file: %s, token_url: %q}", secret, tokens.URL))}))
	ask(t, made)
	require.Equal(t, "Bearer for-me-planted-secret", fake.Requests()[0].Header.Get("Authorization"))

	// What the server says of a refusal can hold the secret.
	refuse.Store(true)
	_, _, err := made.Get(t.Context(), "/api/v1/query", nil)
	require.Error(t, err)
	require.Equal(t, FailureCredential, FailureOf(err))
	require.ErrorContains(t, err, "the OAuth 2 server gave no token: status 401: invalid_client")
	require.NotContains(t, fmt.Sprintf("%+v", err), "planted-secret")
	require.Equal(t, "tierproxy cannot get its own credential for it", Describe(err))

	// A tier that fails is not taken for a server of tokens.
	refuse.Store(false)
	fake.Close()
	_, _, err = made.Get(t.Context(), "/api/v1/query", nil)
	require.Equal(t, FailureRefused, FailureOf(err))
}

// What a client shows to a server of tokens goes to no other: neither its secret,
// in a header or in the body, nor what it signed.
func TestOAuth2_SecretDoesNotFollowARedirect(t *testing.T) {
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
			made := client(t, fake.URL, access(t, TransportOptions{HTTP: httpConfig(t, fmt.Sprintf("oauth2: {client_id: me, %s, token_url: %q}", grant, tokens.URL))}))
			_, _, err := made.Get(t.Context(), "/api/v1/query", nil)
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
func TestOAuth2_BySignature(t *testing.T) {
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
		ask(t, client(t, fake.URL, access(t, TransportOptions{HTTP: httpConfig(t, fmt.Sprintf(
			"oauth2: {client_id: me, client_certificate_key_file: %s, grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', signature_algorithm: %s, "+
				"claims: {team: shop}, endpoint_params: {tenant: a}, token_url: %q}", keyFile, algorithm, tokens.URL))})))
		require.Equal(t, "Bearer for-me-shop-a", fake.Requests()[0].Header.Get("Authorization"))
		tokens.Close()
		fake.Close()
	}
}
