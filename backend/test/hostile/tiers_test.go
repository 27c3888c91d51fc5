//go:build e2e

package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// answer is what a tier sends for a query, and what the client then gets.
type answer struct {
	name string
	// raw are the bytes that the tier sends before it closes the connection;
	// more sends on behind them.
	raw  string
	more func(io.Writer)
	// status is that of the response, "cut" behind it if its body ends early.
	status string
	// body is that of the response; empty: it does not matter.
	body string
}

// sends answers with bytes on the bare connection.
func (a answer) sends(t *testing.T) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("take over the connection: %s", err)
			return
		}
		defer func() { _ = connection.Close() }()
		_, _ = buffered.WriteString(a.raw) // It fails when the gateway has closed, which is its right.
		_ = buffered.Flush()
		if a.more != nil {
			a.more(connection)
		}
	}
}

// reply is the answer of a tier with its length and more headers.
func reply(status, body string, headers ...string) string {
	return lines(slices.Concat([]string{"HTTP/1.1 " + status, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body))}, headers, []string{"", ""})...) + body
}

// withoutLength is the head of an answer whose length other headers tell.
func withoutLength(headers ...string) string {
	return lines(slices.Concat([]string{"HTTP/1.1 200 OK", "Content-Type: application/json"}, headers, []string{"", ""})...)
}

// neverPassed are the response headers of a tier that a client never sees.
var neverPassed = []string{"Set-Cookie", "Www-Authenticate", "Proxy-Authenticate", "Upgrade", "Keep-Alive", "X-Named", "X-Injected"}

// TestGateway_HostileAnswers lets the tier answer a query as no Prometheus does.
func TestGateway_HostileAnswers(t *testing.T) {
	tier := newRecorder(t)
	g := startGateway(t, "answers", map[string]any{"cold": map[string]any{"url": tier.URL}, "query": map[string]any{"timeout": "2s"}})
	g.setBaseline(t)
	for _, each := range answers() {
		t.Run(each.name, func(t *testing.T) {
			tier.answerWith(each.sends(t))
			got := exchange(t, g.address, get(up), false, nil)
			require.Equal(t, each.status, statuses(got), "%+.300v", got)
			if each.body != "" {
				require.Equal(t, each.body, got[0].body)
			}
			for _, name := range neverPassed {
				require.Empty(t, got[0].header.Values(name), name)
			}
			require.NotEqual(t, "forged", got[0].header.Get("X-Request-Id"))
			requireOwnTier(t, got[0])
		})
	}
	tier.answerWith(answerOne)
	require.Equal(t, "200", statuses(exchange(t, g.address, get(up), false, nil)), "the tier is asked again")
	g.requireBaseline(t)
}

// requireOwnTier checks that the gateway alone says which tier answered.
func requireOwnTier(t *testing.T, got response) {
	t.Helper()
	require.Equal(t, []string{"cold"}, got.header.Values("X-Tier"))
	require.Len(t, got.header.Values("X-Tier-Reason"), 1)
	require.NotEqual(t, "forged", got.header.Get("X-Tier-Reason"))
}

func answers() []answer {
	one := faketier.Vector("1")
	passed := func(name string, headers ...string) answer {
		return answer{name: name, raw: reply("200 OK", one, headers...), status: "200", body: one}
	}
	failed := func(name, raw string) answer { return answer{name: name, raw: raw, status: "502"} }
	cut := func(name, raw string) answer { return answer{name: name, raw: raw, status: "200 cut"} }
	chunked := withoutLength("Transfer-Encoding: chunked")
	inOne := fmt.Sprintf("%x\r\n%s\r\n", len(one), one)
	list := []answer{
		passed("as it should be"),
		passed("cookies", "Set-Cookie: a=b", "Set-Cookie: c=d"), passed("a challenge", "WWW-Authenticate: Basic", "Proxy-Authenticate: Basic"),
		passed("a header that the connection names", "Connection: X-Named", "X-Named: a"), passed("forged headers of the gateway", "X-Tier: hot", "X-Tier-Reason: forged", "X-Request-ID: forged"),
		passed("an upgrade that nobody asked for", "Upgrade: h2c"), passed("a header that is kept alive", "Keep-Alive: timeout=1000000"), passed("a folded header", "X-A: a", " b"),
		passed("a header with a space in its name", "X A: b"), passed("two types", "Content-Type: text/plain"),
		{name: "trailers", raw: chunked + inOne + "0\r\nX-Injected: yes\r\nSet-Cookie: a=b\r\n\r\n", status: "200", body: one},
		{name: "an answer behind the answer", raw: reply("200 OK", one) + reply("200 OK", faketier.Vector("2")), status: "200", body: one},
		{name: "no length", raw: withoutLength() + one, status: "200", body: one},
		{name: "HTTP/1.0", raw: strings.Replace(reply("200 OK", one), "HTTP/1.1", "HTTP/1.0", 1), status: "200", body: one},
		{name: "no reason", raw: reply("200", one), status: "200", body: one},
		{name: "a length below the body", raw: withoutLength("Content-Length: 10") + one, status: "200", body: one[:10]},
		{name: "two lengths that agree", raw: withoutLength(fmt.Sprintf("Content-Length: %d", len(one)), fmt.Sprintf("Content-Length: %d", len(one))) + one, status: "200", body: one},
		{name: "a length beside chunks", raw: withoutLength("Content-Length: 5", "Transfer-Encoding: chunked") + inOne + "0\r\n\r\n", status: "200", body: one},
		{name: "one informational answer", raw: "HTTP/1.1 100 Continue\r\n\r\n" + reply("200 OK", one), status: "200", body: one},
		{name: "early hints", raw: "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nSet-Cookie: a=b\r\n\r\n" + reply("200 OK", one), status: "200", body: one},
		cut("a length above the body", withoutLength("Content-Length: 1000")+one), cut("chunks that are cut off", chunked+inOne), cut("a chunk that is cut off", chunked+"1000\r\n"+one),
		cut("a chunk of no size", chunked+inOne+"zz\r\n"), cut("a chunk longer than its size", chunked+"5\r\n"+one+"\r\n0\r\n\r\n"), cut("a chunk of a negative size", chunked+inOne+"-1\r\n"),
		cut("a chunk of a size that overflows", chunked+inOne+"ffffffffffffffffff\r\n"),
		failed("nothing", ""), failed("no HTTP", "hello\r\n\r\n"), failed("another protocol", "SSH-2.0-OpenSSH_9.9\r\n"), failed("bytes of TLS", "\x15\x03\x01\x00\x02\x02\x50"), failed("HTTP/2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
		failed("half of a status line", "HTTP/1.1 20"), failed("a status in words", reply("OK", one)), failed("a status of four digits", reply("2000 OK", one)), failed("a negative status", reply("-20 OK", one)),
		failed("a version that there is not", strings.Replace(reply("200 OK", one), "HTTP/1.1", "HTTP/x", 1)), failed("headers that are cut off", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
		failed("a header without a colon", reply("200 OK", one, "X-A")), failed("two lengths that differ", reply("200 OK", one, "Content-Length: 1")),
		failed("a negative length", withoutLength("Content-Length: -1")+one), failed("a length in words", withoutLength("Content-Length: all")+one), failed("a transfer encoding that there is not", withoutLength("Transfer-Encoding: x")+one),
		{name: "headers without an end", raw: "HTTP/1.1 200 OK\r\n", more: endless(strings.Repeat("X-A: b\r\n", 1024)), status: "502"},
		{name: "a header without an end", raw: "HTTP/1.1 200 OK\r\nX-A: ", more: endless(strings.Repeat("a", 64<<10)), status: "502"},
		{name: "a status line without an end", raw: "HTTP/1.1 200 ", more: endless(strings.Repeat("a", 64<<10)), status: "502"},
		{name: "informational answers without an end", more: endless(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1024)), status: "502"},
		{name: "headers that do not come", raw: "HTTP/1.1 200 OK\r\n", more: waits, status: "503"},
		{name: "an answer that does not come", more: waits, status: "503"},
		{name: "a body without an end", raw: withoutLength() + `{"data":"`, more: endless(strings.Repeat("a", 64<<10)), status: "200 cut"},
		{name: "chunks without an end", raw: chunked, more: endless("400\r\n" + strings.Repeat("{", 1024) + "\r\n"), status: "200 cut"},
		{name: "a body without an end that is no JSON", raw: withoutLength(), more: endless(strings.Repeat("a", 64<<10)), status: "502"},
		{name: "white space without an end", raw: withoutLength(), more: endless(strings.Repeat(" ", 64<<10)), status: "502"},
		{name: "a chunk extension without an end", raw: chunked + inOne + "1;", more: endless(strings.Repeat("a", 64<<10)), status: "200 cut"},
		{name: "trailers without an end", raw: chunked + inOne + "0\r\n", more: endless(strings.Repeat("X-A: b\r\n", 1024)), status: "200 cut"},
		{name: "a compressed bomb", raw: reply("200 OK", bomb(), "Content-Encoding: gzip"), status: "200", body: bomb()},
		{name: "an encoding that there is not", raw: reply("200 OK", one, "Content-Encoding: x"), status: "200", body: one},
		{name: "an error that is no JSON", raw: reply("422 Unprocessable Entity", "<script>\x00\x01"), status: "422"},
	}
	return append(list, statusAnswers()...)
}

// waits sends nothing until the gateway closes the connection.
func waits(to io.Writer) {
	if from, is := to.(io.Reader); is {
		_, _ = from.Read(make([]byte, 1)) // The end of the connection is what it waits for.
	}
}

// statusAnswers are answers by their status. A redirect is not followed, and a
// refusal of the gateway's own credential is not one of the caller's.
func statusAnswers() []answer {
	var list []answer
	for status, passed := range map[int]string{
		201: "201", 202: "202", 203: "203", 206: "206", 207: "207", 226: "226", 299: "299",
		400: "400", 401: "502", 403: "403", 404: "404", 405: "405", 407: "502", 408: "408", 409: "409", 410: "410", 413: "413", 414: "414", 418: "418", 421: "421", 422: "422", 425: "425", 426: "426",
		428: "428", 429: "429", 431: "431", 451: "451", 499: "499", 500: "500", 501: "501", 502: "502", 503: "503", 504: "504", 505: "505", 507: "507", 508: "508", 511: "511", 599: "599",
		300: "502", 301: "502", 302: "502", 303: "502", 307: "502", 308: "502", 600: "502", 999: "502",
	} {
		body := `{"status":"error","errorType":"execution","error":"as the tier says"}`
		list = append(list, answer{name: fmt.Sprintf("the status %d", status), raw: reply(fmt.Sprintf("%d X", status), body, "Set-Cookie: a=b"), status: passed})
	}
	return append(list,
		answer{name: "no content", raw: "HTTP/1.1 204 No Content\r\n\r\n", status: "502"},
		answer{name: "a content of no content", raw: reply("204 No Content", "x"), status: "502"},
		answer{name: "not modified", raw: "HTTP/1.1 304 Not Modified\r\n\r\n", status: "304"},
	)
}

// TestGateway_CompressedBombsOfBothTiers lets both tiers answer with 1 GiB that
// gzip makes small, where the gateway joins their answers and has to read them.
func TestGateway_CompressedBombsOfBothTiers(t *testing.T) {
	hot, cold := newRecorder(t), newRecorder(t)
	g := startGateway(t, "bombs", map[string]any{"hot": map[string]any{"url": hot.URL}, "cold": map[string]any{"url": cold.URL, "lag": "3h"}})
	g.setBaseline(t)
	twoDays := time.Now().Add(-48 * time.Hour).Unix()
	labels := get(fmt.Sprintf("/api/v1/labels?start=%d", twoDays), "Accept-Encoding: gzip")
	require.Equal(t, "200", statuses(exchange(t, g.address, labels, false, nil)))
	for _, each := range []*recorder{hot, cold} {
		reached, _ := each.take()
		require.Len(t, reached, 1, "both tiers are asked")
	}
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	_, err := io.WriteString(writer, `{"status":"success","data":["`)
	require.NoError(t, err)
	piece := bytes.Repeat([]byte("a"), 1<<20)
	for range 1 << 10 {
		_, err = writer.Write(piece)
		require.NoError(t, err)
	}
	_, err = io.WriteString(writer, `"]}`)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	raw := reply("200 OK", compressed.String(), "Content-Encoding: gzip")
	hot.answerWith(answer{raw: raw}.sends(t))
	cold.answerWith(answer{raw: raw}.sends(t))
	for range 5 {
		got := exchange(t, g.address, labels, false, nil)
		require.Len(t, got, 1)
		require.GreaterOrEqual(t, got[0].status, http.StatusBadGateway, got[0].body)
	}
	memory, err := g.Memory()
	require.NoError(t, err)
	require.Less(t, memory.Peak, int64(256)<<20, "neither answer is held as a whole: each is 1 GiB")
	t.Logf("the most that tierproxy held is %d MiB", memory.Peak>>20)
	hot.answerWith(answerOne)
	cold.answerWith(answerOne)
	require.Equal(t, "200", statuses(exchange(t, g.address, labels, false, nil)))
	g.requireBaseline(t)
}
