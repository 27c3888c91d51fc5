package upstream

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(text)
	require.NoError(t, err)
	return parsed
}

func TestDestinationsAreMatchedByHostAndPort(t *testing.T) {
	allowed := []Destination{
		{Host: "prometheus.example.com", Port: 9090}, {Host: "*.monitoring.svc"}, {Host: "10.0.0.7", Port: 443}, {Host: "fd00::7"},
	}
	for target, expected := range map[string]bool{
		"http://prometheus.example.com:9090/x":             true,
		"http://PROMETHEUS.example.com.:9090":              true,
		"http://prometheus.example.com":                    false,
		"http://prometheus.example.com:9091":               false,
		"http://other.example.com:9090":                    false,
		"http://prometheus.example.com.evil.com:9090":      false,
		"http://a.monitoring.svc:1":                        true,
		"http://a.b.monitoring.svc":                        true,
		"http://monitoring.svc":                            false,
		"http://.monitoring.svc":                           false,
		"http://evilmonitoring.svc":                        false,
		"http://a.monitoring.svc.evil.com":                 false,
		"https://10.0.0.7/x":                               true,
		"http://10.0.0.7/x":                                false,
		"https://[::ffff:10.0.0.7]/x":                      true,
		"http://[fd00:0:0::7]:9090":                        true,
		"http://[fd00::8]:9090":                            false,
		"http://prometheus.example.com:9090@evil.com":      false,
		"http://evil.com:9090#prometheus.example.com":      false,
		"http://127.0.0.1:9090":                            false,
		"http://169.254.169.254/latest":                    false,
		"http://[::1]:9090":                                false,
		"http://localhost:9090":                            false,
		"http://2130706433:9090":                           false,
		"http://0x7f.1:9090":                               false,
		"http://prometheus.example.com:9090.evil.com:9090": false,
	} {
		parsed, err := url.Parse(target)
		if err != nil {
			require.False(t, expected, target)
			continue
		}
		_, err = Allow(allowed, parsed)
		require.Equal(t, expected, err == nil, "%s: %v", target, err)
	}
}

func TestAddressesThatNoDatasourceLeadsTo(t *testing.T) {
	for text, expected := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "0.0.0.0": true, "0.1.2.3": true, "::": true,
		"169.254.169.254": true, "fe80::1": true, "fe80::1%eth0": true, "100.100.100.200": true, "fd00:ec2::254": true, "192.0.0.192": true, "168.63.129.16": true,
		"224.0.0.1": true, "ff02::1": true, "64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "::7f00:1": true, "2002:7f00:1::": true,
		"10.0.0.1": false, "192.168.1.1": false, "172.16.0.1": false, "8.8.8.8": false, "fd00::1": false, "2001:db8::1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false,
	} {
		require.Equal(t, expected, reserved(netip.MustParseAddr(text)), text)
	}
}

func TestTheGuardHoldsWhenConnecting(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	t.Cleanup(server.Close)
	port := parse(t, server.URL).Port()
	for host, destination := range map[string]struct {
		Destination
		reached bool
	}{
		"127.0.0.1": {Destination{Host: "127.0.0.1"}, true},
		// A name that resolves to loopback, allowed by a pattern that does not
		// say so.
		"localhost": {Destination{Host: "*ocalhost"}, false},
		"LOCALHOST": {Destination{Host: "localhost"}, true},
	} {
		target := parse(t, "http://"+host+":"+port)
		guard, err := Allow([]Destination{destination.Destination}, target)
		require.NoError(t, err)
		client, err := NewClient(ClientOptions{URL: target, PoolSize: 1, Guard: guard})
		require.NoError(t, err)
		response, err := client.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/", Header: http.Header{}}, nil)
		if destination.reached {
			require.NoError(t, err, host)
			require.NoError(t, response.Body.Close())
			continue
		}
		var denied *DeniedError
		require.ErrorAs(t, err, &denied, host)
		require.NotContains(t, Describe(err), "127.0.0.1")
	}
}

func TestDestinationsThatCannotMatch(t *testing.T) {
	for _, wrong := range []Destination{{}, {Host: "*."}, {Host: "http://x"}, {Host: "x/y"}, {Host: "a:9090"}, {Host: "a", Port: -1}, {Host: "a", Port: 70000}, {Host: "[::1]"}, {Host: "a.*.b"}} {
		require.Error(t, wrong.Validate(), "%+v", wrong)
	}
	for _, right := range []Destination{{Host: "a"}, {Host: "*.a.b", Port: 1}, {Host: "::1"}, {Host: "10.0.0.1", Port: 65535}} {
		require.NoError(t, right.Validate(), "%+v", right)
	}
}
