package upstream

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
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

func TestDestination_MatchesHostAndPort(t *testing.T) {
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

func TestReserved_AddressesThatNoDatasourceLeadsTo(t *testing.T) {
	for text, expected := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "0.0.0.0": true, "0.1.2.3": true, "::": true,
		"169.254.169.254": true, "fe80::1": true, "fe80::1%eth0": true, "100.100.100.200": true, "fd00:ec2::254": true, "192.0.0.192": true, "168.63.129.16": true,
		"224.0.0.1": true, "ff02::1": true, "64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "::7f00:1": true, "2002:7f00:1::": true,
		"64:ff9b:1::7f00:1": true, "::ffff:0:7f00:1": true, "2001:0:808:808::80ff:fffe": true, "2001:0:7f00:1::f7f7:f7f7": true, "2001:db8::5efe:7f00:1": true, "2001:db8::200:5efe:a9fe:a9fe": true,
		"fec0::1": true, "255.255.255.255": true, "fd00:ec2::23": true, "fd20:ce::254": true, "169.254.170.2": true, "::ffff:169.254.169.254": true,
		"fd00:ec2::254%eth0": true, "::ffff:100.100.100.200": true, "2001:0:808:808::f7f7:f7f7": false,
		"2001:db8::100:5efe:7f00:1": false, "2001:db8::1:5efe:7f00:1": false, "2001:db8::5eff:7f00:1": false, "2001:db8::5dfe:7f00:1": false, "2001:db8::5efe:a00:1": false,
		"10.0.0.1": false, "192.168.1.1": false, "172.16.0.1": false, "8.8.8.8": false, "fd00::1": false, "2001:db8::1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false,
	} {
		require.Equal(t, expected, reserved(netip.MustParseAddr(text)), text)
	}
}

func TestGuard_HoldsWhenConnecting(t *testing.T) {
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
		permission, err := Allow([]Destination{destination.Destination}, target)
		require.NoError(t, err)
		client, err := NewClient(ClientOptions{URL: target, PoolSize: 1, Guard: permission.Guard})
		require.NoError(t, err)
		response, err := client.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/", Header: http.Header{}})
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

// hostile are URLs that somebody writes into a datasource to be led elsewhere.
// The operator allows prometheus.example.com:9090 and *.monitoring.svc.
var hostile = []string{
	"http://127.0.0.1:9090", "http://127.1:9090", "http://0177.0.0.1:9090", "http://0x7f000001:9090", "http://2130706433:9090",
	"http://0:9090", "http://0.0.0.0:9090", "http://localhost:9090", "http://LOCALHOST.:9090", "http://localhost.localdomain:9090",
	"http://[::1]:9090", "http://[::]:9090", "http://[0:0:0:0:0:0:0:1]:9090", "http://[::ffff:127.0.0.1]:9090", "http://[::ffff:7f00:1]:9090",
	"http://[::127.0.0.1]:9090", "http://[64:ff9b::127.0.0.1]:9090", "http://[fe80::1%25eth0]:9090", "http://[fe80::1]:9090", "http://[fd00:ec2::254]:80",
	"http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]", "http://metadata.google.internal", "http://100.100.100.200",
	"http://prometheus.example.com:9090@127.0.0.1:9090", "http://127.0.0.1:9090@prometheus.example.com:9090", "http://user:pass@prometheus.example.com:9090",
	"http://prometheus.example.com:9090#@127.0.0.1", "http://prometheus.example.com:9090?@127.0.0.1", "http://prometheus.example.com:9090\\@127.0.0.1",
	"http://prometheus.example.com%00.evil.com:9090", "http://prometheus.example.com%2eevil.com:9090", "http://prometheus.example.com:9090.evil.com",
	"http://prometheus.example.com.evil.com:9090", "http://evil-prometheus.example.com:9090", "http://evilmonitoring.svc", "http://monitoring.svc",
	"http://.monitoring.svc", "http://x.monitoring.svc.evil.com", "http://x.monitoring.svc%2F.evil.com", "http://prometheus.example.com", "http://prometheus.example.com:9091",
	"http://prometheus.example.com:09090x", "//prometheus.example.com:9090", "file:///etc/passwd", "gopher://prometheus.example.com:9090", "http:prometheus.example.com:9090",
	"http://prometheus.example.com:9090/a/../b", "http://prometheus.example.com:9090/%2e%2e/b", "http://prometheus.example.com:9090/a%2fb", "http://prometheus.example.com:9090/a%5cb",
	"http://prometheus.example.com:9090/a%3fb", "http://prometheus.example.com:9090/a;b", "http://prometheus.example.com:9090/./a", "http://prometheus.example.com:9090/%252e%252e/",
	"http://ⓟrometheus.example.com:9090", "http://prometheus。example.com:9090", "http://xn--prometheus.example.com:9090",
}

func TestAllow_HostileURLs(t *testing.T) {
	allowed := []Destination{{Host: "prometheus.example.com", Port: 9090, Scheme: "http"}, {Host: "*.monitoring.svc"}}
	parsed := 0
	for _, text := range hostile {
		target, err := url.Parse(text)
		if err != nil {
			continue
		}
		parsed++
		_, err = Allow(allowed, target)
		require.Error(t, err, text)
		require.Equal(t, FailureDenied, FailureOf(err), text)
	}
	require.Greater(t, parsed, 50)
	_, err := Allow(allowed, parse(t, "http://prometheus.example.com:9090/a/b/"))
	require.NoError(t, err)
}

func TestDestination_CredentialStaysThere(t *testing.T) {
	secret := access(t, TransportOptions{HTTP: httpConfig(t, "authorization: {credentials: planted}")})
	harmless := access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {server_name: x}")})
	destinations := []Destination{
		{Host: "a.example.com", Port: 443, Transport: secret}, {Host: "b.example.com", Port: 80, Scheme: "http", Transport: secret},
		{Host: "a.example.com"}, {Host: "*.example.org", Transport: harmless},
	}
	for text, expected := range map[string]*TransportConfig{
		"https://a.example.com": secret, "https://a.example.com/path": secret, "https://A.example.com.:443": secret,
		"http://a.example.com:443": nil, "https://a.example.com:444": nil, "http://a.example.com": nil,
		"http://b.example.com": secret, "http://x.example.org": harmless,
	} {
		permission, err := Allow(destinations, parse(t, text))
		require.NoError(t, err, text)
		require.Same(t, expected, permission.Transport, text)
	}
	_, err := Allow(destinations, parse(t, "https://b.example.com:80"))
	require.Error(t, err)
}

// A name that resolves well when it is looked at and ill when it is connected
// to gains nothing: the address counts that a connection is made to.
func TestGuard_Rebinding(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the connection was made") }))
	t.Cleanup(server.Close)
	lookups := resolveTo(t, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1"))
	first, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", "rebound.monitoring.svc.")
	require.NoError(t, err)
	require.Equal(t, "192.0.2.1", first[0].String())
	target := parse(t, "http://rebound.monitoring.svc.:"+parse(t, server.URL).Port())
	permission, err := Allow([]Destination{{Host: "*.monitoring.svc"}}, target)
	require.NoError(t, err)
	made, err := NewClient(ClientOptions{URL: target, PoolSize: 1, Guard: permission.Guard})
	require.NoError(t, err)
	_, err = made.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/", Header: http.Header{}})
	require.Equal(t, FailureDenied, FailureOf(err))
	require.Greater(t, lookups.Load(), int64(1))
}

// resolveTo makes the resolver of this process ask a server that answers every
// question for an IPv4 address with one address after the other, the last one
// for good.
func resolveTo(t *testing.T, addresses ...netip.Addr) *atomic.Int64 {
	t.Helper()
	connection, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	before := net.DefaultResolver
	t.Cleanup(func() {
		net.DefaultResolver = before
		_ = connection.Close()
	})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", connection.LocalAddr().String())
	}}
	var count atomic.Int64
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := connection.ReadFrom(buffer)
			if err != nil {
				return
			}
			end := 12
			for end < n && buffer[end] != 0 {
				end += int(buffer[end]) + 1
			}
			question := buffer[12 : end+5] // The name, its end, type and class.
			answer := append([]byte{buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
			if question[len(question)-3] == 1 { // An IPv4 address.
				i := min(int(count.Add(1))-1, len(addresses)-1)
				ip := addresses[i].As4()
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ip[0], ip[1], ip[2], ip[3])
			}
			_, _ = connection.WriteTo(answer, from)
		}
	}()
	return &count
}
