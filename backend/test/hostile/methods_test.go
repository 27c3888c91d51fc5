//go:build e2e

package hostile

import "strings"

// up is a query whose answer does not depend on the clock.
const (
	upParameters = "query=up&time=1000"
	up           = "/api/v1/query?" + upParameters
	upReached    = "GET " + up
	formReached  = "POST /api/v1/query " + upParameters
)

// methodCases ask endpoints with methods that they do not have. A method that
// the HTTP API of Prometheus does not know reaches no tier.
func methodCases() []request {
	cases := []request{
		{name: "GET", raw: get(up), status: "200", reached: upReached},
		{name: "POST without a body", raw: send("POST", up, "Content-Length: 0"), status: "200", reached: "POST " + up},
		{name: "POST with neither body nor length", raw: send("POST", up), status: "200", reached: "POST " + up},
		{name: "GET with a form as its body", raw: send("GET", up, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 10") + "query=down", status: "200", reached: upReached},
		{name: "HEAD", raw: send("HEAD", up), status: "405"},
		{name: "HEAD of the health", raw: send("HEAD", "/-/healthy"), status: "200"},
		{name: "OPTIONS of everything", raw: send("OPTIONS", "*"), status: "200"},
		{name: "OPTIONS of a query", raw: send("OPTIONS", up), status: "204"},
		{name: "OPTIONS of a cross-origin request", raw: send("OPTIONS", up, "Origin: http://evil.example", "Access-Control-Request-Method: POST"), status: "403"},
		{name: "CONNECT to another host", raw: lines("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443", "Connection: close", "", ""), status: "404"},
		{name: "CONNECT to the tier's own address", raw: lines("CONNECT 127.0.0.1:9090 HTTP/1.1", "Host: 127.0.0.1:9090", "Connection: close", "", ""), status: "404"},
		{name: "TRACE with credentials", raw: send("TRACE", up, "Authorization: Bearer "+secret), status: "405"},
		{name: "the preface of HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: "404"},
		{name: "an upgrade to HTTP/2", raw: lines("GET "+up+" HTTP/1.1", "Host: gateway", "Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "", ""), status: "200", reached: upReached},
		{name: "an upgrade to a web socket", raw: lines("GET "+up+" HTTP/1.1", "Host: gateway", "Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "", ""), status: "200", reached: upReached},
		{name: "a lower-case method", raw: send("get", up), status: "405"},
		{name: "a mixed-case method", raw: send("Post", up), status: "405"},
		{name: "a method that nothing knows", raw: send("QUERY", up), status: "405"},
		{name: "a method with a hyphen", raw: send("X-GET", up), status: "405"},
		{name: "a long method", raw: send(strings.Repeat("A", 4096), up), status: "405"},
		{name: "a method with a space in front", raw: " " + get(up), status: "400"},
		{name: "a method with a NUL", raw: send("GE\x00T", up), status: "400"},
		{name: "a method with a tabulator", raw: send("GET\t", up), status: "400"},
		{name: "a method in brackets", raw: send("(GET)", up), status: "400"},
		{name: "a method in other letters", raw: send("GÉT", up), status: "400"},
		{name: "no method", raw: lines(up+" HTTP/1.1", "Host: gateway", "", ""), status: "400"},
		{name: "an override by header", raw: get(up, "X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE"), status: "200", reached: upReached},
		{name: "an override by parameter", raw: get(up + "&_method=DELETE"), status: "200", reached: upReached + "&_method=DELETE"},
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "REPORT", "MKCOL", "COPY", "MOVE", "LOCK", "PURGE"} {
		cases = append(cases, request{name: method + " of a query", raw: send(method, up), status: "405"})
	}
	for _, path := range []string{"label/job/values", "metadata", "rules", "alerts", "targets", "status/config"} {
		cases = append(cases, request{name: "POST of " + path, raw: send("POST", "/api/v1/"+path, "Content-Length: 0"), status: "405"})
	}
	// What writes, deletes or stops something is refused by name.
	for _, target := range []string{
		"/api/v1/write", "/api/v1/otlp/v1/metrics", "/api/v1/read", "/api/v1/admin/tsdb/delete_series?match[]=up", "/api/v1/admin/tsdb/snapshot",
		"/api/v1/admin/tsdb/clean_tombstones", "/-/reload", "/-/quit",
	} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			cases = append(cases, request{name: method + " of " + target, raw: send(method, target, "Content-Length: 0"), status: "403"})
		}
	}
	return cases
}
