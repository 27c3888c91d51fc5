package gateway_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// newUnion is a gateway of which both tiers together hold what ofBoth asks for.
func newUnion(t *testing.T, change func(*config.Config)) *served {
	t.Helper()
	return newGateway(t, func(settings *config.Config) {
		settings.Cold.Lag = config.Duration(2 * time.Hour)
		if change != nil {
			change(settings)
		}
	})
}

// ofBoth asks an endpoint for more than one tier holds.
func ofBoth(endpoint string, more ...string) string {
	parameters := url.Values{
		"query": {"up"}, "match[]": {"up"},
		"start": {fmt.Sprint(time.Now().Add(-72 * time.Hour).Unix())}, "end": {fmt.Sprint(time.Now().Unix())},
	}
	for i := 0; i < len(more); i += 2 {
		parameters.Set(more[i], more[i+1])
	}
	return "/api/v1/" + endpoint + "?" + parameters.Encode()
}

// seriesOf is an answer of so many series, or of their exemplars.
func seriesOf(kind string, count int, exemplars bool) string {
	var text strings.Builder
	text.WriteString(`{"status":"success","data":[`)
	for i := range count {
		if i > 0 {
			text.WriteByte(',')
		}
		labels := fmt.Sprintf(`{"__name__":"up","job":"%s","pod":"web-%d"}`, kind, i)
		if exemplars {
			labels = fmt.Sprintf(`{"seriesLabels":%s,"exemplars":[{"labels":{"trace":"%d"},"value":"1","timestamp":1}]}`, labels, i)
		}
		text.WriteString(labels)
	}
	text.WriteString(`]}`)
	return text.String()
}

func lengthOfData(t *testing.T, body string) int {
	t.Helper()
	var answer struct {
		Data []json.RawMessage `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer), "%.300s", body)
	return len(answer.Data)
}

// Version 0.1.0 takes minutes for these: it compares each series with each.
func TestUnion_LargeAnswersTakeTimeInProportion(t *testing.T) {
	for endpoint, count := range map[string]int{"query_exemplars": 30_000, "series": 100_000} {
		t.Run(endpoint, func(t *testing.T) {
			g := newUnion(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 256 << 20 })
			g.hot.Handle(faketier.Status(200, seriesOf("a", count, endpoint == "query_exemplars")))
			g.cold.Handle(faketier.Status(200, seriesOf("b", count, endpoint == "query_exemplars")))
			started := time.Now()
			response, body := g.ask(t, http.MethodGet, ofBoth(endpoint), "")
			require.Equal(t, http.StatusOK, response.StatusCode, "%.300s", body)
			require.Equal(t, "hot,cold", response.Header.Get("X-Tier"))
			require.Equal(t, 2*count, lengthOfData(t, body))
			require.Less(t, time.Since(started), 100*time.Second)
		})
	}
}

// What a tier has answered in vain must not be held for good. Exemplars are refused where there is no memory; series would be
// joined while they come in.
func TestUnion_MemoryIsReleasedAfterErrors(t *testing.T) {
	g := newUnion(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 1 << 20 })
	whole := faketier.Status(200, seriesOf("a", 400, true))
	for _, failing := range []http.HandlerFunc{
		faketier.Status(400, `{"status":"error","errorType":"bad_data","error":"no"}`),
		faketier.Status(200, `{"status":"success","data":[`+strings.Repeat(" ", 75_000)),
		faketier.Status(200, `{"status":"success","data":[1]}`+strings.Repeat(" ", 75_000)),
	} {
		for range 30 {
			g.hot.Handle(whole)
			g.cold.Handle(failing)
			_, _ = g.ask(t, http.MethodGet, ofBoth("query_exemplars"), "")
			g.hot.Handle(failing)
			g.cold.Handle(whole)
			_, _ = g.ask(t, http.MethodGet, ofBoth("query_exemplars"), "")
		}
		g.hot.Handle(faketier.Status(200, seriesOf("b", 400, true)))
		g.cold.Handle(whole)
		response, body := g.ask(t, http.MethodGet, ofBoth("query_exemplars"), "")
		require.Equal(t, http.StatusOK, response.StatusCode, "%.300s", body)
		require.Equal(t, 800, lengthOfData(t, body))
	}
}

// TestUnion_HangingAnswersOfOneDatasourceLeaveRoomForOthers has tiers that stop
// in the middle of large answers, for one of two datasources.
func TestUnion_HangingAnswersOfOneDatasourceLeaveRoomForOthers(t *testing.T) {
	t.Parallel() // It waits most of the time.
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/globaldatasources/one": {}, "/globaldatasources/two": {}})
	g := newUnion(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Limits.DecodedMemory, settings.Query.Timeout = 16<<20, config.Duration(5*time.Second)
	})
	ask := func(name, target string) (*http.Response, string) {
		return g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+target, "", "Authorization", "Bearer alice")
	}
	// Two of these are more than the hanging ones leave where nothing but the sum
	// is bounded.
	small := seriesOf("a", 4000, true)
	const asked = 8
	sent := make(chan struct{}, 2*asked)
	answer := func(w http.ResponseWriter, request *http.Request) {
		if !strings.Contains(request.URL.RawQuery, "hang") {
			_, _ = io.WriteString(w, small)
			return
		}
		_, _ = io.WriteString(w, `{"status":"success","data":[`+strings.Repeat(" ", 970<<10))
		_ = http.NewResponseController(w).Flush()
		sent <- struct{}{}
		<-request.Context().Done()
	}
	g.hot.Handle(answer)
	g.cold.Handle(answer)
	_, _ = ask("one", ofBoth("query_exemplars")) // Its tiers are known from here on.

	type result struct {
		*http.Response
		body string
	}
	hanging := make(chan result, asked)
	for i := range asked {
		go func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/proxy/globaldatasources/one"+ofBoth("query_exemplars", "query", fmt.Sprintf(`hang{n="%d"}`, i)), http.NoBody)
			request.Header.Set("Authorization", "Bearer alice")
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				hanging <- result{}
				return
			}
			text, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			hanging <- result{response, string(text)}
		}()
		<-sent
		<-sent
	}
	for range 5 {
		response, body := ask("two", ofBoth("query_exemplars"))
		require.Equal(t, http.StatusOK, response.StatusCode, "%.300s", body)
		require.Equal(t, "hot,cold", response.Header.Get("X-Tier"))
	}
	hung := 0
	for range asked {
		each := <-hanging
		require.NotNil(t, each.Response)
		require.Equal(t, http.StatusServiceUnavailable, each.StatusCode, "%.300s", each.body)
		switch {
		case strings.Contains(each.body, "decoded_memory"):
			require.Contains(t, each.body, `"errorType":"unavailable"`)
			require.NotEmpty(t, each.Header.Get("Retry-After"))
		default:
			hung++
			require.Contains(t, each.body, `"errorType":"timeout"`)
			require.Contains(t, each.body, "the cold tier did not answer within 5s")
		}
	}
	require.Positive(t, hung)
	require.Less(t, hung, asked)
	// At the latest at the deadline the memory is free.
	response, body := ask("one", ofBoth("query_exemplars"))
	require.Equal(t, http.StatusOK, response.StatusCode, "%.300s", body)
	require.Equal(t, "hot,cold", response.Header.Get("X-Tier"))
}

func TestUnion_CompressedAnswersCountAsWhatTheyHold(t *testing.T) {
	g := newUnion(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 4 << 20 })
	var bomb strings.Builder
	zipped := gzip.NewWriter(&bomb)
	_, _ = io.WriteString(zipped, `{"status":"success","data":[`)
	for range 1000 {
		_, _ = io.WriteString(zipped, strings.Repeat(" ", 64<<10))
	}
	_, _ = io.WriteString(zipped, `]}`)
	require.NoError(t, zipped.Close())
	require.Less(t, bomb.Len(), 1<<20)
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, bomb.String())
	}
	g.hot.Handle(answer)
	g.cold.Handle(answer)
	response, body := g.ask(t, http.MethodGet, ofBoth("query_exemplars"), "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Contains(t, body, "limits.decoded_memory")
	require.Equal(t, "1", response.Header.Get("Retry-After"))
}

func TestExecuteQuery_MemoryIsBounded(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 4 << 20 })
	const sample = `{"metric":{"a":"b"},"value":[1,"1"]}`
	g.hot.Handle(faketier.Status(200, `{"status":"success","data":{"resultType":"vector","result":[`+strings.Repeat(sample+",", 40_000)+sample+`]}}`))
	_, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
	var queryError *datasource.QueryError
	require.ErrorAs(t, err, &queryError)
	require.Equal(t, http.StatusServiceUnavailable, queryError.Status)
	require.Contains(t, queryError.Message, "limits.decoded_memory")
	require.Equal(t, "hot", queryError.Tier)
	g.hot.Handle(faketier.Success)
	_, err = g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
	require.NoError(t, err)
}
