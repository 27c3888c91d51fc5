package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// raw answers with bytes as they are, then closes the connection.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = buffer.WriteString(text)
		_ = buffer.Flush()
		_ = connection.Close()
	}
}

// withBody is an answer with a status line, header lines and a body.
func withBody(status, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, header, len(body), body)
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, err := io.WriteString(writer, text)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return buffer.String()
}

// cutOff stands for an answer whose connection is aborted.
const cutOff = 0

// rawAnswer is what a tier answers, with the status of the gateway's answer to it:
// passed on, with a warning added, with its result cut to a limit, as a part of a
// union, and where the other tier can be asked.
type rawAnswer struct {
	answer                              string
	passed, warned, cut, united, failed int
}

// rawAnswers returns answers of Prometheus, and answers that no Prometheus gives.
func rawAnswers(t *testing.T) map[string]rawAnswer {
	t.Helper()
	const (
		json   = "Content-Type: application/json\r\n"
		vector = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{"a":"b"},"value":[1,"1"]}]}}`
	)
	half := vector[:len(vector)/2]
	return map[string]rawAnswer{
		"a success":                     {withBody("200 OK", json, vector), 200, 200, 200, 200, 200},
		"no content type":               {withBody("200 OK", "", vector), 200, 200, 200, 200, 200},
		"JSON as plain text":            {withBody("200 OK", "Content-Type: text/plain; charset=utf-8\r\n", vector), 200, 200, 200, 200, 200},
		"white space before and after":  {withBody("200 OK", json, "\r\n\t "+vector+"\n"), 200, 200, 200, 200, 200},
		"early hints before it":         {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + withBody("200 OK", json, vector), 200, 200, 200, 200, 200},
		"compressed":                    {withBody("200 OK", json+"Content-Encoding: gzip\r\n", zipped(t, vector)), 200, 200, 200, 200, 200},
		"a status of two digits":        {withBody("042 Odd", json, vector), 502, 502, 502, 502, 200},
		"status 0":                      {withBody("000 None", json, vector), 502, 502, 502, 502, 200},
		"status 99":                     {withBody("099 Odd", json, vector), 502, 502, 502, 502, 200},
		"status 600":                    {withBody("600 Odd", json, vector), 502, 502, 502, 502, 200},
		"status 999":                    {withBody("999 Odd", json, vector), 502, 502, 502, 502, 200},
		"a status of four digits":       {withBody("2000 Odd", json, vector), 502, 502, 502, 502, 200},
		"a change of protocol":          {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502, 502, 502, 502, 200},
		"no content":                    {"HTTP/1.1 204 No Content\r\n\r\n", 502, 502, 502, 502, 200},
		"reset content":                 {"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 502, 502, 502, 502, 200},
		"no HTTP":                       {"hello\r\n\r\n", 502, 502, 502, 502, 200},
		"nothing":                       {"", 502, 502, 502, 502, 200},
		"an empty body":                 {withBody("200 OK", json, ""), 502, 502, 502, 502, 200},
		"white space":                   {withBody("200 OK", json, strings.Repeat(" ", 1000)), 502, 502, 502, 502, 200},
		"null":                          {withBody("200 OK", json, "null"), 502, 502, 502, 502, 200},
		"a list":                        {withBody("200 OK", json, "[]"), 502, 502, 502, 502, 200},
		"a text":                        {withBody("200 OK", json, `"success"`), 502, 502, 502, 502, 200},
		"a page to sign in":             {withBody("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>"), 502, 502, 502, 502, 200},
		"a page that claims to be JSON": {withBody("200 OK", json, "<html>sign in</html>"), 502, 502, 502, 502, 200},
		"JSON that claims to be a page": {withBody("200 OK", "Content-Type: text/html\r\n", vector), 502, 502, 502, 502, 200},
		"not compressed as it claims":   {withBody("200 OK", json+"Content-Encoding: gzip\r\n", vector), 502, 502, 502, 502, 200},
		// What passes through is not decoded, but whatever adds to it notices.
		"half of it":                     {withBody("200 OK", json, half), 200, cutOff, 502, 502, 200},
		"something after it":             {withBody("200 OK", json, vector+"<html>"), 200, cutOff, 502, 502, 200},
		"an object that is none":         {withBody("200 OK", json, "{hello"), 200, cutOff, 502, 502, 200},
		"an error that claims a success": {withBody("200 OK", json, `{"status":"error","errorType":"execution","error":"no"}`), 200, 200, 502, 502, 200},
		"fewer bytes than it names":      {strings.Replace(withBody("200 OK", json, vector), half, "{", 1), cutOff, cutOff, 502, 502, 0},
		"half a compression":             {withBody("200 OK", json+"Content-Encoding: gzip\r\n", zipped(t, vector)[:40]), 200, cutOff, 502, 502, 200},
		"a member twice":                 {withBody("200 OK", json, `{"status":"error","status":"success","data":`+vector[len(`{"status":"success","data":`):]), 200, 200, 200, 200, 200},
	}
}

// requireRaw asks for target and compares the status, and the tier that an error
// names. way is how the gateway treats the answer.
func (g *served) requireRaw(t *testing.T, way, target string, expected int, tier string) {
	t.Helper()
	// A tier that broke off before is probed again at once.
	require.Eventually(t, func() bool {
		for _, each := range g.manager.Health().Tiers {
			if !each.Available {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+target, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Accept-Encoding", "gzip")
	if way == "warned" {
		request.Header.Set("X-Tier-Choice", "cold") // It lags behind, which is said.
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if expected == cutOff && err != nil {
		return
	}
	require.NoError(t, err, way)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, response.Body.Close())
	body := string(text)
	if expected == cutOff {
		require.Error(t, err, "%s: %s", way, body)
		return
	}
	require.NoError(t, err, "%s: %s", way, body)
	require.Equal(t, expected, response.StatusCode, "%s: %s", way, body)
	if expected != http.StatusOK {
		require.Contains(t, body, `"status":"error"`, way)
		require.Contains(t, body, "the "+tier+" tier", way)
	}
	if way == "warned" && expected == http.StatusOK {
		if response.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(strings.NewReader(body))
			require.NoError(t, err)
			text, err = io.ReadAll(unzipped)
			require.NoError(t, err)
		}
		require.Contains(t, string(text), `"warnings":[`)
	}
}

// TestRawAnswers_WhatIsNoAnswerIsAnErrorOfTheTier has tiers answer what no
// Prometheus does, in every way in which the gateway treats an answer.
func TestRawAnswers_WhatIsNoAnswerIsAnErrorOfTheTier(t *testing.T) {
	t.Parallel() // It waits most of the time.
	hotOnly := newGateway(t, func(settings *config.Config) { settings.Cold.URL = "" })
	coldOnly := newGateway(t, func(settings *config.Config) { settings.Hot.URL = "" })
	both := newUnion(t, nil)
	for name, test := range rawAnswers(t) {
		t.Run(name, func(t *testing.T) {
			for _, g := range []*served{hotOnly, coldOnly, both} {
				g.hot.Handle(raw(test.answer))
				g.cold.Handle(raw(test.answer))
			}
			hotOnly.requireRaw(t, "passed", query, test.passed, "hot")
			both.requireRaw(t, "warned", query, test.warned, "cold")
			coldOnly.requireRaw(t, "cut", query+"&limit=1", test.cut, "cold")
			if strings.Contains(test.answer, `"vector"`) && test.united == http.StatusOK {
				return // A vector is no data of series.
			}
			both.requireRaw(t, "united", ofBoth("series"), test.united, "cold")
			if test.passed == http.StatusBadGateway {
				both.cold.Handle(faketier.Success)
				both.requireRaw(t, "failed", query, test.failed, "cold")
			}
		})
	}
}

// TestRawAnswers_TheOtherTierAnswers lets one tier answer what is no answer.
func TestRawAnswers_TheOtherTierAnswers(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(raw(withBody("042 Odd", "", "{}")))
	response, body := g.ask(t, http.MethodGet, query, "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.Equal(t, "cold hot-failed", response.Header.Get("X-Tier")+" "+response.Header.Get("X-Tier-Reason"))
	union := newUnion(t, nil)
	union.hot.Handle(faketier.Status(200, `{"status":"success","data":[{"a":"b"}]}`))
	union.cold.Handle(raw(withBody("200 OK", "Content-Type: text/html\r\n", "<html>")))
	response, body = union.ask(t, http.MethodGet, ofBoth("series"), "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.JSONEq(t, `{"status":"success","data":[{"a":"b"}],"warnings":["the cold tier failed: what only that one holds is missing"]}`, body)
}
