package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSiegeAttacks_CoverTheRows(t *testing.T) {
	rows := map[int]int{}
	for _, each := range siegeAttacks {
		rows[each.row]++
	}
	for row := 3; row <= 9; row++ {
		require.Positive(t, rows[row], "row %d", row)
		require.Len(t, attacksOf([]int{row}), rows[row])
	}
	require.Len(t, rows, 7)
}

// Each attack reaches the gateway, counts what came of it and ends: by itself,
// or once the phase is over where it holds connections.
func TestSiegeAttacks_ReachTheGatewayAndEnd(t *testing.T) {
	for _, attack := range siegeAttacks {
		t.Run(attack.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var connections atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
				_, _ = io.Copy(io.Discard, request.Body) // The caller may be gone.
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state != http.StateNew {
					return
				}
				connections.Add(1)
				if attack.row == 6 {
					cancel()
				}
			}
			server.Start()
			defer server.Close()
			caller := &siegeCaller{
				gateway: server.URL, random: rand.New(rand.NewPCG(1, 1)), client: httpClient(),
				current: attack.name, tallies: map[string]*hostileTally{attack.name: {Outcomes: map[string]int{}}},
			}
			defer caller.client.CloseIdleConnections()
			attack.run(ctx, caller)
			require.Positive(t, connections.Load())
			require.NotEmpty(t, caller.tallies[attack.name].Outcomes)
		})
	}
}

func TestSiegeUsers_TellPersesWhoTheyAre(t *testing.T) {
	token, err := sessionOf("user-01")
	require.NoError(t, err)
	perses := fakePerses("http://127.0.0.1:1")
	ask := func(path string, header http.Header) int {
		request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		request.Header = header
		recorder := httptest.NewRecorder()
		perses.ServeHTTP(recorder, request)
		return recorder.Code
	}
	const shared, own = "/api/v1/globaldatasources/metrics", "/api/v1/projects/hostile/datasources/own"
	user := http.Header{"Authorization": {"Bearer " + token}}
	require.Equal(t, http.StatusOK, ask(shared, user))
	require.Equal(t, http.StatusForbidden, ask(own, user))
	require.Equal(t, http.StatusUnauthorized, ask(shared, http.Header{"Authorization": {"Bearer " + token + "x"}}))
	user["Cookie"] = []string{"jwtSignature=junk"}
	require.Equal(t, http.StatusOK, ask(shared, user), "one cookie without the other does not count")
	user["Cookie"] = []string{"jwtPayload=junk; jwtSignature=junk"}
	require.Equal(t, http.StatusUnauthorized, ask(shared, user), "cookies count before the header")
}
