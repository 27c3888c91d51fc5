package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// largeAnswer is more than the buffers of all connections together hold.
const largeAnswer = 64 << 20

func sendLargeAnswer(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"status":"success","data":"`)
	piece := bytes.Repeat([]byte("x"), 1<<20)
	for range largeAnswer / len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// oneSlot is a gateway whose tier answers one query at a time, and that bounds
// queries to half a second.
func oneSlot(t *testing.T) *served {
	t.Helper()
	return newGateway(t, func(c *config.Config) {
		c.Hot.URL = ""
		c.Limits.Concurrent = 1
		c.Query.Timeout = config.Duration(500 * time.Millisecond)
		c.Limits.QueueWait = config.Duration(5 * time.Second)
	})
}

// A client asks for much and reads one byte. At the query's deadline its answer
// is aborted, and the tier answers somebody else.
func TestSlowClient_ReaderLosesItsSlotAtTheDeadline(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		g := oneSlot(t)
		g.cold.Handle(sendLargeAnswer)
		slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
		require.NoError(t, err)
		defer func() { _ = slow.Close() }()
		_, err = fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: gateway\r\n\r\n", one(1))
		require.NoError(t, err)
		reader := bufio.NewReaderSize(slow, 512)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		requireFreeSlot(t, g)
		// What is left ends without the end of the answer.
		require.NoError(t, slow.SetReadDeadline(time.Now().Add(20*time.Second)))
		read, err := io.Copy(io.Discard, response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Less(t, read, int64(largeAnswer))
	})
	t.Run("HTTP/2", func(t *testing.T) {
		g := oneSlot(t)
		secure := httptest.NewUnstartedServer(gateway.New(g.manager))
		secure.EnableHTTP2 = true
		secure.StartTLS()
		t.Cleanup(secure.Close)
		g.cold.Handle(sendLargeAnswer)
		response, err := secure.Client().Get(secure.URL + one(1))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.Equal(t, "HTTP/2.0", response.Proto)
		_, err = response.Body.Read(make([]byte, 1))
		require.NoError(t, err)
		requireFreeSlot(t, g)
		read, err := io.Copy(io.Discard, response.Body)
		require.Error(t, err, "the stream is reset")
		require.Less(t, read, int64(largeAnswer))
	})
}

// requireFreeSlot asks the tier that has one slot, which a slow client holds.
func requireFreeSlot(t *testing.T, g *served) {
	t.Helper()
	g.cold.Handle(faketier.Success)
	require.Eventually(t, func() bool {
		response, _ := g.ask(t, http.MethodGet, one(2), "")
		return response.StatusCode == http.StatusOK
	}, 15*time.Second, 10*time.Millisecond, "the slow reader holds the slot")
}

// A client announces a body and sends a part of it.
func TestSlowClient_HalfABodyIsRefusedAtTheDeadline(t *testing.T) {
	t.Parallel() // It waits most of the time.
	for _, path := range []string{"/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/datasources/explain", "/api/v1/datasources/check", "/api/v1/metrics/query", "/api/v1/alert_thresholds"} {
		for name, framing := range map[string]string{
			"Content-Length": "Content-Length: 1000\r\n\r\nquery=up",
			"chunked":        "Transfer-Encoding: chunked\r\n\r\n8\r\nquery=up\r\n",
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				g := oneSlot(t)
				slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
				require.NoError(t, err)
				defer func() { _ = slow.Close() }()
				_, err = fmt.Fprintf(slow, "POST %s HTTP/1.1\r\nHost: gateway\r\n%s", path, framing)
				require.NoError(t, err)
				require.NoError(t, slow.SetReadDeadline(time.Now().Add(10*time.Second)))
				reader := bufio.NewReader(slow)
				response, err := http.ReadResponse(reader, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusBadRequest, response.StatusCode)
				body, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Contains(t, string(body), `"errorType":"bad_data"`)
				_, err = reader.ReadByte()
				require.ErrorIs(t, err, io.EOF, "the connection is closed")
				require.Empty(t, g.cold.Requests())
			})
		}
	}
}

// The deadlines of a request are not those of the next one on its connection,
// even if the next one is for another handler of the same server.
func TestSlowClient_DeadlinesEndWithTheRequest(t *testing.T) {
	t.Parallel() // It waits most of the time.
	g := oneSlot(t)
	mux := http.NewServeMux()
	mux.Handle("/api/", gateway.New(g.manager))
	mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(time.Second) // Longer than a query may take.
		_, _ = io.WriteString(w, "done")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	client := server.Client()
	for range 2 {
		response, err := client.PostForm(server.URL+"/api/v1/query", map[string][]string{"query": {"up"}})
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
		response, err = client.Get(server.URL + "/other")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, "done", string(body))
	}
}
