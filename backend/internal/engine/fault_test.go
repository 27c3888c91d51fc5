package engine

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// answered returns an answer of a tier.
func answered(name tier.Name, status int, text string) *Response {
	return &Response{Tier: name, Status: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
}

func errorBody(message string) string {
	return `{"status":"error","errorType":"execution","error":"` + message + `"}`
}

func TestIsFault_OfTheTierAndNotOfTheQuery(t *testing.T) {
	for name, test := range map[string]struct {
		response *Response
		expected bool
	}{
		"cold answers":                         {answered(tier.Cold, 200, "{}"), false},
		"cold refuses the query":               {answered(tier.Cold, 400, errorBody("parse error")), false},
		"cold has no such endpoint":            {answered(tier.Cold, 501, ""), false},
		"cold is busy":                         {answered(tier.Cold, 429, ""), true},
		"cold fails":                           {answered(tier.Cold, 500, ""), true},
		"cold is too slow":                     {answered(tier.Cold, 504, ""), true},
		"hot is busy":                          {answered(tier.Hot, 429, ""), false},
		"hot fails":                            {answered(tier.Hot, 500, ""), false},
		"hot's proxy does not reach it":        {answered(tier.Hot, 502, ""), true},
		"hot is unavailable":                   {answered(tier.Hot, 503, ""), true},
		"hot is too slow":                      {answered(tier.Hot, 504, ""), true},
		"hot shuts down":                       {answered(tier.Hot, 422, errorBody("block is closing")), true},
		"hot cannot evaluate the query":        {answered(tier.Hot, 422, errorBody("many-to-many matching")), false},
		"a Thanos does not reach a store":      {answered(tier.Cold, 422, errorBody("rpc error: code = Unavailable desc = x")), true},
		"a Thanos cannot evaluate the query":   {answered(tier.Cold, 422, errorBody("rpc error: code = ResourceExhausted desc = x")), false},
		"a page that is no error of the API":   {answered(tier.Cold, 422, "<html>rpc error: code = Unavailable</html>"), false},
		"a success that speaks of such errors": {answered(tier.Cold, 200, errorBody("rpc error: code = Unavailable desc = x")), false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.expected, test.response.isFault())
		})
	}
	broken := answered(tier.Cold, 422, "")
	broken.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
	require.False(t, broken.isFault(), "it breaks off")
}

// The error of an answer is kept in memory. If it cannot be read, that is the error.
func TestFailedWith_KeepsWhatTheTierSaid(t *testing.T) {
	failed := answered(tier.Cold, 422, errorBody("x")).failedWith(io.EOF, true)
	require.Equal(t, io.EOF, failed.Err)
	require.True(t, failed.isRefusal)
	text, err := io.ReadAll(failed.response.Body)
	require.NoError(t, err)
	require.Equal(t, errorBody("x"), string(text))
	for _, isRefusal := range []bool{true, false} {
		broken := answered(tier.Cold, 422, "")
		broken.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		failed = broken.failedWith(io.EOF, isRefusal)
		require.Nil(t, failed.response)
		require.False(t, failed.isRefusal)
		require.Equal(t, isRefusal, failed.Err != io.EOF, "a refusal that cannot be read is none") //nolint:errorlint // It is the same one.
	}
}

func TestInsteadOf_TheRulesChoseCold(t *testing.T) {
	said, whole, busy := answered(tier.Cold, 500, "cold"), answered(tier.Hot, 200, "hot"), answered(tier.Hot, 503, "busy")
	ofCold, ofHot, silent := &CallError{Tier: tier.Cold, Err: io.EOF, response: said}, &CallError{Tier: tier.Hot, Err: io.EOF, response: said}, &CallError{Tier: tier.Cold, Err: io.EOF}
	closed := &closingBody{}
	busy.Body = closed
	for name, test := range map[string]struct {
		failed   error
		response *Response
		err      error
		expected *Response
		failure  error
	}{
		"hot takes over":                       {ofCold, whole, nil, whole, nil},
		"hot fails, too":                       {ofCold, busy, nil, said, nil},
		"hot cannot be reached":                {ofCold, nil, io.ErrClosedPipe, said, nil},
		"neither can be reached":               {silent, nil, io.ErrClosedPipe, nil, silent},
		"cold cannot be reached, hot fails":    {silent, busy, nil, nil, silent},
		"cold takes over for hot, and fails":   {ofHot, busy, nil, busy, nil},
		"cold cannot take over for hot":        {ofHot, nil, io.ErrClosedPipe, nil, io.ErrClosedPipe},
		"something else failed":                {io.EOF, nil, io.ErrClosedPipe, nil, io.ErrClosedPipe},
		"something else failed, and hot is ok": {io.EOF, busy, nil, busy, nil},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := insteadOf(test.failed, test.response, test.err)
			require.Equal(t, test.failure, err)
			require.Same(t, test.expected, response)
		})
	}
	require.Equal(t, 2, closed.closed, "of answers that are not used")
}

// closingBody is an empty body that counts how often it is closed.
type closingBody struct{ closed int }

// Read implements io.Reader.
func (*closingBody) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (b *closingBody) Close() error { b.closed++; return nil }

func TestAnswerOf_OnlyATierAnswers(t *testing.T) {
	response, err := answerOf(io.EOF)
	require.Nil(t, response)
	require.Equal(t, io.EOF, err)
}

func TestWarnIfPartial_AnAnswerThatBreaksOffIsAnError(t *testing.T) {
	for _, encoding := range []string{"", "gzip", "zstd"} {
		response := answered(tier.Cold, 200, "")
		response.Header.Set("Content-Encoding", encoding)
		require.NoError(t, response.warnIfPartial(), "it is empty")
		if encoding == "zstd" {
			continue // It is not looked at.
		}
		response = answered(tier.Cold, 200, "")
		response.Header.Set("Content-Encoding", encoding)
		response.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		require.ErrorIs(t, response.warnIfPartial(), io.ErrUnexpectedEOF)
	}
}

func TestIsOverloadOfCold_NotOfHot(t *testing.T) {
	overload := &admission.OverloadError{}
	require.True(t, isOverloadOfCold(&CallError{Tier: tier.Cold, Err: overload}))
	require.False(t, isOverloadOfCold(&CallError{Tier: tier.Hot, Err: overload}))
	require.False(t, isOverloadOfCold(&CallError{Tier: tier.Cold, Err: io.EOF}))
	require.False(t, isOverloadOfCold(errors.Join(overload)))
}

func TestRetryAfter_SecondsOfAtMostAnHour(t *testing.T) {
	for text, expected := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "3600": time.Hour, "3601": 0, "-1": 0, "soon": 0, "Mon, 30 Nov 2026 00:00:00 GMT": 0,
	} {
		require.Equal(t, expected, retryAfter(http.Header{"Retry-After": {text}}), text)
	}
	require.Zero(t, retryAfter(http.Header{}))
}
