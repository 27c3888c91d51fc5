package promapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWithoutURL_KeepsTheCauseAlone(t *testing.T) {
	failed := &url.Error{Op: "Get", URL: "http://10.0.0.1/api/v1/query?query=secret", Err: io.ErrUnexpectedEOF}
	require.Equal(t, io.ErrUnexpectedEOF, WithoutURL(fmt.Errorf("ask: %w", failed)))
	require.Equal(t, io.EOF, WithoutURL(io.EOF))
}

func TestBodyError_SaysWhatWentWrong(t *testing.T) {
	own := BadData("of its own")
	for cause, expected := range map[error]int{own: own.Status, &http.MaxBytesError{Limit: 5}: http.StatusRequestEntityTooLarge, io.ErrUnexpectedEOF: http.StatusBadRequest} {
		require.Equal(t, expected, BodyError("the body", fmt.Errorf("read: %w", cause)).Status)
	}
	require.Same(t, own, BodyError("the body", own))
	require.Equal(t, "the body is larger than 5 bytes", BodyError("the body", &http.MaxBytesError{Limit: 5}).Message)
	require.Equal(t, "the body could not be read", BodyError("the body", errors.New("10.0.0.1 is gone")).Message)
}

func TestErrorTypeOf_FollowsTheStatus(t *testing.T) {
	for status, expected := range map[int]ErrorType{
		400: ErrorBadData, 401: ErrorUnauthorized, 403: ErrorForbidden, 404: ErrorNotFound, 405: ErrorBadData, 422: ErrorExecution, 429: ErrorUnavailable,
		500: ErrorInternal, 502: ErrorUnavailable, 503: ErrorUnavailable, 504: ErrorTimeout, 507: ErrorInternal,
	} {
		require.Equal(t, expected, ErrorTypeOf(status), status)
	}
}

func TestWriteError_SaysWhenToTryAgain(t *testing.T) {
	for after, expected := range map[time.Duration]string{0: "", time.Second: "1", 90 * time.Second: "90"} {
		recorder := httptest.NewRecorder()
		WriteError(recorder, &Error{Status: http.StatusServiceUnavailable, Type: ErrorUnavailable, RetryAfter: after})
		require.Equal(t, expected, recorder.Header().Get("Retry-After"))
	}
	recorder := httptest.NewRecorder()
	WriteData(recorder, []int{1})
	require.Equal(t, []string{`{"status":"success","data":[1]}`, "31"}, []string{recorder.Body.String(), recorder.Header().Get("Content-Length")})
}

func TestIsEmpty_ReadsTheData(t *testing.T) {
	for body, expected := range map[string][2]bool{ // It is empty; its beginning may be that of an empty one.
		`{"status":"success","data":{"resultType":"vector","result":[]}}`:      {true, true},
		`{"status":"success","data":{"resultType":"vector","result": [ ] }}`:   {true, true},
		`{"status":"success","data":{"resultType":"vector","result":null}}`:    {true, true},
		`{"status":"success","data":[]}`:                                       {true, true},
		`{"status":"success","data": {} }`:                                     {true, true},
		`{"status":"success","data":null}`:                                     {true, true},
		` {"status":"success","data":{"resultType":"vector","result":`:         {false, true},
		`{"status":"success","data":{"resultType":"vector","result":[`:         {false, true},
		`{"status":"success","data":{"resultType":"vector","result":[{"a":1}`:  {false, false},
		`{"status":"success","data":["a"]}`:                                    {false, false},
		`{"status":"success","data":{"a":[]}}`:                                 {false, true},
		`{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`: {false, false},
		`{"status":"error","data":[]}`:                                         {false, true},
		`<html>`:                                                               {false, false},
		``:                                                                     {false, true},
	} {
		require.Equal(t, expected, [2]bool{IsEmpty([]byte(body)), MayBeEmpty([]byte(body))}, body)
	}
}

func TestDecodeEnvelope_ASuccessWithAStatusOfAnErrorIsAnError(t *testing.T) {
	for body, statuses := range map[string][2]int{
		`{"status":"success","data":[]}`:                         {http.StatusOK, 0},
		`{"status":"success","data":[1]}`:                        {http.StatusBadRequest, http.StatusBadRequest},
		`{"status":"error","errorType":"execution","error":"x"}`: {http.StatusOK, http.StatusOK},
	} {
		recorded := httptest.NewRecorder()
		_, err := recorded.WriteString(body)
		require.NoError(t, err)
		_, _, _, err = DecodeEnvelope(statuses[0], recorded.Body)
		require.Equal(t, statuses[1] != 0, err != nil, body)
		require.Equal(t, statuses[1], status(err), body)
	}
}
