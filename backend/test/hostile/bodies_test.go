//go:build e2e

package hostile

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
)

// bodyBytes is more than any bound of the gateway for a body.
const bodyBytes = 8 << 20

// endless sends pieces until the connection fails.
func endless(piece string) func(io.Writer) {
	return func(to io.Writer) {
		for {
			if _, err := io.WriteString(to, piece); err != nil {
				return
			}
		}
	}
}

// bomb is a form of 100 MiB that gzip makes small.
func bomb() string {
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	piece := strings.Repeat("a", 1<<20)
	_, _ = io.WriteString(writer, "query=up&x=") // A buffer takes everything.
	for range 100 {
		_, _ = io.WriteString(writer, piece)
	}
	_ = writer.Close()
	return compressed.String()
}

// bodyCases send bodies that are compressed, too large, or have no end.
func bodyCases() []request {
	piece := strings.Repeat("a", 64<<10)
	compressed := bomb()
	cases := []request{
		{name: "a body above the bound", raw: form("x=" + strings.Repeat("a", bodyBytes)), status: "413"},
		{name: "a multipart body above the bound", raw: form("--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n"+strings.Repeat("a", bodyBytes)+"\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b"), status: "413"},
		{name: "a body above the bound in chunks", raw: send("POST", "/api/v1/query", "Transfer-Encoding: chunked") + "800000\r\n" + strings.Repeat("a", bodyBytes) + "\r\n0\r\n\r\n", status: "413"},
		{name: "a body without an end", raw: send("POST", "/api/v1/query", "Content-Length: 9223372036854775807") + "query=", more: endless(piece), status: "413"},
		{name: "a body without an end in chunks", raw: send("POST", "/api/v1/query", "Transfer-Encoding: chunked"), more: endless("10000\r\n" + piece + "\r\n"), status: "413"},
		{name: "a body without an end in chunks of one byte", raw: send("POST", "/api/v1/query", "Transfer-Encoding: chunked"), more: endless(strings.Repeat("1\r\na\r\n", 1024)), status: "413"},
		{name: "an extension without an end", raw: send("POST", "/api/v1/query", "Transfer-Encoding: chunked") + "1;", more: endless(piece), status: "400"},
		{name: "a GET of a body without an end", raw: get(up, "Transfer-Encoding: chunked"), more: endless("10000\r\n" + piece + "\r\n"), status: "200", reached: upReached},
		{name: "a header without an end", raw: "GET " + up + " HTTP/1.1\r\nHost: gateway\r\nX-A: ", more: endless(piece), status: "431"},
		{name: "headers without an end", raw: "GET " + up + " HTTP/1.1\r\nHost: gateway\r\n", more: endless(strings.Repeat("X-A: b\r\n", 1024)), status: "431"},
		{name: "a request line without an end", raw: "GET /", more: endless(piece), status: "431"},
		{name: "trailers without an end", raw: send("POST", "/api/v1/query", "Transfer-Encoding: chunked") + "12\r\n" + upParameters + "\r\n0\r\n", more: endless(strings.Repeat("X-A: b\r\n", 1024)), status: "400"},
		{name: "a compressed bomb", raw: form(compressed, "Content-Encoding: gzip"), status: "415"},
		{name: "a compressed bomb that is not called so", raw: form(compressed), status: "400"},
		{name: "a compressed bomb in a GET", raw: get(up, "Content-Encoding: gzip", "Content-Length: 0"), status: "200", reached: upReached},
		{name: "identity and gzip", raw: form(upParameters, "Content-Encoding: identity, gzip"), status: "415"},
		{name: "identity", raw: form(upParameters, "Content-Encoding: identity"), status: "200", reached: formReached},
		{name: "identity in front of gzip in two headers", raw: form(upParameters, "Content-Encoding: identity", "Content-Encoding: gzip"), status: "200", reached: formReached},
		{name: "an empty encoding", raw: form(upParameters, "Content-Encoding:"), status: "200", reached: formReached},
		{name: "an empty body", raw: form(""), status: "200", reached: "POST /api/v1/query"},
		{name: "a body of NULs", raw: form(strings.Repeat("\x00", 1000)), status: "200", reached: "POST /api/v1/query " + strings.Repeat("\x00", 1000)},
		{name: "a body of ampersands", raw: form(strings.Repeat("&", 10_000) + upParameters), status: "400"},
		{name: "a body behind a refused expectation", raw: form(upParameters, "Expect: the-unexpected"), status: "417"},
		{name: "a body behind an expectation", raw: form(upParameters, "Expect: 100-continue"), status: "100 200", reached: formReached},
		{name: "an expectation of a body that is refused", raw: send("POST", "/api/v1/write", "Expect: 100-continue", "Content-Length: 1000000000"), status: "403"},
	}
	for _, encoding := range []string{"GZIP", "x-gzip", "deflate", "br", "zstd", "snappy", "compress", "chunked", "none"} {
		cases = append(cases, request{name: "the encoding " + encoding, raw: form(upParameters, "Content-Encoding: "+encoding), status: "415"})
	}
	return cases
}
