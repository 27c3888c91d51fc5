package webui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTransport_RepeatsAnswersThatWereCutOff(t *testing.T) {
	var cut, asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
		if cut.Add(-1) >= 0 {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	client := http.Client{Transport: WholeAnswers{http.DefaultTransport}}
	ask := func() (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("query=up"))
		require.NoError(t, err)
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}

	cut.Store(tries - 1)
	answer, err := ask()
	require.NoError(t, err)
	require.Equal(t, "query=up", answer)
	require.EqualValues(t, tries, asked.Load())

	cut.Store(tries)
	_, err = ask()
	require.ErrorContains(t, err, "cut off")
}

func TestTransport_PassesOnStreamsAsTheyCome(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	require.NoError(t, err)
	response, err := WholeAnswers{http.DefaultTransport}.RoundTrip(request)
	require.NoError(t, err)
	event := make([]byte, len("data: 1\n\n"))
	_, err = io.ReadFull(response.Body, event)
	require.NoError(t, err)
	require.Equal(t, "data: 1\n\n", string(event))
	require.NoError(t, response.Body.Close())
}
