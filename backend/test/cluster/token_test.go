//go:build e2e

package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// planted is the token that the tests look for.
const planted = "planted-serviceaccount-token"

// listeners are servers that remember who got what, with certificates of the
// authority of the cluster: what they get, nobody but the gateway has withheld.
type listeners struct {
	authority *certificates.Authority
	pods      *network

	mutex    sync.Mutex
	asked    map[string]int // requests by name of the listener
	received map[string]int // those of them with the token, anywhere
}

// listen starts a server for an address of the cluster. certified is the name in
// its certificate; empty for plain HTTP. answer says what is not a probe.
func (l *listeners) listen(t *testing.T, name, address, certified string, answer http.HandlerFunc) {
	t.Helper()
	server := httptest.NewUnstartedServer(l.recording(name, answer))
	if certified == "" {
		server.Start()
	} else {
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{l.authority.Issue(time.Now().Add(time.Hour), certified).TLS(t)}}
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	l.pods.route(address, base.Host)
}

// recording remembers the requests before it answers them.
func (l *listeners) recording(name string, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		text := fmt.Sprint(request.Header, request.RequestURI, string(body))
		l.mutex.Lock()
		l.asked[name]++
		if strings.Contains(text, planted) {
			l.received[name]++
		}
		l.mutex.Unlock()
		answer(w, request)
	}
}

func (l *listeners) counts(name string) (asked, received int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.asked[name], l.received[name]
}

// prometheus answers like a server with external labels; it sends whoever asks
// for labels elsewhere.
func prometheus(elsewhere string) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(request.URL.Path, "/status/config"):
			_, _ = fmt.Fprint(w, `{"status":"success","data":{"yaml":"global:\n  external_labels:\n    cluster: lab\n"}}`)
		case strings.HasPrefix(request.UserAgent(), "tierproxy (probe)"):
			faketier.Probes(w, request)
		case strings.HasSuffix(request.URL.Path, "/labels"):
			http.Redirect(w, request, elsewhere, http.StatusTemporaryRedirect)
		default:
			faketier.Success(w, request)
		}
	}
}

// askSaved asks a saved datasource at a tier, and returns status and body.
func (g *runningGateway) askSaved(ctx context.Context, t *testing.T, path, endpoint, choice string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/proxy"+path+"/api/v1/"+endpoint, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer alice")
	request.Header.Set("X-Tier-Choice", choice)
	response, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// listenEverywhere starts the tiers of the cluster, and servers of every kind that the
// token may not reach.
func (l *listeners) listenEverywhere(t *testing.T) {
	t.Helper()
	const elsewhere = "https://elsewhere.monitoring.svc:9090"
	answer := prometheus(elsewhere + "/api/v1/labels")
	for i, address := range []string{"10.0.9.1:9090", "10.0.9.2:9090"} {
		l.listen(t, fmt.Sprintf("replica %d", i), address, "prometheus-k8s."+monitoring+".svc", answer)
	}
	l.listen(t, "cold", "thanos-querier."+monitoring+".svc:9091", "thanos-querier."+monitoring+".svc", answer)
	for _, name := range []string{"named", "described", "foreign", "written", "elsewhere"} {
		l.listen(t, name, name+".monitoring.svc:9090", name+".monitoring.svc", answer)
	}
	// Whoever may write Services next door has one with a good certificate too.
	l.listen(t, "mine", "mine.shop.svc:9090", "mine.shop.svc", answer)
	l.listen(t, "another port", "thanos-querier."+monitoring+".svc:9092", "thanos-querier."+monitoring+".svc", answer)
	l.listen(t, "plain", "plain.monitoring.svc:9090", "", answer)
	l.listen(t, "outside", "outside.example:443", "outside.example", answer)
}

// datasourcesOfServices returns the datasources in Perses by their path.
func datasourcesOfServices() map[string]fakeperses.Datasource {
	serviceIn := func(namespace, name, port string) string {
		one := fmt.Sprintf(`{"service":{"namespace":%q,"name":%q,"port":%s}}`, namespace, name, port)
		return fmt.Sprintf(`"hot":%s,"cold":%s,`, one, one)
	}
	ownServices := func(port string) string {
		const named = `%q:{"service":{"namespace":%q,"name":%q,"port":%s}},`
		return fmt.Sprintf(named, "hot", monitoring, "prometheus-k8s", `"web"`) + fmt.Sprintf(named, "cold", monitoring, "thanos-querier", port)
	}
	service := func(name string) string { return serviceIn("monitoring", name, `"web"`) }
	return map[string]fakeperses.Datasource{
		"/globaldatasources/own":            {},
		"/globaldatasources/own-by-service": {Tiers: ownServices("9091")}, "/projects/shop/datasources/own-by-service": {Tiers: ownServices(`"web"`)},
		"/projects/shop/datasources/another-port": {Tiers: ownServices(`"tenancy"`)},
		"/globaldatasources/named":                {Tiers: service("named")}, "/projects/shop/datasources/named": {Tiers: service("named")},
		"/globaldatasources/described": {Tiers: service("described")}, "/projects/shop/datasources/described": {Tiers: service("described")},
		"/globaldatasources/mine": {Tiers: serviceIn("shop", "mine", `"web"`)}, "/projects/shop/datasources/mine": {Tiers: serviceIn("shop", "mine", `"web"`)},
		"/projects/unlisted/datasources/foreign": {Tiers: service("foreign")}, "/globaldatasources/plain": {Tiers: service("plain")},
		"/globaldatasources/written":         {Tiers: `"hot":{"url":"https://written.monitoring.svc:9090"},"cold":{"url":"https://outside.example"},`},
		"/projects/unlisted/datasources/own": {},
		"/projects/unlisted/datasources/own-by-service": {Tiers: fmt.Sprintf(
			`"hot":{"service":{"namespace":%[1]q,"name":"prometheus-k8s"}},"cold":{"service":{"namespace":%[1]q,"name":"prometheus-k8s"}},`, monitoring)},
	}
}

// applyServices makes the Services that the datasources name, and those of the tiers.
func applyServices(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{"monitoring", "shop"} {
		maySeeServices(t, namespace)
	}
	for name, protocol := range map[string]string{"named": "https", "described": "https", "foreign": "https", "plain": "http"} {
		apply(t, fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {namespace: monitoring, name: %s}, spec: {ports: [{name: web, port: 9090, appProtocol: %s}]}}", name, protocol))
	}
	apply(t, "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: mine}, spec: {ports: [{name: web, port: 9090, appProtocol: https}]}}")
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9090, "prometheus-k8s-0=10.0.9.1", "prometheus-k8s-1=10.0.9.2")+
		"---\n"+openshift("thanos-querier", 9091))
}

// TestToken_ReachesDiscoveredServicesOnly plants a token of the ServiceAccount. It
// reaches the gateway's own tiers, each replica of hot, and the hosts that the
// operator names. It reaches no other host, not even a Service that a trusted
// datasource names: whoever may write in its namespace decides who answers there.
func TestToken_ReachesDiscoveredServicesOnly(t *testing.T) {
	dir := t.TempDir()
	l := &listeners{authority: certificates.NewAuthority(t), pods: &network{}, asked: map[string]int{}, received: map[string]int{}}
	certificates.Replace(t, filepath.Join(dir, "service-ca.crt"), l.authority.PEM)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(planted), 0o600))
	l.listenEverywhere(t)
	perses := httptest.NewServer(l.recording("perses", fakeperses.Handler("", datasourcesOfServices())))
	t.Cleanup(perses.Close)
	applyServices(t)

	outside := filepath.Join(dir, "outside.crt")
	certificates.Replace(t, outside, l.authority.PEM)
	g := newGateway(t, l.pods, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.ServiceAccount.TokenPath = filepath.Join(dir, "token")
		// That of the tiers too: a project that is not listed cannot name those anyway.
		settings.Discovery.Namespaces = []string{"monitoring", monitoring, "shop"}
		settings.Projects = []config.ProjectConfig{{Name: "shop", AllNamespaces: true}}
		settings.Destinations = []config.DestinationConfig{
			{Host: "written.monitoring.svc", Port: 9090},
			{Host: "described.monitoring.svc", Port: 9090, HTTPConfig: running.HTTPConfig(t, "{authorization: {credentials_file: "+filepath.Join(dir, "token")+"}, tls_config: {ca_file: "+outside+"}}")},
			{Host: "outside.example", Port: 443, HTTPConfig: running.HTTPConfig(t, "tls_config: {ca_file: "+outside+"}")},
		}
	})
	g.waitFor(t, eventually, "the tiers are available", func(health resolve.Health) bool {
		hot := health.Tiers["hot"]
		return len(hot.Replicas) == 2 && hot.Replicas[0].Available && hot.Replicas[1].Available && health.Tiers["cold"].Available
	})
	ask := func(path string, tiers ...string) {
		t.Helper()
		for _, choice := range tiers {
			for i := range 20 {
				status, body := g.askSaved(t.Context(), t, path, fmt.Sprintf("query?query=vector(%d)", i), choice)
				require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
			}
			status, _ := g.askSaved(t.Context(), t, path, "labels", choice)
			require.NotEqual(t, http.StatusOK, status, "a redirect is not followed")
		}
	}
	for _, path := range []string{
		"/globaldatasources/own", "/globaldatasources/own-by-service", "/projects/shop/datasources/own-by-service",
		"/globaldatasources/named", "/projects/shop/datasources/named", "/globaldatasources/described", "/projects/shop/datasources/described",
		"/globaldatasources/mine", "/projects/shop/datasources/mine", "/projects/shop/datasources/another-port",
		"/projects/unlisted/datasources/foreign", "/globaldatasources/plain", "/globaldatasources/written",
	} {
		ask(path, "hot", "cold")
	}
	for _, path := range []string{"/projects/unlisted/datasources/own", "/projects/unlisted/datasources/own-by-service"} {
		status, body := g.askSaved(t.Context(), t, path, "query?query=up", "hot")
		require.Equal(t, http.StatusForbidden, status, body)
		require.Contains(t, body, "ask the operator to list project \\\"unlisted\\\"")
	}

	for _, name := range []string{"replica 0", "replica 1", "cold", "described"} {
		asked, received := l.counts(name)
		require.NotZero(t, asked, name)
		require.Equal(t, asked, received, "%s gets it with every request", name)
	}
	for _, name := range []string{"named", "mine", "another port", "foreign", "plain", "written", "outside", "perses"} {
		asked, received := l.counts(name)
		require.NotZero(t, asked, name)
		require.Zero(t, received, "%s must not get it", name)
	}
	asked, _ := l.counts("elsewhere")
	require.Zero(t, asked, "nobody follows a redirect")
	for _, entry := range g.log.AllEntries() {
		line, err := entry.Bytes()
		require.NoError(t, err)
		require.False(t, bytes.Contains(line, []byte(planted)), "the token is in the log")
	}
}
