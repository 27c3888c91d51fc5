//go:build e2e

package hostile

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// queryTimeout is that of the gateway in these tests. What it bounds ends within
// bound, which is ten times as long.
const (
	queryTimeout = 2 * time.Second
	bound        = 10 * queryTimeout
)

func startShort(t *testing.T, name string) (*gateway, *recorder) {
	t.Helper()
	tier := newRecorder(t)
	g := startGateway(t, name, map[string]any{"cold": map[string]any{"url": tier.URL}, "query": map[string]any{"timeout": queryTimeout.String()}, "pool": map[string]any{"size": 1}})
	g.setBaseline(t)
	return g, tier
}

// TestGateway_TierStatusBelow100IsAnError (row 15): HTTP has no such status.
func TestGateway_TierStatusBelow100IsAnError(t *testing.T) {
	g, tier := startShort(t, "statuses")
	for _, status := range []string{"000", "001", "042", "099"} {
		tier.answerWith(answer{raw: reply(status+" X", faketier.Vector("1"))}.sends(t))
		require.Equal(t, "502", statuses(exchange(t, g.address, get(up), false, nil)), status)
	}
	g.requireBaseline(t)
}

// TestGateway_TierHeadersPassByAnAllowList (row 14): a browser that opens an
// answer does nothing that the tier wants.
func TestGateway_TierHeadersPassByAnAllowList(t *testing.T) {
	g, tier := startShort(t, "allowlist")
	for _, header := range []string{
		`Clear-Site-Data: "*"`, "Refresh: 0; url=http://evil.example", "Location: http://evil.example", "Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: true",
		"X-Tier-Cache: hit", "X-Tier-Choice: hot", "Content-Disposition: attachment; filename=a.exe", "Link: </a>; rel=preload", `Alt-Svc: h2="evil.example:443"`, "Strict-Transport-Security: max-age=1", "Server: a",
		"X-Accel-Redirect: /a", "X-Sendfile: /etc/passwd", "Set-Cookie2: a=b", "Service-Worker-Allowed: /", "Sourcemap: /a", "Public-Key-Pins: a", "Report-To: a", "NEL: a", "X-Scope-OrgID: a", "X-Anything: a", "X A: b",
	} {
		tier.answerWith(answer{raw: reply("200 OK", faketier.Vector("1"), header)}.sends(t))
		got := exchange(t, g.address, get(up), false, nil)
		require.Equal(t, "200", statuses(got), header)
		name, _, _ := strings.Cut(header, ":")
		require.Empty(t, got[0].header.Values(name), header)
		require.Equal(t, "nosniff", got[0].header.Get("X-Content-Type-Options"))
		require.Contains(t, got[0].header.Get("Content-Security-Policy"), "sandbox")
	}
	tier.answerWith(answer{raw: strings.Replace(reply("200 OK", "<script>alert(1)</script>"), "application/json", "text/html", 1)}.sends(t))
	got := exchange(t, g.address, get(up), false, nil)
	require.Len(t, got, 1)
	require.NotContains(t, got[0].header.Get("Content-Type"), "html")
}

// TestGateway_QueryTimeoutHoldsForBodies (row 6): an answer that never ends, a
// client that never reads, a body that never comes and a connection that does
// nothing all end.
func TestGateway_QueryTimeoutHoldsForBodies(t *testing.T) {
	dial := func(g *gateway, raw string) net.Conn {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.address)
		require.NoError(t, err)
		require.NoError(t, connection.SetDeadline(time.Now().Add(bound)))
		_, err = io.WriteString(connection, raw)
		require.NoError(t, err)
		return connection
	}
	// ends reports how the gateway ended the connection: it must, before bound.
	ends := func(connection net.Conn) {
		_, err := io.Copy(io.Discard, connection)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the gateway leaves the connection open")
		_ = connection.Close()
	}
	g, tier := startShort(t, "timeouts")
	trickle := answer{raw: withoutLength("Transfer-Encoding: chunked"), more: func(to io.Writer) {
		for {
			if _, err := io.WriteString(to, "1\r\na\r\n"); err != nil {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	}}
	tier.answerWith(trickle.sends(t))
	ends(dial(g, get(up)))

	// There is one slot for the tier. A client that reads nothing gives it back.
	tier.answerWith(answer{raw: withoutLength(), more: endless(strings.Repeat("a", 64<<10))}.sends(t))
	tier.take() // That of the answer before.
	silent := dial(g, get(up))
	require.Eventually(t, func() bool { reached, _ := tier.take(); return len(reached) > 0 }, bound, 10*time.Millisecond)
	tier.answerWith(answerOne)
	require.Eventually(t, func() bool {
		return statuses(exchange(t, g.address, get("/api/v1/query?query=other&time=1000"), false, nil)) == "200"
	}, bound, 100*time.Millisecond, "a client that does not read holds the slot")
	_ = silent.Close()

	ends(dial(g, send("POST", "/api/v1/query", "Content-Length: 18")+"query"))
	g.requireBaseline(t)
}

// TestGateway_LongAndDeepQueriesAreRefused (rows 3 and 4): nothing parses them.
func TestGateway_LongAndDeepQueriesAreRefused(t *testing.T) {
	g, tier := startShort(t, "long")
	for name, query := range map[string]string{
		"long": "up" + strings.Repeat(" ", 70<<10), "parentheses": strings.Repeat("(", 60_000), "nested calls": strings.Repeat("abs(", 500) + "up" + strings.Repeat(")", 500),
		"unary": strings.Repeat("-", 60_000) + "up", "a regular expression": fmt.Sprintf(`{a=~"%s"}`, strings.Repeat(".{1000}", 1000)),
	} {
		got := exchange(t, g.address, form("time=1000&query="+strings.NewReplacer("+", "%2B", "%", "%25", "&", "%26").Replace(query)), false, nil)
		reached, _ := tier.take()
		require.Len(t, got, 1, name)
		require.GreaterOrEqual(t, got[0].status, 400, name)
		require.Less(t, got[0].status, 500, name)
		require.Empty(t, reached, name)
	}
	g.requireBaseline(t)
}

// TestGateway_BodiesAreFarBelow4MiB (row 7).
func TestGateway_BodiesAreFarBelow4MiB(t *testing.T) {
	g, tier := startShort(t, "bodies")
	require.Equal(t, "413", statuses(exchange(t, g.address, form(upParameters+"&x="+strings.Repeat("a", 3<<20)), false, nil)))
	reached, _ := tier.take()
	require.Empty(t, reached)
}
