package promapi

import (
	"bytes"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadRequest_RefusesFormsThatATierReadsDifferently(t *testing.T) {
	var file bytes.Buffer
	form := multipart.NewWriter(&file)
	require.NoError(t, form.WriteField("query", "up"))
	part, err := form.CreateFormFile("query", "query.txt")
	require.NoError(t, err)
	_, err = part.Write([]byte("down"))
	require.NoError(t, err)
	require.NoError(t, form.Close())
	for message, test := range map[string]struct{ contentType, body string }{
		"parse the request body as a form":           {formContentType, "query=%zz"},
		"parse the request body as a multipart form": {"multipart/form-data; boundary=x", "query=up"},
		"the request body holds a file":              {form.FormDataContentType(), file.String()},
	} {
		_, err := read(Query, http.MethodPost, "", test.contentType, test.body)
		require.ErrorContains(t, err, message)
		require.Equal(t, http.StatusBadRequest, status(err))
	}
}

func TestRequest_WithReplacesParameters(t *testing.T) {
	request, err := read(Query, http.MethodPost, "dedup=true", formContentType, "query=up&time=5")
	require.NoError(t, err)
	request.Header = http.Header{}
	before, parameters, header := *request, maps.Clone(request.Parameters), request.Header.Clone()
	changed := request.With(url.Values{"query": {"down"}, "dedup": nil})
	require.Equal(t, url.Values{"query": {"down"}, "time": {"5"}}, changed.Parameters)
	require.Equal(t, []string{"", "time=5&query=down"}, []string{changed.RawQuery, string(changed.Body)})
	require.Equal(t, formContentType, changed.Header.Get("Content-Type"))
	require.Equal(t, before, *request)
	require.Equal(t, parameters, request.Parameters)
	require.Equal(t, header, request.Header)
	require.Same(t, request, request.With(nil))
}

func TestRequest_OnlyHoldsTheGivenParametersAlone(t *testing.T) {
	for method, expected := range map[string][]string{http.MethodGet: {"query=x", ""}, http.MethodPost: {"", "query=x"}} {
		request, err := read(Query, method, "dedup=true", "text/plain", "query=up")
		require.NoError(t, err)
		request.Header = http.Header{}
		before, header := *request, request.Header.Clone()
		only := request.Only(url.Values{"query": {"x"}})
		require.Equal(t, expected, []string{only.RawQuery, string(only.Body)})
		require.Equal(t, method == http.MethodGet, only.Body == nil)
		require.Equal(t, method == http.MethodPost, only.Header.Get("Content-Type") == formContentType)
		require.Equal(t, url.Values{"query": {"x"}}, only.Parameters)
		require.Equal(t, before, *request)
		require.Equal(t, header, request.Header)
	}
}

func TestRequest_ForReadsTheTimesOfTheOtherEndpoint(t *testing.T) {
	request, err := read(Query, http.MethodGet, "query=up&time=5", "", "")
	require.NoError(t, err)
	require.Equal(t, TimeRange{Start: time.Unix(5, 0).UTC(), End: time.Unix(5, 0).UTC()}, request.TimeRange)
	other, err := request.For(Labels)
	require.NoError(t, err)
	require.Equal(t, Labels, other.Endpoint)
	require.Equal(t, TimeRange{End: now}, other.TimeRange)
	require.Equal(t, Query, request.Endpoint)
}

func TestParseTime_KeepsWithinTheLimits(t *testing.T) {
	for text, expected := range map[string]string{
		"-1.5": "-1.500", "0.0004": "0.000", "-1e300": FormatTime(earliest), "1e300": FormatTime(latest), "1.9996": "2.000",
	} {
		at, err := parseTime(text)
		require.NoError(t, err, text)
		require.Equal(t, expected, FormatTime(at), text)
	}
	for _, text := range []string{"Inf", "-Inf", "NaN"} {
		_, err := parseTime(text)
		require.Error(t, err, text)
		_, err = ParseDuration(text)
		require.Error(t, err, text)
	}
}
