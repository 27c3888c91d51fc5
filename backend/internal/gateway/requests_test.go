package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// largeForm is a form of a length that holds a small query.
func largeForm(number, length int) string {
	form := fmt.Sprintf("query=up&time=%d&padding=", time.Now().Unix()-int64(number))
	return form + strings.Repeat("x", length-len(form))
}

func newPost(t *testing.T, target, body string, header ...string) *http.Request {
	t.Helper()
	request := newRequest(t, target, header...)
	request.Method, request.Body, request.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader(body)), int64(len(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request
}

// Many callers send large requests while the tier hangs. What is held of them
// together stays small, and the rest is told to come again.
func TestRequestMemory_BoundsAllBodiesTogether(t *testing.T) {
	const count, most = 60, 2 << 20
	for _, length := range []int{100 << 10, 250 << 10, 4<<20 - 1} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			g := newTurnsGateway(t, true, 50, 500)
			target := g.URL + "/proxy/globaldatasources/metrics/api/v1/query"
			senders := newCrowd(t)
			for i := range count {
				senders.ask(newPost(t, target, largeForm(i, length), "Authorization", fmt.Sprintf("Bearer user%d", i%5)))
			}
			g.settled(t, atHot, senders)
			held := (count - int(senders.answered.Load())) * length
			require.LessOrEqual(t, held, most, "bytes of bodies that are held")
			if length <= 256<<10 {
				require.Positive(t, held)
				require.Equal(t, int(senders.answered.Load()), senders.count(http.StatusServiceUnavailable), "%v", senders.statuses)
			} else {
				// Some clients still send when the answer comes, and lose the connection.
				require.Equal(t, count, senders.count(http.StatusRequestEntityTooLarge)+senders.count(0), "%v", senders.statuses)
			}
			for range count {
				g.release <- struct{}{}
			}
			senders.group.Wait()
			// The memory is free again.
			response, body := g.ask(t, http.MethodPost, "/proxy/globaldatasources/metrics/api/v1/query", largeForm(100, min(length, 250<<10)), "Authorization", "Bearer user1")
			require.Equal(t, http.StatusOK, response.StatusCode, body)
		})
	}
}

// One caller sends as much as it can, in bodies and in query strings. Another
// one is answered.
func TestRequestMemory_OneCallerLeavesHalf(t *testing.T) {
	g := newTurnsGateway(t, true, 50, 500)
	target := g.URL + "/proxy/globaldatasources/metrics/api/v1/query"
	flood, other := newCrowd(t), newCrowd(t)
	for i := range 100 {
		flood.ask(newPost(t, target, largeForm(i, 200<<10), "Authorization", "Bearer mallory"))
		flood.ask(newRequest(t, target+"?"+largeForm(1000+i, 200<<10), "Authorization", "Bearer mallory"))
	}
	g.settled(t, atHot, flood)
	require.Positive(t, flood.count(http.StatusServiceUnavailable))
	require.Equal(t, int(flood.answered.Load()), flood.count(http.StatusServiceUnavailable), "%v", flood.statuses)
	other.ask(newPost(t, target, largeForm(2000, 250<<10), "Authorization", "Bearer alice"))
	g.settled(t, atHot, flood, other)
	require.Zero(t, other.answered.Load(), "it is not turned away")
	for range 300 {
		g.release <- struct{}{}
	}
	other.group.Wait()
	require.Equal(t, 1, other.count(http.StatusOK))
}

// What a request takes is free when it is refused, too.
func TestRequestMemory_IsGivenBackWithEveryOutcome(t *testing.T) {
	g := newGateway(t, func(c *config.Config) { c.Hot.URL = "" })
	for range 200 {
		for path, status := range map[string]int{"/api/v1/query_range": 400, "/api/v1/nothing": 404, "/api/v1/metrics/query": 400, "/api/v1/datasources/explain": 200} {
			response, body := g.ask(t, http.MethodPost, path, strings.Repeat("x", 200<<10))
			require.Equal(t, status, response.StatusCode, "%s: %.200s", path, body)
		}
	}
}

func TestRequestMemory_EachRequestIsBounded(t *testing.T) {
	g := newGateway(t, nil)
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	require.NoError(t, parts.WriteField("query", "up"))
	require.NoError(t, parts.WriteField("padding", strings.Repeat("x", 300<<10)))
	require.NoError(t, parts.Close())
	for name, test := range map[string]struct {
		method, path, body, contentType string
		status                          int
	}{
		"a form":         {http.MethodPost, "/api/v1/query", largeForm(1, 300<<10), "application/x-www-form-urlencoded", 413},
		"a multipart":    {http.MethodPost, "/api/v1/query", form.String(), parts.FormDataContentType(), 413},
		"an explanation": {http.MethodPost, "/api/v1/datasources/explain", largeForm(1, 300<<10), "application/x-www-form-urlencoded", 413},
		"a JSON query":   {http.MethodPost, "/api/v1/metrics/query", `{"query":"` + strings.Repeat(" ", 300<<10) + `up"}`, "application/json", 413},
		"a spec":         {http.MethodPost, "/api/v1/datasources/check", `{` + strings.Repeat(" ", 300<<10) + `}`, "application/json", 413},
		"a query string": {http.MethodGet, "/api/v1/query?" + largeForm(1, 300<<10), "", "", 414},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := g.ask(t, test.method, test.path, test.body, "Content-Type", test.contentType)
			require.Equal(t, test.status, response.StatusCode, "%.300s", body)
			require.Contains(t, body, `"errorType":"bad_data"`)
			require.Empty(t, g.hot.Requests())
		})
	}
}
