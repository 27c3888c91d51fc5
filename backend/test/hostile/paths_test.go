//go:build e2e

package hostile

import "strings"

// pathCases write paths so that two servers could read them differently.
func pathCases() []request {
	query := "?" + upParameters
	refused := func(name, path string) request {
		return request{name: name, raw: get(path + query), status: "400"}
	}
	missing := func(name, path string) request {
		return request{name: name, raw: get(path + query), status: "404"}
	}
	redirected := func(name, path string) request {
		return request{name: name, raw: get(path + query), status: "307"}
	}
	return []request{
		refused("an encoded slash", "/api/v1%2Fquery"),
		refused("an encoded slash in lower case", "/api%2fv1/query"),
		refused("a slash that is encoded twice", "/api/v1%252Fquery"),
		refused("a slash that is encoded three times", "/api/v1%25252Fquery"),
		refused("an encoded backslash", "/api/v1%5Cquery"),
		refused("a backslash", `/api/v1\query`),
		refused("a backslash in front of dots", `/api/v1/..\admin`),
		refused("a percent sign", "/api/v1/query%25"),
		refused("a dot segment", "/api/./v1/query"),
		refused("a double-dot segment", "/api/v1/x/../query"),
		refused("double dots out of the API", "/api/v1/../../-/reload"),
		refused("double dots in front", "/../api/v1/query"),
		refused("double dots at the end", "/api/v1/query/.."),
		refused("a dot at the end", "/api/v1/query/."),
		refused("encoded double dots", "/api/v1/%2e%2e/query"),
		refused("half-encoded double dots", "/api/v1/.%2e/query"),
		refused("encoded double dots and slash", "/api/v1/%2e%2e%2fquery"),
		redirected("a double slash", "/api//v1/query"),
		redirected("a double slash in front", "//api/v1/query"),
		redirected("a host behind a double slash", "//evil.example/api/v1/query"),
		redirected("three slashes", "///api/v1/query"),
		missing("a double slash at the end", "/api/v1/query//"),
		refused("an encoded NUL", "/api/v1/query%00"),
		refused("an encoded NUL within", "/api/v1/que%00ry"),
		missing("an encoded line feed", "/api/v1/query%0a"),
		missing("encoded CR LF and a header", "/api/v1/query%0d%0aX-Injected:%20yes"),
		missing("an encoded tabulator", "/api/v1/query%09"),
		missing("an encoded space", "/api/v1/query%20"),
		missing("an encoded question mark", "/api/v1/query%3Fquery=up"),
		missing("an encoded number sign", "/api/v1/query%23"),
		missing("overlong UTF-8 of a slash", "/api/v1%c0%afquery"),
		missing("overlong UTF-8 of a dot", "/api/v1/%c0%ae%c0%ae/query"),
		missing("UTF-8 of three bytes for a slash", "/api/v1%e0%80%afquery"),
		missing("half of a character", "/api/v1/query%c3"),
		missing("bytes that are no UTF-8", "/api/v1/query%ff%fe"),
		missing("raw bytes above 127", "/api/v1/query\xff"),
		missing("a slash of another script", "/api/v1\u2215query"),
		missing("full-width letters", "/api/v1/ｑuery"),
		missing("a parameter of the path", "/api/v1/query;x=y"),
		missing("a parameter of a segment", "/api;v=1/v1/query"),
		missing("a parameter in front of double dots", "/api/v1/..;/query"),
		missing("upper case", "/API/V1/QUERY"),
		missing("a suffix", "/api/v1/query.json"),
		missing("another version", "/api/v2/query"),
		missing("no version", "/api/query"),
		missing("an endpoint as its own parent", "/api/v1/query/query"),
		missing("a label without a name", "/api/v1/label/values"),
		missing("a label with two segments", "/api/v1/label/a/b/values"),
		missing("the federation of Prometheus", "/federate"),
		missing("the web page of Prometheus", "/graph"),
		missing("the profiles of Prometheus", "/debug/pprof/heap"),
		missing("the profiles of Thanos", "/debug/fgprof"),
		missing("the configuration page", "/config"),
		missing("the notifications", "/api/v1/notifications/live"),
		missing("the versions of Alertmanager", "/api/v2/alerts"),
		missing("a path of all letters", "/api/v1/"+strings.Repeat("a", 100_000)),
		missing("a path of many segments", strings.Repeat("/a", 50_000)),
		missing("no saved datasource", "/proxy/globaldatasources/x/api/v1/query"),
		missing("no saved datasource of a project", "/proxy/projects/a/datasources/b/api/v1/query"),
		missing("no kind of datasource", "/proxy/secrets/x/api/v1/query"),
		missing("the proxy itself", "/proxy"),
		refused("an empty project", "/proxy/projects//datasources/b/api/v1/query"),
		refused("double dots as project", "/proxy/projects/../datasources/b/api/v1/query"),
		refused("an encoded slash in a datasource", "/proxy/globaldatasources/a%2Fb/api/v1/query"),
		{name: "a label with a dot", raw: get("/api/v1/label/a.b/values"), status: "200", reached: "GET /api/v1/label/a.b/values"},
		{name: "a label of another script", raw: get("/api/v1/label/%C3%A9/values"), status: "200", reached: "GET /api/v1/label/%C3%A9/values"},
		{name: "an encoded letter", raw: get("/api/v1/%71uery" + query), status: "404"},
		{name: "a path of 2 MiB", raw: get("/" + strings.Repeat("a", 2<<20)), status: "431"},
		// The server library drops one slash at the end.
		{name: "a slash at the end", raw: get("/api/v1/query/" + query), status: "200", reached: upReached},
		{name: "an encoded slash at the end", raw: get("/api/v1/query%2F" + query), status: "200", reached: upReached},
		{name: "a fragment in the value of a parameter", raw: get(up + "#x"), status: "400"},
		{name: "a fragment in a path", raw: get("/api/v1/query#x" + query), status: "404"},
		{name: "an empty query string", raw: get("/api/v1/labels?"), status: "200", reached: "GET /api/v1/labels"},
		{name: "two question marks", raw: get("/api/v1/labels??a=b"), status: "200", reached: "GET /api/v1/labels??a=b"},
		{name: "a target without a slash", raw: get("api/v1/query" + query), status: "400"},
		{name: "an empty target", raw: lines("GET  HTTP/1.1", "Host: gateway", "", ""), status: "400"},
		{name: "a star as target", raw: get("*"), status: "404"},
		{name: "the absolute form of this host", raw: get("http://gateway" + up), status: "200", reached: upReached},
		{name: "the absolute form of another host", raw: get("http://evil.example" + up), status: "200", reached: upReached},
		{name: "the absolute form with a password", raw: get("http://user:" + secret + "@evil.example" + up), status: "200", reached: upReached},
		{name: "the absolute form of another scheme", raw: get("ftp://evil.example" + up), status: "200", reached: upReached},
		{name: "the absolute form of a file", raw: get("file:///etc/passwd"), status: "404"},
		{name: "the absolute form of a metadata service", raw: get("http://169.254.169.254/latest/meta-data/"), status: "404"},
		{name: "the authority form", raw: get("evil.example:80"), status: "404"},
		{name: "a raw NUL", raw: get("/api/v1/query\x00" + query), status: "400"},
		{name: "a raw space", raw: get("/api/v1/ query" + query), status: "400"},
		{name: "a raw tabulator", raw: get("/api/v1/\tquery" + query), status: "400"},
		{name: "a raw carriage return", raw: get("/api/v1/query\rX-Injected: yes"), status: "400"},
		{name: "an escape that is none", raw: get("/api/v1/%zzquery" + query), status: "400"},
		{name: "an escape that is cut off", raw: get("/api/v1/query%2"), status: "400"},
	}
}
