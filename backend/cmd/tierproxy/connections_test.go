package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// connect opens a connection on which no read waits for longer than 20 s.
func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	require.NoError(t, connection.SetReadDeadline(time.Now().Add(20*time.Second)))
	return connection
}

func TestListener_SlowClientsLoseTheirConnections(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	tier.Handle(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":"`)
		piece := bytes.Repeat([]byte("x"), 1<<20)
		for range 64 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	address, admin := running.FreeAddress(t), running.FreeAddress(t)
	startTierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL, "DATASOURCE_QUERY_TIMEOUT=500ms", "TIERPROXY_LIMITS_CONCURRENT=1"},
		"--web.listen-address", address, "--web.admin-address", admin)
	client := caller{t: t}
	client.eventually("http://"+address+"/-/ready", 200)

	reading := connect(t, address)
	_, err := fmt.Fprint(reading, "GET /api/v1/query?query=up HTTP/1.1\r\nHost: gateway\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReaderSize(reading, 512)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	sending := connect(t, address)
	_, err = fmt.Fprint(sending, "POST /api/v1/query HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nquery=up")
	require.NoError(t, err)

	tier.Handle(faketier.Success)
	client.eventually("http://"+address+"/api/v1/query?query=up", 200)
	_, err = io.Copy(io.Discard, response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the answer is cut off")
	answer, err := io.ReadAll(sending)
	require.NoError(t, err, "the connection is closed")
	require.Contains(t, string(answer), "HTTP/1.1 400 ")
}

func TestListener_HeadersAreBounded(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	address, admin := running.FreeAddress(t), running.FreeAddress(t)
	startTierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL}, "--web.listen-address", address, "--web.admin-address", admin)
	caller{t: t}.eventually("http://"+address+"/-/ready", 200)
	for _, each := range []string{address, admin} {
		connection := connect(t, each)
		_, err := fmt.Fprintf(connection, "GET /-/healthy HTTP/1.1\r\nHost: gateway\r\nX-Long: %s\r\n\r\n", bytes.Repeat([]byte("x"), 600<<10))
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)
	}
}

// The servers end connections that are idle or stuck. Waiting for that takes
// minutes, so the limits themselves are compared.
func TestListener_ServersHaveEveryTimeout(t *testing.T) {
	framework := echo.New()
	urlSpace{handler: http.NotFoundHandler()}.RegisterRoute(framework)
	for _, server := range []*http.Server{framework.Server, framework.TLSServer} {
		require.Equal(t, idleTimeout, server.IdleTimeout)
		require.Equal(t, readHeaderTimeout, server.ReadHeaderTimeout)
		require.Equal(t, writeTimeout, server.WriteTimeout)
		require.Equal(t, stuckTimeout, server.HTTP2.WriteByteTimeout)
	}
}
