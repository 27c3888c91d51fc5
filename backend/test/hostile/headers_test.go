//go:build e2e

package hostile

import (
	"fmt"
	"strings"
)

// headerCases send headers that must not reach a tier, or must change nothing.
func headerCases() []request {
	var cases []request
	// Credentials, addresses, tenants and what belongs to one connection.
	for _, header := range []string{
		"Authorization: Bearer " + secret, "Authorization: Basic " + secret, "Proxy-Authorization: Basic " + secret, "Cookie: jwtPayload=" + secret, "Cookie2: " + secret,
		"X-Scope-OrgID: " + secret, "THANOS-TENANT: " + secret, "X-Tenant: " + secret, "X-Prometheus-Scrape-Timeout-Seconds: " + secret, "X-Api-Key: " + secret,
		"X-Forwarded-For: " + secret, "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /" + secret,
		"X-Forwarded-User: " + secret, "X-Forwarded-Access-Token: " + secret, "X-Remote-User: " + secret, "Forwarded: for=" + secret + ";host=evil.example", "Via: 1.1 evil.example",
		"X-Real-IP: 127.0.0.1", "X-Original-URL: /api/v1/admin", "X-Rewrite-URL: /api/v1/admin", "X-Original-Host: evil.example", "X-Host: evil.example", "X-Amz-Security-Token: " + secret,
		"X-Goog-Authenticated-User-Email: " + secret, "Impersonate-User: " + secret, "Origin: http://evil.example", "Referer: http://" + secret + "/", "Range: bytes=0-1", "If-None-Match: *",
		"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "TE: trailers, deflate", "Trailer: Authorization", "Keep-Alive: timeout=1000000", "Proxy-Connection: keep-alive", "Upgrade-Insecure-Requests: 1",
		"X-Tier: cold", "X-Tier-Reason: " + secret, "X-Request-ID: " + strings.Repeat("a", 65), "X-Injected: yes", "Set-Cookie: a=" + secret, "Idempotency-Key: " + secret, "Baggage: a=" + secret,
		"Proxy: http://evil.example", "Max-Forwards: 0", "Content-Location: http://evil.example", "Date: Thu, 01 Jan 1970 00:00:00 GMT", "Warning: 199 - " + secret,
	} {
		cases = append(cases, request{name: header, raw: get(up, header), status: "200", reached: upReached})
	}
	// What a Connection header names is dropped on the way; what is checked here
	// must not be.
	for _, named := range []string{"Host", "Content-Length", "Transfer-Encoding", "Authorization", "X-Tier-Choice", "Content-Type", "close, X-Scope-OrgID", "keep-alive, Cookie", "Connection", ","} {
		cases = append(cases, request{name: "a connection that names " + named, raw: lines("GET "+up+" HTTP/1.1", "Host: gateway", "Connection: "+named, "Connection: close", "X-Scope-OrgID: "+secret, "", ""), status: "200", reached: upReached})
	}
	host := func(name, status, reached string, hosts ...string) request {
		headers := []string{"GET " + up + " HTTP/1.1", "Connection: close"}
		for _, each := range hosts {
			headers = append(headers, "Host: "+each)
		}
		return request{name: name, raw: lines(append(headers, "", "")...), status: status, reached: reached}
	}
	many := make([]string, 0, 20_000)
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("X-%d: a", i))
	}
	return append(cases,
		host("another host", "200", upReached, "evil.example"), host("a host with a port", "200", upReached, "127.0.0.1:1"), host("a host of IPv6", "200", upReached, "[::1]:80"),
		host("an empty host", "200", upReached, ""), host("a host of 10 KB", "200", upReached, strings.Repeat("a", 10_000)), host("no host", "400", ""), host("two hosts", "400", "", "gateway", "evil.example"),
		host("a host with a space", "400", "", "gate way"), host("a host with a path", "400", "", "gateway/path"), host("a host with a user", "400", "", "user@gateway"), host("a host with a NUL", "400", "", "gate\x00way"),
		request{name: "the choice of a tier that there is not", raw: get(up, "X-Tier-Choice: warm"), status: "400"},
		request{name: "the choice of a tier with a NUL", raw: get(up, "X-Tier-Choice: cold\x00"), status: "400"},
		request{name: "the choice of a tier in other letters", raw: get(up, "X-Tier-Choice: COLD"), status: "200", reached: upReached},
		request{name: "two choices", raw: get(up, "X-Tier-Choice: cold", "X-Tier-Choice: warm"), status: "200", reached: upReached},
		request{name: "an encoding of the answer that there is not", raw: get(up, "Accept-Encoding: x"), status: "200", reached: upReached},
		request{name: "a kind of answer that there is not", raw: get(up, "Accept: x/y"), status: "200", reached: upReached},
		request{name: "a trace that is none", raw: get(up, "Traceparent: x", "Tracestate: y"), status: "200", reached: upReached},
		request{name: "a header with bytes above 127", raw: get(up, "X-A: \xff\xfe"), status: "200", reached: upReached},
		request{name: "a header name with a space", raw: get(up, "X A: b"), status: "400"},
		request{name: "a header name with brackets", raw: get(up, "X(A): b"), status: "400"},
		request{name: "a header name above 127", raw: get(up, "X-\xff: b"), status: "400"},
		request{name: "a header with an escape sequence", raw: get(up, "X-A: \x1b[31m"), status: "400"},
		request{name: "a header with a backspace", raw: get(up, "X-A: a\bb"), status: "400"},
		request{name: "an underscore for a hyphen", raw: get(up, "Content_Length: 5", "Transfer_Encoding: chunked"), status: "200", reached: upReached},
		request{name: "a header of 500 KB", raw: get(up, "X-A: "+strings.Repeat("a", 500_000)), status: "200", reached: upReached},
		request{name: "a header of 2 MiB", raw: get(up, "X-A: "+strings.Repeat("a", 2<<20)), status: "431"},
		request{name: "20,000 headers", raw: get(up, many...), status: "200", reached: upReached},
		request{name: "200,000 headers of one name", raw: get(up, strings.Split(strings.Repeat("X-A: b|", 199_999)+"X-A: b", "|")...), status: "431"},
	)
}
