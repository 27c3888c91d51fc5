package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// serveSteps answers range queries: the value at each step is its time.
func serveSteps(w http.ResponseWriter, request *http.Request) {
	_ = request.ParseForm()
	start, _ := strconv.ParseFloat(request.Form.Get("start"), 64)
	end, _ := strconv.ParseFloat(request.Form.Get("end"), 64)
	step, _ := strconv.ParseFloat(request.Form.Get("step"), 64)
	if step == 0 {
		faketier.Success(w, request)
		return
	}
	var values []string
	for at := start; at <= end; at += step {
		values = append(values, fmt.Sprintf(`[%v,"%v"]`, int64(at), int64(at)))
	}
	_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"query":%q},"values":[%s]}]}}`, request.Form.Get("query"), strings.Join(values, ","))
}

// liveGateway is a gateway on a socket with one tier.
type liveGateway struct {
	*httptest.Server

	gateway *Gateway
	cold    *faketier.Tier
}

func startLive(t *testing.T, change func(*config.Config)) *liveGateway {
	t.Helper()
	cold := faketier.Start(t)
	cold.Handle(serveSteps)
	settings := running.TwoTiers("", cold.URL)
	if change != nil {
		change(&settings)
	}
	g := New(running.Start(t, settings, nil))
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	t.Cleanup(g.EndStreams)
	return &liveGateway{Server: server, gateway: g, cold: cold}
}

// liveEvent is an event of a stream.
type liveEvent struct {
	id, name, data, retry string
	// body is the data of a snapshot or an append.
	body struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
		Live struct {
			Start, End, Step int64
			Tier             string
		}
	}
}

// steps returns the steps of the first series.
func (e *liveEvent) steps() (list []int64) {
	for _, value := range e.body.Data.Result[0].Values {
		list = append(list, int64(value[0].(float64)))
	}
	return list
}

// liveClient reads the events of a stream.
type liveClient struct {
	*bufio.Scanner

	t *testing.T
}

// open opens a stream. headers are names and values.
func (g *liveGateway) open(t *testing.T, path string, parameters url.Values, headers ...string) (*http.Response, *liveClient) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+path+livePath+"?"+parameters.Encode(), http.NoBody)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 1<<20)
	return response, &liveClient{scanner, t}
}

// next returns the next event; nil at the end.
func (c *liveClient) next() *liveEvent {
	c.t.Helper()
	event := &liveEvent{}
	for c.Scan() {
		name, value, _ := strings.Cut(c.Text(), ": ")
		switch name {
		case "id":
			event.id = value
		case "event":
			event.name = value
		case "retry":
			event.retry = value
		case "data":
			event.data = value
		case "":
			if event.name == "" {
				continue // It was a comment.
			}
			require.NoError(c.t, json.Unmarshal([]byte(event.data), &event.body))
			return event
		}
	}
	return nil
}

// until returns the next event with a name.
func (c *liveClient) until(name string) *liveEvent {
	c.t.Helper()
	for {
		event := c.next()
		require.NotNil(c.t, event, "the stream ended without %s", name)
		if event.name == name {
			return event
		}
	}
}

func TestLive_SnapshotThenNewSteps(t *testing.T) {
	g := startLive(t, nil)
	response, client := g.open(t, "", url.Values{"query": {"up"}, "step": {"1s"}, "range": {"5"}})
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Equal(t, "no", response.Header.Get("X-Accel-Buffering"))
	snapshot := client.next()
	require.Equal(t, "snapshot", snapshot.name)
	require.Equal(t, "1000", snapshot.retry)
	said := snapshot.body.Live
	require.Equal(t, "cold", said.Tier)
	require.EqualValues(t, 1, said.Step)
	require.Equal(t, said.End-5, said.Start)
	last := said.End
	require.Len(t, snapshot.steps(), 6)
	for range 3 {
		update := client.next()
		require.Equal(t, "append", update.name)
		require.Equal(t, last+1, update.body.Live.Start)
		steps := update.steps()
		last = steps[len(steps)-1]
		require.Equal(t, update.body.Live.End, last)
		settled, err := strconv.ParseInt(update.id, 10, 64)
		require.NoError(t, err)
		require.InDelta(t, last-600, settled, 5, "what is older than routing.freshness is settled")
	}
	// The lag is far below a second, except on a machine that is very busy.
	require.WithinDuration(t, time.Now(), time.Unix(last, 0), 10*time.Second)
}

func TestLive_ResumesAfterLastEventID(t *testing.T) {
	g := startLive(t, nil)
	parameters := url.Values{"query": {"up"}, "step": {"15"}, "range": {"1h"}}
	_, client := g.open(t, "", parameters)
	id := client.next().id
	_, client = g.open(t, "", parameters, "Last-Event-ID", id)
	resumed := client.next()
	require.Equal(t, "append", resumed.name)
	require.Equal(t, id, strconv.FormatInt(resumed.body.Live.Start-15, 10))
	require.Equal(t, resumed.body.Live.Start, resumed.steps()[0])
	for _, unusable := range []string{"1", "abc", "-5", "NaN", "99999999999"} {
		_, client = g.open(t, "", parameters, "Last-Event-ID", unusable)
		require.Equal(t, "snapshot", client.next().name, unusable)
	}
}

func TestLive_MistakesAreListed(t *testing.T) {
	g := startLive(t, nil)
	for name, test := range map[string]struct {
		parameters url.Values
		fields     []string
	}{
		"no query":           {url.Values{}, []string{"query"}},
		"invalid PromQL":     {url.Values{"query": {"up{"}}, []string{"query"}},
		"times":              {url.Values{"query": {"up"}, "start": {"1"}, "end": {"2"}, "time": {"3"}}, []string{"start", "end", "time"}},
		"short step":         {url.Values{"query": {"up"}, "step": {"100ms"}}, []string{"step"}},
		"not durations":      {url.Values{"query": {"up"}, "step": {"soon"}, "range": {"-1h"}}, []string{"step", "range"}},
		"too many points":    {url.Values{"query": {"up"}, "step": {"1s"}, "range": {"1d"}}, []string{"step"}},
		"twice":              {url.Values{"query": {"up", "down"}}, []string{"query"}},
		"an empty namespace": {url.Values{"query": {"up"}, "namespace": {""}}, []string{"namespace"}},
	} {
		t.Run(name, func(t *testing.T) {
			response, _ := g.open(t, "", test.parameters)
			require.Equal(t, http.StatusBadRequest, response.StatusCode)
			var body struct {
				ErrorType string
				Mistakes  []struct{ Field, Message string }
			}
			require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
			require.Equal(t, "bad_data", body.ErrorType)
			var fields []string
			for _, mistake := range body.Mistakes {
				fields = append(fields, mistake.Field)
				require.NotEmpty(t, mistake.Message)
			}
			require.ElementsMatch(t, test.fields, fields)
		})
	}
}
