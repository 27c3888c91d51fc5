//go:build e2e

package hostile

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// request is one case of the table: bytes that a client sends.
type request struct {
	name string
	raw  string
	// status is that of each response, "closed" if there is none.
	status string
	// reached is what reaches the tier: method, target and body, joined with
	// " ; " if there are several requests. Empty: nothing.
	reached string
	// more sends on behind raw.
	more func(io.Writer)
	// halfClose ends the sending side of the connection behind the request.
	halfClose bool
}

// allowedHeaders are the request headers that may reach a tier.
var allowedHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "User-Agent": true, "Traceparent": true, "Tracestate": true,
	"Content-Type": true, "Content-Length": true, "Host": true,
}

// secret stands in the cases for what must never reach a tier.
const secret = "s3cr3t-of-the-caller"

// TestGateway_HostileRequests sends the table to a gateway in front of one tier.
func TestGateway_HostileRequests(t *testing.T) {
	tier := newRecorder(t)
	g := startGateway(t, "requests", map[string]any{"cold": map[string]any{"url": tier.URL}})
	g.setBaseline(t)
	groups := map[string][]request{
		"methods": methodCases(), "paths": pathCases(), "framing": framingCases(), "parameters": parameterCases(),
		"content types": contentTypeCases(), "bodies": bodyCases(), "headers": headerCases(),
	}
	count := 0
	for name, cases := range groups {
		count += len(cases)
		t.Run(name, func(t *testing.T) { runRequests(t, g, tier, cases) })
	}
	require.GreaterOrEqual(t, count, 300, "the table has at least 300 requests")
	t.Logf("%d requests", count)
	g.requireBaseline(t)
}

func runRequests(t *testing.T, g *gateway, tier *recorder, cases []request) {
	t.Helper()
	target, err := url.Parse(tier.URL)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, each := range cases {
		require.False(t, names[each.name], "two cases are named %q", each.name)
		names[each.name] = true
		got := exchange(t, g.address, each.raw, each.halfClose, each.more)
		reached, headers := tier.take()
		if statuses(got) != each.status || strings.Join(reached, " ; ") != each.reached {
			t.Errorf("%s:\n  got      %s %q\n  expected %s %q", each.name, statuses(got), strings.Join(reached, " ; "), each.status, each.reached)
			if len(got) > 0 {
				t.Logf("  %.300s", got[0].body)
			}
		}
		for _, header := range headers {
			for name, values := range header {
				if !allowedHeaders[name] {
					t.Errorf("%s: the header %s reached the tier: %q", each.name, name, values)
				}
				if strings.Contains(strings.Join(values, " "), secret) {
					t.Errorf("%s: the secret reached the tier in %s", each.name, name)
				}
			}
			if header.Get("Host") != target.Host {
				t.Errorf("%s: the tier was asked as %q", each.name, header.Get("Host"))
			}
		}
		for _, response := range got {
			requireOwnResponse(t, each.name, response, target.Host)
		}
	}
}

// requireOwnResponse checks what holds for every response: an error has the form
// of the Prometheus API or is one line of the HTTP server or its library, it
// names no address, and nothing of a request became a header.
func requireOwnResponse(t *testing.T, name string, got response, tierAddress string) {
	t.Helper()
	if got.header.Get("X-Injected") != "" || got.header.Get("Set-Cookie") != "" {
		t.Errorf("%s: the response has headers of the caller: %v", name, got.header)
	}
	if got.status < 400 {
		return
	}
	if strings.Contains(got.body, tierAddress) || strings.Contains(got.body, secret) {
		t.Errorf("%s: the error tells an address or a secret: %s", name, got.body)
	}
	var apiError struct{ Status, ErrorType, Error string }
	isOwn := json.Unmarshal([]byte(got.body), &apiError) == nil && apiError.Status == "error" && apiError.ErrorType != "" && apiError.Error != ""
	isServers := strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") && len(got.body) < 200
	isLibrarys := got.body == "{\"message\":\"Not Found\"}\n" || got.body == "{\"message\":\"Method Not Allowed\"}\n"
	if got.body != "" && !isOwn && !isServers && !isLibrarys {
		t.Errorf("%s: the error has no known form: %.300s", name, got.body)
	}
}
