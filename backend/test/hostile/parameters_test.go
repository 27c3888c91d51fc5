//go:build e2e

package hostile

import "strings"

// parameterCases give parameters twice, split, escaped and in other places. What
// a tier could read differently from the gateway is refused. A query that is no
// PromQL, or is missing, reaches the tier as it is: the tier refuses it.
func parameterCases() []request {
	urlAnd := func(inURL, inBody string) string { return post("/api/v1/query?"+inURL, inBody) }
	const rangeOf = "/api/v1/query_range?query=up&start=1000&end=1060&step=60"
	cases := []request{
		{name: "a form", raw: form(upParameters), status: "200", reached: formReached},
		{name: "the query in the URL, the time in the body", raw: urlAnd("query=up", "time=1000"), status: "200", reached: "POST /api/v1/query?query=up time=1000"},
		{name: "a query in the URL and another in the body", raw: urlAnd("query=up", "query=down&time=1000"), status: "400"},
		{name: "the same query in URL and body", raw: urlAnd("query=up&time=1000", "query=up"), status: "200", reached: "POST /api/v1/query?query=up&time=1000 query=up"},
		{name: "two queries in the URL", raw: get("/api/v1/query?query=up&query=down"), status: "400"},
		{name: "two queries in the body", raw: form("query=up&query=down"), status: "400"},
		{name: "the same query twice", raw: get(up + "&query=up"), status: "200", reached: upReached + "&query=up"},
		{name: "an empty query and another", raw: get("/api/v1/query?query=&query=up"), status: "400"},
		{name: "a query whose name is escaped", raw: get("/api/v1/query?%71uery=up&time=1000"), status: "200", reached: "GET /api/v1/query?%71uery=up&time=1000"},
		{name: "a query twice, once with an escaped name", raw: get(up + "&%71uery=down"), status: "400"},
		{name: "a query twice, once with a name in the body that is escaped", raw: urlAnd(upParameters, "q%75ery=down"), status: "400"},
		{name: "a query name in upper case", raw: get("/api/v1/query?Query=up"), status: "200", reached: "GET /api/v1/query?Query=up"},
		{name: "a query in upper case beside the query", raw: get(up + "&QUERY=down"), status: "200", reached: upReached + "&QUERY=down"},
		{name: "a query with brackets", raw: get("/api/v1/query?query[]=up"), status: "200", reached: "GET /api/v1/query?query[]=up"},
		{name: "a query with brackets beside the query", raw: get(up + "&query[]=down&query[0]=down"), status: "200", reached: upReached + "&query[]=down&query[0]=down"},
		{name: "a query name behind a space", raw: get("/api/v1/query?+query=up"), status: "200", reached: "GET /api/v1/query?+query=up"},
		{name: "a query name in front of a NUL", raw: get("/api/v1/query?query%00=up"), status: "200", reached: "GET /api/v1/query?query%00=up"},
		{name: "a semicolon as separator", raw: get("/api/v1/query?query=up;query=down"), status: "400"},
		{name: "a semicolon as separator in the body", raw: form("query=up;time=1"), status: "400"},
		{name: "an encoded semicolon", raw: get("/api/v1/query?query=up%3Btime%3D1"), status: "200", reached: "GET /api/v1/query?query=up%3Btime%3D1"},
		{name: "an encoded ampersand", raw: get("/api/v1/query?query=up%26query%3Ddown"), status: "200", reached: "GET /api/v1/query?query=up%26query%3Ddown"},
		{name: "an escape that is none", raw: get("/api/v1/query?query=%zz"), status: "400"},
		{name: "an escape that is cut off", raw: get("/api/v1/query?query=up%2"), status: "400"},
		{name: "an escape that is none in the body", raw: form("query=%zz"), status: "400"},
		{name: "an escape of another notation", raw: get("/api/v1/query?query=%u0075p"), status: "400"},
		{name: "an escape that is none in another parameter", raw: get(up + "&x=%"), status: "400"},
		{name: "bytes that are no UTF-8", raw: get("/api/v1/query?query=up%ff"), status: "200", reached: "GET /api/v1/query?query=up%ff"},
		{name: "overlong UTF-8", raw: get("/api/v1/query?query=%c1%b5p"), status: "200", reached: "GET /api/v1/query?query=%c1%b5p"},
		{name: "a NUL in the query", raw: get("/api/v1/query?query=up%00"), status: "200", reached: "GET /api/v1/query?query=up%00"},
		{name: "a plus for a space", raw: get("/api/v1/query?query=up+or+up&time=1000"), status: "200", reached: "GET /api/v1/query?query=up+or+up&time=1000"},
		{name: "an encoded plus", raw: get("/api/v1/query?query=up%2Bup&time=1000"), status: "200", reached: "GET /api/v1/query?query=up%2Bup&time=1000"},
		{name: "encoded spaces", raw: get("/api/v1/query?query=up%20or%20up&time=1000"), status: "200", reached: "GET /api/v1/query?query=up%20or%20up&time=1000"},
		{name: "a query that is escaped twice", raw: get("/api/v1/query?query=%2575p"), status: "200", reached: "GET /api/v1/query?query=%2575p"},
		{name: "CR LF and a header in the query", raw: get("/api/v1/query?query=up%0d%0aX-Injected:%20yes"), status: "200", reached: "GET /api/v1/query?query=up%0d%0aX-Injected:%20yes"},
		{name: "CR LF and a header in another parameter", raw: get(up + "&x=%0d%0aX-Injected:%20yes%0d%0a%0d%0a"), status: "200", reached: upReached + "&x=%0d%0aX-Injected:%20yes%0d%0a%0d%0a"},
		{name: "two times", raw: get(up + "&time=2000"), status: "400"},
		{name: "a time in the URL and another in the body", raw: urlAnd(upParameters, "time=2000"), status: "400"},
		{name: "two notations of the same time", raw: get(up + "&time=1000.0"), status: "400"},
		{name: "two timeouts", raw: get(up + "&timeout=1s&timeout=2s"), status: "400"},
		{name: "two limits", raw: get(up + "&limit=1&limit=2"), status: "400"},
		{name: "two lookback deltas", raw: get(up + "&lookback_delta=1s&lookback_delta=2s"), status: "400"},
		{name: "two engines", raw: get(up + "&engine=thanos&engine=prometheus"), status: "400"},
		{name: "two choices of partial answers", raw: get(up + "&partial_response=true&partial_response=false"), status: "400"},
		{name: "two choices of deduplication", raw: get(up + "&dedup=true&dedup=false"), status: "400"},
		{name: "two resolutions", raw: get(up + "&max_source_resolution=0s&max_source_resolution=1h"), status: "400"},
		{name: "two starts", raw: get(rangeOf + "&start=1"), status: "400"},
		{name: "two ends", raw: get(rangeOf + "&end=1"), status: "400"},
		{name: "two steps", raw: get(rangeOf + "&step=1"), status: "400"},
		{name: "a parameter without a name", raw: get(up + "&=x"), status: "200", reached: upReached + "&=x"},
		{name: "a parameter without a value", raw: get(up + "&x"), status: "200", reached: upReached + "&x"},
		{name: "a query without a value", raw: get("/api/v1/query?query"), status: "200", reached: "GET /api/v1/query?query"},
		{name: "a value with equals signs", raw: get(up + "&x=a=b=c"), status: "200", reached: upReached + "&x=a=b=c"},
		{name: "empty parameters", raw: get("/api/v1/query?&&" + upParameters + "&&"), status: "200", reached: "GET /api/v1/query?&&" + upParameters + "&&"},
		{name: "two selectors", raw: get("/api/v1/series?match[]=up&match[]=down"), status: "200", reached: "GET /api/v1/series?match[]=up&match[]=down"},
		{name: "selectors in URL and body", raw: post("/api/v1/series?match[]=up", "match[]=down"), status: "200", reached: "POST /api/v1/series?match[]=up match[]=down"},
		{name: "a selector without brackets", raw: get("/api/v1/series?match=up"), status: "400"},
		{name: "a selector with an index", raw: get("/api/v1/series?match[0]=up"), status: "400"},
		{name: "a selector whose name is escaped", raw: get("/api/v1/series?match%5B%5D=up"), status: "200", reached: "GET /api/v1/series?match%5B%5D=up"},
		{name: "a selector that is an expression", raw: get("/api/v1/series?match[]=sum(up)"), status: "200", reached: "GET /api/v1/series?match[]=sum(up)"},
		{name: "a thousand parameters", raw: get(up + strings.Repeat("&x=y", 1000)), status: "200", reached: upReached + strings.Repeat("&x=y", 1000)},
		{name: "a value of 100 KB", raw: get(up + "&x=" + strings.Repeat("a", 100_000)), status: "200", reached: upReached + "&x=" + strings.Repeat("a", 100_000)},
		{name: "a URL above the bound of the server", raw: get(up + "&x=" + strings.Repeat("a", 2<<20)), status: "431"},
		{name: "no parameters", raw: get("/api/v1/query"), status: "200", reached: "GET /api/v1/query"},
		{name: "no parameters of a range", raw: get("/api/v1/query_range"), status: "400"},
		{name: "an unknown kind of rules", raw: get("/api/v1/rules?type=%0d%0a"), status: "400"},
	}
	return cases
}

// contentTypeCases call a form something else, and something else a form.
func contentTypeCases() []request {
	typed := func(name, contentType string) request {
		return request{name: name, raw: form(upParameters, "Content-Type: "+contentType), status: "200", reached: formReached}
	}
	const boundary = "Content-Type: multipart/form-data; boundary=b"
	part := func(disposition, value string) string {
		return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + value + "\r\n"
	}
	return []request{
		typed("JSON by name", "application/json"), typed("text by name", "text/plain"), typed("bytes by name", "application/octet-stream"),
		typed("XML by name", "application/xml"), typed("nothing by name", ""), typed("no type at all", "x"), typed("a type with CR in quotes", `text/plain; a="b c"`),
		typed("a form in upper case", "APPLICATION/X-WWW-FORM-URLENCODED"), typed("a form in UTF-16 by name", "application/x-www-form-urlencoded; charset=utf-16"),
		typed("a form in UTF-7 by name", "application/x-www-form-urlencoded; charset=utf-7"), typed("a form with two charsets", "application/x-www-form-urlencoded; charset=utf-8; charset=utf-7"),
		typed("a mixed multipart by name", "multipart/mixed; boundary=b"), typed("snappy by name", "application/x-protobuf"), typed("a long type", "text/"+strings.Repeat("a", 10_000)),
		{name: "no content type", raw: send("POST", "/api/v1/query", "Content-Length: 18") + upParameters, status: "200", reached: formReached},
		{name: "two content types", raw: form(upParameters, "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"), status: "200", reached: formReached},
		{name: "JSON", raw: form(`{"query":"up"}`, "Content-Type: application/json"), status: "200", reached: `POST /api/v1/query {"query":"up"}`},
		{name: "XML", raw: form(`<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><query>&b;</query>`, "Content-Type: application/xml"), status: "400"},
		{name: "a form in UTF-16", raw: form("q\x00u\x00e\x00r\x00y\x00=\x00u\x00p\x00", "Content-Type: application/x-www-form-urlencoded; charset=utf-16"), status: "200", reached: "POST /api/v1/query q\x00u\x00e\x00r\x00y\x00=\x00u\x00p\x00"},
		{name: "a form with a byte order mark", raw: form("\xef\xbb\xbfquery=up"), status: "200", reached: "POST /api/v1/query \xef\xbb\xbfquery=up"},
		{name: "a form with line feeds between", raw: form("query=up\r\ntime=1000"), status: "200", reached: "POST /api/v1/query query=up\r\ntime=1000"},
		{name: "a multipart form", raw: form(part(`name="query"`, "up")+part(`name="time"`, "1000")+"--b--\r\n", boundary), status: "200", reached: formReached},
		{name: "a multipart form of an unnamed part", raw: form(part(`x="query"`, "up")+"--b--\r\n", boundary), status: "200", reached: "POST /api/v1/query"},
		{name: "a multipart form of two queries", raw: form(part(`name="query"`, "up")+part(`name="query"`, "down")+"--b--\r\n", boundary), status: "400"},
		{name: "a multipart form beside a URL", raw: post("/api/v1/query?query=down", part(`name="query"`, "up")+"--b--\r\n", boundary), status: "400"},
		{name: "a multipart form of a file", raw: form(part(`name="query"; filename="../../etc/passwd"`, "up")+"--b--\r\n", boundary), status: "400"},
		{name: "a multipart form of a file beside the query", raw: form(part(`name="query"`, "up")+part(`name="x"; filename="x"`, "x")+"--b--\r\n", boundary), status: "400"},
		{name: "a multipart form of a query in quoted-printable", raw: form("--b\r\nContent-Disposition: form-data; name=\"query\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=75p\r\n"+part(`name="time"`, "1000")+"--b--\r\n", boundary), status: "200", reached: formReached},
		{name: "a multipart form without its end", raw: form(part(`name="query"`, "up"), boundary), status: "400"},
		{name: "a multipart form of another boundary", raw: form("--c\r\n\r\n--c--\r\n", boundary), status: "400"},
		{name: "a multipart form without a boundary", raw: form(part(`name="query"`, "up")+"--b--\r\n", "Content-Type: multipart/form-data"), status: "400"},
		{name: "a multipart form with an empty boundary", raw: form("--\r\n\r\n----\r\n", `Content-Type: multipart/form-data; boundary=""`), status: "400"},
		{name: "a multipart form that is a plain one", raw: form(upParameters, boundary), status: "400"},
		{name: "a multipart form of 2,000 parts", raw: form(strings.Repeat(part(`name="x"`, "y"), 2000)+"--b--\r\n", boundary), status: "400"},
		{name: "a multipart form with a header of 100 KB", raw: form("--b\r\nX-A: "+strings.Repeat("a", 100_000)+"\r\n\r\nx\r\n"+part(`name="query"`, "up")+"--b--\r\n", boundary), status: "200", reached: "POST /api/v1/query query=up"},
		{name: "a multipart form with an ampersand in a value", raw: form(part(`name="query"`, "up")+part(`name="time"`, "1000&query=down")+"--b--\r\n", boundary), status: "400"},
	}
}
