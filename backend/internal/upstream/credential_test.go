package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestTokenFile_GoesOutOverTLSOnly(t *testing.T) {
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
	shown := access(t, TransportOptions{TokenFile: token, Authorities: []string{authority}})
	made := client(t, secure.URL, shown)
	ask(t, made) // There is no token yet.
	certificates.Replace(t, token, []byte("one\n"))
	ask(t, made)
	certificates.Replace(t, token, []byte("two"))
	ask(t, made)
	ask(t, client(t, plain.URL, shown))
	// What the configuration names wins.
	ask(t, client(t, secure.URL, access(t, TransportOptions{TokenFile: token, HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}\nbasic_auth: {username: u, password: p}")})))
	ask(t, client(t, secure.URL, access(t, TransportOptions{TokenFile: token, HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}")})))
	require.Equal(t, []string{"", "Bearer one", "Bearer two", "", "Basic dTpw", "Bearer two"}, seen)
}

// tokenUntil makes a token as Kubernetes does, which says when it ends.
func tokenUntil(t *testing.T, end time.Time) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(end), ID: fmt.Sprint(time.Now().UnixNano())}).SignedString([]byte("key"))
	require.NoError(t, err)
	return token
}

func TestTokenFile_RotationUnderLoadLosesNoQuery(t *testing.T) {
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
	made := client(t, server.URL, access(t, TransportOptions{TokenFile: path, Authorities: []string{write(t, "ca.pem", string(known.PEM))}}))
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
				response, err := made.Do(ctx, &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}})
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

func TestTokenFile_IsNotUsedPastItsExpiry(t *testing.T) {
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
