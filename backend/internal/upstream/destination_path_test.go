package upstream

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuard_LetsPassWhatIsNotReservedAndWhatTheOperatorNamed(t *testing.T) {
	named, localhost := Guard{enforced: true, named: netip.MustParseAddr("127.0.0.7")}, Guard{enforced: true, loopback: true}
	for _, test := range []struct {
		guard   Guard
		address string
		passes  bool
	}{
		{Guard{}, "127.0.0.1:80", true}, {Guard{enforced: true}, "10.0.0.1:80", true}, {Guard{enforced: true}, "127.0.0.1:80", false},
		{Guard{enforced: true}, "[::ffff:127.0.0.1]:80", false}, {Guard{enforced: true}, "[fe80::1%eth0]:80", false}, {Guard{enforced: true}, "nonsense", false},
		{named, "127.0.0.7:80", true}, {named, "[::ffff:127.0.0.7]:80", true}, {named, "127.0.0.1:80", false}, {named, "10.0.0.1:80", true},
		{localhost, "127.0.0.1:80", true}, {localhost, "[::1]:80", true}, {localhost, "169.254.169.254:80", false}, {localhost, "10.0.0.1:80", true},
	} {
		err := test.guard.control("tcp", test.address, nil)
		require.Equal(t, test.passes, err == nil, "%+v %s: %v", test.guard, test.address, err)
	}
}

func TestCheckPath_AmbiguousPathsAreDenied(t *testing.T) {
	for text, plain := range map[string]bool{
		"http://host": true, "http://host/": true, "http://host/a/b/": true, "http://host/a%20b": true, "http://host/a.b/...": true,
		"http://user@host/a": false, "http://host/a?b": false, "http://host/a#b": false, "http:host/a": false, "http://host//a": false, "http://host/a//b": false,
		"http://host/a/./b": false, "http://host/a/..": false, "http://host/%2e%2e/a": false, "http://host/a%2fb": false, "http://host/a%5cb": false,
		"http://host/a%00": false, "http://host/a%3fb": false, "http://host/a%23b": false, "http://host/a;b": false, "http://host/%252e": false,
	} {
		require.Equal(t, plain, CheckPath(parse(t, text)) == nil, text)
	}
	require.Error(t, CheckPath(&url.URL{Scheme: "http", Host: "host", Opaque: "//other"}))
}

func TestUnderPath_ComparesWholeSegments(t *testing.T) {
	for _, test := range []struct {
		prefix, path string
		under        bool
	}{
		{"", "", true}, {"", "/a", true}, {"/", "/a", true}, {"/a", "/a", true}, {"/a", "/a/", true}, {"/a/", "/a", true}, {"/a", "/a/b", true},
		{"/a", "/ab", false}, {"/a/", "/ab", false}, {"/a", "/", false}, {"/a", "", false}, {"/a/b", "/a", false}, {"/a", "/b/a", false},
	} {
		require.Equal(t, test.under, UnderPath(test.prefix, test.path), "%q %q", test.prefix, test.path)
		_, err := Allow([]Destination{{Host: "host", PathPrefix: test.prefix}}, &url.URL{Scheme: "http", Host: "host", Path: test.path})
		require.Equal(t, test.under, err == nil, "%q %q", test.prefix, test.path)
	}
}

func TestSameServer_HoweverWritten(t *testing.T) {
	for pair, same := range map[[2]string]bool{
		{"http://a", "http://A.:80/b"}: true, {"https://a", "https://a:443"}: true, {"http://[::ffff:10.0.0.1]", "http://10.0.0.1:80"}: true,
		{"http://a", "http://b"}: false, {"http://a", "http://a:81"}: false, {"http://a", "https://a"}: false, {"http://10.0.0.1", "http://10.0.0.2"}: false,
	} {
		require.Equal(t, same, SameServer(parse(t, pair[0]), parse(t, pair[1])), pair)
	}
}
