package promapi

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.UnixMilli(1_760_000_000_000).UTC()

func read(endpoint Endpoint, method, query, contentType, body string) (*Request, error) {
	incoming := httptest.NewRequest(method, "/api/v1/"+string(endpoint)+"?"+query, strings.NewReader(body))
	if contentType != "" {
		incoming.Header.Set("Content-Type", contentType)
	}
	return ReadRequest(incoming, endpoint, incoming.URL.EscapedPath(), now)
}

func status(err error) int {
	var apiError *Error
	if !errors.As(err, &apiError) {
		return 0
	}
	return apiError.Status
}

func TestReadRequest_ReadsTimes(t *testing.T) {
	request, err := read(QueryRange, http.MethodGet, "query=up&start=1000.5&end=2025-01-02T03:04:05.678Z&step=1m30s&timeout=7&lookback_delta=90", "", "")
	require.NoError(t, err)
	require.Equal(t, TimeRange{
		Start: time.UnixMilli(1_000_500).UTC(), End: time.Date(2025, 1, 2, 3, 4, 5, 678_000_000, time.UTC),
		Step: 90 * time.Second, Timeout: 7 * time.Second, LookbackDelta: 90 * time.Second,
	}, request.TimeRange)

	request, err = read(Query, http.MethodGet, "query=up", "", "")
	require.NoError(t, err)
	require.Equal(t, TimeRange{Start: now, End: now}, request.TimeRange, "without a time it is now, pinned")

	request, err = read(Labels, http.MethodGet, "", "", "")
	require.NoError(t, err)
	require.Equal(t, TimeRange{End: now}, request.TimeRange, "without a start it reaches back to the beginning")

	request, err = read(Series, http.MethodGet, "match[]=up&start=-292273086-05-16T16:47:06Z&end=1e300", "", "")
	require.NoError(t, err)
	require.True(t, request.TimeRange.Start.Before(time.Unix(-900_000_000_000, 0)))
	require.True(t, request.TimeRange.End.After(time.Unix(900_000_000_000, 0)))

	request, err = read(Series, http.MethodGet, "match[]=up&end=292277025-08-18T07:12:54.999999999Z", "", "")
	require.NoError(t, err, "the end of all time, as clients of Prometheus write it")
	require.True(t, request.TimeRange.End.After(time.Unix(900_000_000_000, 0)))
}

func TestRequest_AtItsTimeSetsTheTimeOfNow(t *testing.T) {
	const pinned = "1760000000.123"
	received := time.UnixMilli(1_760_000_000_123).Add(999 * time.Microsecond) // Prometheus cuts off what is finer than a millisecond.
	for name, asked := range map[string]struct {
		method, query, body string
		// rawQuery and form are what goes to the tier.
		rawQuery, form string
	}{
		"GET":                     {http.MethodGet, "query=up%7Ba%3D%22b+c%22%7D", "", "query=up%7Ba%3D%22b+c%22%7D&time=" + pinned, ""},
		"POST":                    {http.MethodPost, "", "query=up", "", "query=up&time=" + pinned},
		"POST, query in the URL":  {http.MethodPost, "query=up", "", "query=up", "time=" + pinned},
		"an empty time":           {http.MethodGet, "time=&query=up", "", "query=up&time=" + pinned, ""},
		"an empty time in a form": {http.MethodPost, "time=", "query=up&time=", "", "query=up&time=" + pinned},
	} {
		t.Run(name, func(t *testing.T) {
			incoming := httptest.NewRequest(asked.method, "/api/v1/query?"+asked.query, strings.NewReader(asked.body))
			request, err := ReadRequest(incoming, Query, "/api/v1/query", received)
			require.NoError(t, err)
			sent := request.AtItsTime()
			require.Equal(t, []string{asked.rawQuery, asked.form}, []string{sent.RawQuery, string(sent.Body)})
			require.Equal(t, pinned, sent.Parameters.Get("time"))
			read, err := parseTime(sent.Parameters.Get("time"))
			require.NoError(t, err)
			require.Equal(t, request.TimeRange.Start.UnixMilli(), read.UnixMilli())
			require.Same(t, sent, sent.AtItsTime())
		})
	}
	for endpoint, query := range map[Endpoint]string{
		Query: "query=up&time=1", QueryRange: "query=up&start=1&end=2&step=1", Series: "match[]=up", Labels: "", QueryExemplars: "query=up", Rules: "",
	} {
		request, err := read(endpoint, http.MethodGet, query, "", "")
		require.NoError(t, err)
		require.Same(t, request, request.AtItsTime(), "%s goes out as it came in", endpoint)
	}
}

func BenchmarkAtItsTime(b *testing.B) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		b.Run(method, func(b *testing.B) {
			text := "query=" + strings.Repeat("sum+by+%28namespace%29+%28rate%28a%5B5m%5D%29%29+%2B+", 10) + "1"
			incoming := httptest.NewRequest(http.MethodGet, "/api/v1/query?"+text, http.NoBody)
			if method == http.MethodPost {
				incoming = httptest.NewRequest(http.MethodPost, "/api/v1/query", strings.NewReader(text))
			}
			request, err := ReadRequest(incoming, Query, "/api/v1/query", now)
			require.NoError(b, err)
			for b.Loop() {
				request.AtItsTime()
			}
		})
	}
}

func TestReadRequest_RefusesInvalidTimes(t *testing.T) {
	for query, message := range map[string]string{
		"query=up&start=x&end=1&step=1":            `invalid parameter "start": cannot parse "x" to a valid timestamp`,
		"query=up&start=NaN&end=1&step=1":          `invalid parameter "start": cannot parse "NaN" to a valid timestamp`,
		"query=up&start=0&step=1":                  `invalid parameter "end": cannot parse "" to a valid timestamp`,
		"query=up&start=0&end=1":                   `invalid parameter "step": cannot parse "" to a valid duration`,
		"query=up&start=0&end=1&step=1e30":         `invalid parameter "step": cannot parse "1e30" to a valid duration. It overflows int64`,
		"query=up&start=0&end=1&step=0":            `zero or negative query resolution step widths`,
		"query=up&start=2&end=1&step=1":            `end timestamp must not be before start time`,
		"query=up&start=0&end=1&step=1&timeout=x":  `invalid parameter "timeout"`,
		"query=up&query=down&start=0&end=1&step=1": `parameter "query" is given more than once with different values`,
		"query=%zz": "parse the query string",
		"a=1;b=2":   "parse the query string",
	} {
		_, err := read(QueryRange, http.MethodGet, query, "", "")
		require.ErrorContains(t, err, message, query)
		require.Equal(t, http.StatusBadRequest, status(err), query)
	}
	_, err := read(Query, http.MethodPost, "query=up", formContentType, "query=down")
	require.ErrorContains(t, err, "for example in the URL and in the body")
	_, err = read(Series, http.MethodGet, "match[]=up&start=10&end=5", "", "")
	require.ErrorContains(t, err, "end timestamp must not be before start time")
}

// Thanos overlooks some of these, or has other words.
func TestReadRequest_ChecksParametersAsPrometheusDoes(t *testing.T) {
	for _, wrong := range []struct {
		endpoint         Endpoint
		query, complaint string
	}{
		{Query, "query=up&limit=x", `invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax`},
		{QueryRange, "query=up&limit=-1", `invalid parameter "limit": limit must be non-negative`},
		{Query, "query=up&time=soon", `invalid parameter "time": invalid time value for 'time': cannot parse "soon" to a valid timestamp`},
		{Query, "query=up&lookback_delta=x", `error parsing lookback delta duration: cannot parse "x" to a valid duration`},
		{LabelValues, "limit=1.5", `invalid parameter "limit": strconv.Atoi: parsing "1.5": invalid syntax`},
		{Labels, "start=x", `invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp`},
		{QueryExemplars, "query=up&start=2&end=1", `end timestamp must not be before start timestamp`},
		{Metadata, "limit_per_metric=x", `limit_per_metric must be a number`},
		{Series, "", `no match[] parameter provided`},
		{Rules, "type=x", `invalid parameter "type": not supported value "x"`},
		{Rules, "exclude_alerts=x", `invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax`},
	} {
		_, err := read(wrong.endpoint, http.MethodGet, wrong.query, "", "")
		require.EqualError(t, err, wrong.complaint)
		require.Equal(t, http.StatusBadRequest, status(err))
	}
	for endpoint, query := range map[Endpoint]string{Query: "query=up&limit=", Rules: "type=Alert&exclude_alerts=true", Metadata: "limit=-1", Labels: "limit=0"} {
		_, err := read(endpoint, http.MethodGet, query, "", "")
		require.NoError(t, err, endpoint)
	}
}

// Form bodies are read whatever their content type claims, because the tier
// might do the same: nothing may be evaluated there that was not analysed here.
func TestReadRequest_ReadsForms(t *testing.T) {
	for _, contentType := range []string{formContentType, formContentType + "; charset=utf-8", "text/plain", "", "application/json", "nonsense;;"} {
		request, err := read(Query, http.MethodPost, "dedup=true", contentType, "query=up&time=5")
		require.NoError(t, err, contentType)
		require.Equal(t, url.Values{"query": {"up"}, "time": {"5"}, "dedup": {"true"}}, request.Parameters)
		require.Equal(t, "query=up&time=5", string(request.Body), "the bytes stay as they came in")
		require.Equal(t, formContentType, request.Header.Get("Content-Type"))
	}

	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("query", "sum(up)"))
	require.NoError(t, form.Close())
	request, err := read(Query, http.MethodPost, "", form.FormDataContentType(), body.String())
	require.NoError(t, err)
	require.Equal(t, "sum(up)", request.Parameters.Get("query"))
	require.Equal(t, "query=sum%28up%29", string(request.Body))

	_, err = read(Query, http.MethodPost, "", formContentType, "query="+strings.Repeat("x", maxBodyBytes))
	require.Equal(t, http.StatusRequestEntityTooLarge, status(err))

	incoming := httptest.NewRequest(http.MethodPost, "/api/v1/query", strings.NewReader("x"))
	incoming.Header.Set("Content-Encoding", "gzip")
	_, err = ReadRequest(incoming, Query, "/api/v1/query", now)
	require.Equal(t, http.StatusUnsupportedMediaType, status(err))
	incoming.Header.Set("Content-Encoding", "identity")
	_, err = ReadRequest(incoming, Query, "/api/v1/query", now)
	require.NoError(t, err)
}

func TestReadRequest_ForwardsAllowedHeadersOnly(t *testing.T) {
	incoming := httptest.NewRequest(http.MethodGet, "/api/v1/query?query=up", nil)
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "Traceparent", "Tracestate", "Authorization", "Cookie", "X-Scope-OrgID", "X-Forwarded-For", "Impersonate-User", "X-Tier-Choice"} {
		incoming.Header.Set(name, "value")
	}
	request, err := ReadRequest(incoming, Query, "/api/v1/query", now)
	require.NoError(t, err)
	var names []string
	for name := range request.Header {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"Accept", "Accept-Encoding", "User-Agent", "Traceparent", "Tracestate"}, names)
}

func TestRequest_WithoutRemovesParameters(t *testing.T) {
	request, err := read(Query, http.MethodPost, "dedup=true&x=%2F", formContentType, "query=a%20b&storeMatch%5B%5D=1&y")
	require.NoError(t, err)
	changed := request.Without("dedup", "storeMatch[]", "absent")
	require.Equal(t, "x=%2F", changed.RawQuery)
	require.Equal(t, "query=a%20b&y", string(changed.Body))
	require.Equal(t, url.Values{"query": {"a b"}, "x": {"/"}, "y": {""}}, changed.Parameters)
	require.Same(t, request, request.Without())
	require.Same(t, request, request.Without("absent"))
}

func TestMatchEndpoint_FollowsTheTable(t *testing.T) {
	for _, test := range []struct {
		path     string
		endpoint Endpoint
		status   int
	}{
		{"/api/v1/query", Query, 0},
		{"/api/v1/query_range", QueryRange, 0},
		{"/api/v1/label/job/values", LabelValues, 0},
		{"/api/v1/status/buildinfo", "status", 0},
		{"/api/v1/label/a/b/values", "", http.StatusNotFound},
		{"/api/v1/label//values", "", http.StatusNotFound},
		{"/api/v1/job/values", "", http.StatusNotFound},
		{"/api/v1/label/job", "", http.StatusNotFound},
		{"/api/v1/", "", http.StatusNotFound},
		{"/query", "", http.StatusNotFound},
		{"/graph", "", http.StatusNotFound},
		{"/api/v1/write", "", http.StatusForbidden},
		{"/api/v1/admin/tsdb/snapshot", "", http.StatusForbidden},
		{"/-/reload", "", http.StatusForbidden},
		{"/-/quit", "", http.StatusForbidden},
	} {
		matched, err := MatchEndpoint(test.path)
		require.Equal(t, test.status, status(err), "%s: %v", test.path, err)
		if err == nil {
			require.Equal(t, test.endpoint, matched.Endpoint)
		}
	}
	require.Contains(t, Endpoints(), LabelValues)
	require.Contains(t, Endpoints(), Query)
}

func TestWriteError_HasTheShapeOfPrometheus(t *testing.T) {
	recorder := httptest.NewRecorder()
	WriteError(recorder, fmt.Errorf("looking: %w", BadData("no %q", "x")))
	require.Equal(t, http.StatusBadRequest, recorder.Code)
	require.JSONEq(t, `{"status":"error","errorType":"bad_data","error":"no \"x\""}`, recorder.Body.String())
	require.Equal(t, "application/json", recorder.Header().Get("Content-Type"))

	recorder = httptest.NewRecorder()
	WriteError(recorder, errors.New("dial 10.0.0.1 with token abc"))
	require.Equal(t, http.StatusInternalServerError, recorder.Code)
	require.NotContains(t, recorder.Body.String(), "abc", "what is not meant for the caller stays in the log")
}

func TestDecodeAnswer_ReadsEveryType(t *testing.T) {
	answer, err := DecodeAnswer(http.StatusOK, strings.NewReader(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]},"warnings":["w"],"infos":["i"]}`))
	require.NoError(t, err)
	require.Equal(t, `{a="b"} => 2 @[1]`, answer.Value.String())
	require.Equal(t, []string{"w"}, answer.Warnings)
	require.Equal(t, []string{"i"}, answer.Infos)
	for resultType, test := range map[string][2]string{
		"matrix": {`[{"metric":{"a":"b"},"values":[[1,"2"]]}]`, "{a=\"b\"} =>\n2 @[1]"}, "scalar": {`[1,"2"]`, "scalar: 2 @[1]"}, "string": {`[1,"x"]`, "x"},
	} {
		answer, err := DecodeAnswer(http.StatusOK, strings.NewReader(`{"status":"success","data":{"resultType":"`+resultType+`","result":`+test[0]+`}}`))
		require.NoError(t, err)
		require.Equal(t, []string{resultType, test[1]}, []string{answer.Value.Type().String(), answer.Value.String()})
		for _, broken := range []string{`{"resultType":"` + resultType + `","result":{}}`, `[]`} {
			_, err = DecodeAnswer(http.StatusOK, strings.NewReader(`{"status":"success","data":`+broken+`}`))
			require.Equal(t, http.StatusBadGateway, status(err), broken)
		}
	}

	_, err = DecodeAnswer(http.StatusUnprocessableEntity, strings.NewReader(`{"status":"error","errorType":"execution","error":"too many samples"}`))
	require.ErrorContains(t, err, "too many samples")
	require.Equal(t, http.StatusUnprocessableEntity, status(err))
	_, err = DecodeAnswer(http.StatusServiceUnavailable, strings.NewReader("<html>"))
	require.Equal(t, http.StatusBadGateway, status(err))
	_, err = DecodeAnswer(http.StatusOK, strings.NewReader("<html>"))
	require.Equal(t, http.StatusBadGateway, status(err))
	_, err = DecodeAnswer(http.StatusOK, strings.NewReader(`{"status":"success","data":{"resultType":"cube"}}`))
	require.Equal(t, http.StatusBadGateway, status(err))
}

func FuzzReadRequest(f *testing.F) {
	f.Add("query=up&time=1", formContentType, "step=5")
	f.Add("start=1&end=2&step=1", "multipart/form-data; boundary=x", "--x\r\n")
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		incoming := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		incoming.URL.RawQuery = query
		incoming.Header = http.Header{"Content-Type": {contentType}}
		request, err := ReadRequest(incoming, QueryRange, "/api/v1/query_range", now)
		if err != nil {
			if code := status(err); code < 400 || code >= 500 {
				t.Errorf("status %d: %s", code, err)
			}
			return
		}
		// What goes out must be read by a server as it was read here.
		outgoing := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(request.Body))
		outgoing.URL.RawQuery = request.RawQuery
		outgoing.Header = request.Header
		if err := outgoing.ParseForm(); err != nil {
			t.Errorf("the tier cannot read it: %s", err)
		}
		for _, name := range singleValued {
			if outgoing.FormValue(name) != request.Parameters.Get(name) {
				t.Errorf("%s: the tier reads %q, here it is %q", name, outgoing.FormValue(name), request.Parameters.Get(name))
			}
		}
	})
}

// FuzzRequestWith holds what is read of a request to what a tier would read of
// it: whatever parameters say, they are passed on, and replaced only where that
// is asked for.
func FuzzRequestWith(f *testing.F) {
	for _, seed := range []string{
		"query=up&time=1", "query=up&start=1&end=2&step=3", "query=%&time=x", "match[]=up&match[]=down", "time=1e300&query=a&query=b",
		"start=2026-01-01T00:00:00Z&end=-1&step=1h&query=%2B", "a;b=c&query=x", "timeout=1s&lookback_delta=5m&query=x", "step=NaN&start=Inf&end=1",
	} {
		f.Add(seed, "", "/api/v1/query", false)
		f.Add("dedup=true", seed, "/api/v1/query_range", true)
	}
	f.Fuzz(func(t *testing.T, rawQuery, body, path string, post bool) {
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		endpoint := Query
		if matched, err := MatchEndpoint(path); err == nil {
			endpoint = matched.Endpoint
		}
		incoming := httptest.NewRequest(method, "/", strings.NewReader(body))
		incoming.URL.RawQuery = rawQuery
		request, err := ReadRequest(incoming, endpoint, "/api/v1/query", time.Unix(1_760_000_000, 0))
		if err != nil {
			if AsError(err).Status >= http.StatusInternalServerError {
				t.Errorf("%q %q: %v", rawQuery, body, err)
			}
			return
		}
		if request.TimeRange.End.Before(request.TimeRange.Start) || request.TimeRange.Step < 0 {
			t.Errorf("%q %q: the time range %+v", rawQuery, body, request.TimeRange)
		}
		changed := request.With(url.Values{"query": {"replaced + 1"}, "new": {"a", "b"}, "dedup": nil})
		sent, err := url.ParseQuery(changed.RawQuery)
		if err != nil {
			t.Fatalf("%q became %q: %v", rawQuery, changed.RawQuery, err)
		}
		form, err := url.ParseQuery(string(changed.Body))
		if err != nil {
			t.Fatalf("%q became %q: %v", body, changed.Body, err)
		}
		for name, values := range form {
			sent[name] = append(sent[name], values...)
		}
		expected := maps.Clone(request.Parameters)
		delete(expected, "dedup")
		expected["query"], expected["new"] = []string{"replaced + 1"}, []string{"a", "b"}
		require.Equal(t, expected, sent)
		require.Equal(t, expected, changed.Parameters)
	})
}

// A request can be sent while others are made of it.
func TestRequest_IsNotChanged(t *testing.T) {
	made, err := NewRequest(QueryRange, "/api/v1/query_range", url.Values{"query": {"up"}, "start": {"1"}, "end": {"2"}, "step": {"1"}}, time.Unix(3, 0))
	require.NoError(t, err)
	before, err := NewRequest(QueryRange, "/api/v1/query_range", url.Values{"query": {"up"}, "start": {"1"}, "end": {"2"}, "step": {"1"}}, time.Unix(3, 0))
	require.NoError(t, err)
	_, err = made.For(Labels)
	require.NoError(t, err)
	made.With(url.Values{"query": {"down"}, "step": nil})
	made.Only(url.Values{"query": {"down"}})
	made.Without("query")
	require.Equal(t, before, made)
}
