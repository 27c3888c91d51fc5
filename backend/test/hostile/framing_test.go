//go:build e2e

package hostile

import "strings"

// framingCases are about where a request ends. Behind each, the connection
// carries another request for the health; one that came out of a body would ask
// the tier for "smuggled".
func framingCases() []request {
	const host = "Host: gateway"
	next := lines("GET /-/healthy HTTP/1.1", host, "Connection: close", "", "")
	smuggled := lines("GET /api/v1/query?query=smuggled&time=1 HTTP/1.1", host, "", "")
	const smuggledReached = "GET /api/v1/query?query=smuggled&time=1"
	start := "POST /api/v1/query HTTP/1.1"
	chunked := "12\r\n" + upParameters + "\r\n0\r\n\r\n"
	asked := func(headers ...string) string {
		return lines(append([]string{start, host, "Content-Type: application/x-www-form-urlencoded"}, headers...)...) + "\r\n\r\n"
	}
	ended := func(name, status, raw string) request {
		return request{name: name, raw: raw + smuggled + next, status: status}
	}
	return []request{
		{name: "two requests on a connection", raw: lines("GET "+up+" HTTP/1.1", host, "", "") + next, status: "200 200", reached: upReached},
		{name: "three requests at once", raw: lines("GET "+up+" HTTP/1.1", host, "", "") + lines("GET "+up+" HTTP/1.1", host, "", "") + next, status: "200 200 200", reached: upReached + " ; " + upReached},
		{name: "a length", raw: asked("Content-Length: 18") + upParameters + next, status: "200 200", reached: formReached},
		{name: "chunks", raw: asked("Transfer-Encoding: chunked") + chunked + next, status: "200 200", reached: formReached},
		// Chunks win over a length, as RFC 9112 has it: what follows the last chunk
		// is the next request, whatever the length says.
		{name: "a length in front of chunks", raw: asked("Content-Length: 4", "Transfer-Encoding: chunked") + chunked + next, status: "200 200", reached: formReached},
		{name: "chunks in front of a length", raw: asked("Transfer-Encoding: chunked", "Content-Length: 4") + chunked + next, status: "200 200", reached: formReached},
		{name: "chunks with a length that hides a request", raw: asked("Content-Length: 300", "Transfer-Encoding: chunked") + chunked + smuggled + next, status: "200 200 200", reached: formReached + " ; " + smuggledReached},
		ended("two lengths that differ", "400", asked("Content-Length: 18", "Content-Length: 0")+upParameters),
		{name: "two lengths that agree", raw: asked("Content-Length: 18", "Content-Length: 18") + upParameters + next, status: "200 200", reached: formReached},
		ended("two lengths in one line", "400", asked("Content-Length: 18, 18")+upParameters),
		ended("a length with a sign", "400", asked("Content-Length: +18")+upParameters),
		ended("a negative length", "400", asked("Content-Length: -1")+upParameters),
		ended("a length in hexadecimal", "400", asked("Content-Length: 0x12")+upParameters),
		ended("a length with an underscore", "400", asked("Content-Length: 1_8")+upParameters),
		ended("a length that overflows", "400", asked("Content-Length: 18446744073709551634")+upParameters),
		ended("a length that is empty", "400", asked("Content-Length:")+upParameters),
		ended("a length in words", "400", asked("Content-Length: eighteen")+upParameters),
		ended("a space in front of the colon of a length", "400", asked("Content-Length : 18")+upParameters),
		ended("a space in front of the colon of chunks", "400", asked("Transfer-Encoding : chunked")+chunked),
		ended("chunks written twice", "501", asked("Transfer-Encoding: chunked, chunked")+chunked),
		ended("chunks in two headers", "501", asked("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")+chunked),
		ended("chunks and identity", "501", asked("Transfer-Encoding: chunked, identity")+chunked),
		ended("identity alone", "501", asked("Transfer-Encoding: identity", "Content-Length: 18")+upParameters),
		ended("gzip as transfer encoding", "501", asked("Transfer-Encoding: gzip, chunked")+chunked),
		ended("a misspelt transfer encoding", "501", asked("Transfer-Encoding: xchunked")+chunked),
		ended("chunks in quotes", "501", asked(`Transfer-Encoding: "chunked"`)+chunked),
		ended("chunks with a vertical tabulator", "400", asked("Transfer-Encoding: \vchunked")+chunked),
		ended("a transfer encoding that is empty", "501", asked("Transfer-Encoding:")+chunked),
		{name: "chunks in upper case", raw: asked("Transfer-Encoding: CHUNKED") + chunked + next, status: "200 200", reached: formReached},
		{name: "a folded header", raw: asked("Transfer-Encoding:", " chunked") + chunked + next, status: "200 200", reached: formReached},
		ended("a folded first header", "400", lines(start, " Host: gateway", "Content-Length: 0", "", "")),
		ended("a header without a colon", "400", asked("Content-Length 18")+upParameters),
		ended("a header without a name", "400", asked(": 18")+upParameters),
		ended("a NUL in a header", "400", asked("X-A: a\x00b", "Content-Length: 18")+upParameters),
		ended("a NUL in the name of a header", "400", asked("X-\x00A: a", "Content-Length: 18")+upParameters),
		ended("a bare carriage return in a header", "400", asked("X-A: a\rContent-Length: 0", "Content-Length: 18")+upParameters),
		{name: "bare line feeds", raw: "GET " + up + " HTTP/1.1\nHost: gateway\nConnection: close\n\n", status: "200", reached: upReached},
		ended("chunks of a size with a sign", "400", asked("Transfer-Encoding: chunked")+"+12\r\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("chunks of a negative size", "400", asked("Transfer-Encoding: chunked")+"-12\r\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("chunks of a size with a prefix", "400", asked("Transfer-Encoding: chunked")+"0x12\r\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("chunks of a size that overflows", "400", asked("Transfer-Encoding: chunked")+"fffffffffffffffff\r\n"+upParameters),
		ended("chunks of no size", "400", asked("Transfer-Encoding: chunked")+"\r\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("a chunk longer than its size", "400", asked("Transfer-Encoding: chunked")+"5\r\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("a chunk behind a bare line feed", "400", asked("Transfer-Encoding: chunked")+"12\n"+upParameters+"\r\n0\r\n\r\n"),
		ended("a chunk extension of 100 KB", "400", asked("Transfer-Encoding: chunked")+"12;"+strings.Repeat("a", 100_000)+"\r\n"+upParameters+"\r\n0\r\n\r\n"),
		{name: "a chunk extension", raw: asked("Transfer-Encoding: chunked") + "12;a=\"b\"\r\n" + upParameters + "\r\n0\r\n\r\n" + next, status: "200 200", reached: formReached},
		{name: "a size with leading zeros", raw: asked("Transfer-Encoding: chunked") + "0012\r\n" + upParameters + "\r\n0\r\n\r\n" + next, status: "200 200", reached: formReached},
		{name: "chunks of one byte", raw: asked("Transfer-Encoding: chunked") + inChunks(upParameters, 1) + next, status: "200 200", reached: formReached},
		{name: "chunks of seven bytes", raw: asked("Transfer-Encoding: chunked") + inChunks(upParameters, 7) + next, status: "200 200", reached: formReached},
		{name: "trailers", raw: asked("Transfer-Encoding: chunked", "Trailer: X-A") + "12\r\n" + upParameters + "\r\n0\r\nX-A: " + secret + "\r\nAuthorization: " + secret + "\r\n\r\n" + next, status: "200 200", reached: formReached},
		ended("a trailer that is cut off by a NUL", "400", asked("Transfer-Encoding: chunked")+"12\r\n"+upParameters+"\r\n0\r\nX-\x00: a\r\n\r\n"),
		{name: "chunks that end with the connection", raw: asked("Transfer-Encoding: chunked") + "12\r\nquery=up", halfClose: true, status: "400"},
		{name: "a body that ends with the connection", raw: asked("Content-Length: 18") + "query=up", halfClose: true, status: "400"},
		{name: "a header that ends with the connection", raw: lines(start, host, "X-A"), halfClose: true, status: "400"},
		{name: "nothing", halfClose: true, status: "closed"},
		{name: "an empty line in front", raw: "\r\n" + get(up), status: "400"},
		{name: "bytes of TLS", raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 512), halfClose: true, status: "400"},
		{name: "HTTP/0.9", raw: "GET " + up + "\r\n", halfClose: true, status: "400"},
		{name: "HTTP/1.0", raw: "GET " + up + " HTTP/1.0\r\n\r\n", status: "200", reached: upReached},
		{name: "HTTP/1.0 with chunks", raw: lines("POST /api/v1/query HTTP/1.0", "Transfer-Encoding: chunked", "", "") + chunked, status: "200", reached: "POST /api/v1/query"},
		{name: "HTTP/1.2", raw: "GET " + up + " HTTP/1.2\r\nHost: gateway\r\nConnection: close\r\n\r\n", status: "200", reached: upReached},
		{name: "HTTP/2.0 as HTTP/1", raw: "GET " + up + " HTTP/2.0\r\nHost: gateway\r\n\r\n", status: "505"},
		{name: "HTTP/9.9", raw: "GET " + up + " HTTP/9.9\r\nHost: gateway\r\n\r\n", status: "505"},
		{name: "a version in lower case", raw: "GET " + up + " http/1.1\r\nHost: gateway\r\n\r\n", status: "400"},
		{name: "a version with more digits", raw: "GET " + up + " HTTP/1.10\r\nHost: gateway\r\n\r\n", status: "400"},
		{name: "two spaces in front of the version", raw: "GET " + up + "  HTTP/1.1\r\nHost: gateway\r\n\r\n", status: "400"},
	}
}

// inChunks writes a body in chunks of at most size bytes, with its end.
func inChunks(body string, size int) string {
	var text strings.Builder
	for len(body) > 0 {
		part := body[:min(size, len(body))]
		body = body[len(part):]
		text.WriteString(string("0123456789abcdef"[len(part)]) + "\r\n" + part + "\r\n")
	}
	return text.String() + "0\r\n\r\n"
}
