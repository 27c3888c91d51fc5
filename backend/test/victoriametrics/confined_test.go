//go:build e2e

// Package victoriametrics tests the gateway in front of a real VictoriaMetrics.
package victoriametrics

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// series are those of two namespaces, and some without a name or a namespace.
// The label owner says whose they are.
const series = `account_balance{namespace="bank",owner="secret",job="a"} 1000
account_balance{namespace="shop",owner="shop",job="a"} 7
orders{namespace="shop",owner="shop",job="b"} 3
loans{namespace="bank",owner="secret",job="b"} 9
unowned{owner="secret",job="c"} 5
`

// nameless is a series without a name, as recording rules and remote writers make
// them.
const nameless = `{"metric":{"namespace":"bank","owner":"secret","job":"nameless"},"values":[11],"timestamps":[%[1]d]}
{"metric":{"owner":"secret","job":"nameless"},"values":[12],"timestamps":[%[1]d]}
`

// site is a gateway that is confined to the namespace shop, in front of a
// VictoriaMetrics that holds more.
type site struct {
	gateway, server string
	now             time.Time
}

func start(t *testing.T) *site {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, "victoria-metrics")
	require.NoError(t, err)
	server, err := stack.VictoriaMetrics{Dir: t.TempDir()}.Start(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	s := &site{server: server.URL, now: time.Now().Truncate(time.Second)}
	at := s.now.Add(-10 * time.Second).UnixMilli()
	post(t, fmt.Sprintf("%s/api/v1/import/prometheus?timestamp=%d", server.URL, at), series)
	post(t, server.URL+"/api/v1/import", fmt.Sprintf(nameless, at))
	require.Eventually(t, func() bool {
		get(t, s.server+"/internal/force_flush")
		_, body := get(t, s.server+"/api/v1/query?"+s.instant(`count({owner="secret"})`).Encode())
		return strings.Contains(body, `"5"`)
	}, 30*time.Second, 50*time.Millisecond, "the imported series")

	config := datasource.DefaultConfig()
	config.Cold.URL = server.URL
	config.DefaultDatasource.Namespaces = []string{"shop"}
	manager := running.Start(t, config, nil)
	gateway := httptest.NewServer(gateway.New(manager))
	t.Cleanup(gateway.Close)
	s.gateway = gateway.URL
	return s
}

func (s *site) instant(query string) url.Values {
	return url.Values{"query": {query}, "time": {fmt.Sprint(s.now.Unix())}}
}

func post(t *testing.T, target, body string) (int, string) {
	t.Helper()
	response, err := http.Post(target, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Less(t, response.StatusCode, 500, string(text))
	return response.StatusCode, string(text)
}

func get(t *testing.T, target string) (int, string) {
	t.Helper()
	status, body, err := stack.Get(t.Context(), target, nil)
	if body == nil {
		require.NoError(t, err)
	}
	return status, string(body)
}

// attacks ask for what is in other namespaces.
var attacks = []string{
	"account_balance#\r{}", "{__name__=\"account_balance\"#\r}\n", "account_balance{job=~\".+\"#\r}\n,x=\"y\"}", "{job!=\"\"#\r}\n", "account_balance #\r offset 1s",
	`account_balance{namespace="bank"}`, `{namespace="bank"}`, `{namespace=""}`, `{namespace="",job="nameless"}`, `{namespace=~"b.*"}`, `{namespace!="shop"}`, `{namespace!~"shop"}`,
	`{job="nameless"}`, `{__name__="",job="nameless"}`, `{__name__!~".+",job=~".+"}`, `{__name__=~".*",job=~".+"}`, `account_balance`, `{__name__=~".+"}`,
	"account_balance{job=`a`}", `account_balance{"job"="a"}`, `{"account_balance"}`, `account_balance{or="x"}`, `{or="",job="a"}`, `{__graphite__="*",job=~".*"}`, `{__graphite__="account_balance"}`,
	`{job=~"a|nameless|c"}`, `unowned`, `loans`,
}

// TestConfined_NothingOfAnotherNamespaceFromVictoriaMetrics sends the attacks to
// every endpoint that reads series.
func TestConfined_NothingOfAnotherNamespaceFromVictoriaMetrics(t *testing.T) {
	s := start(t)
	for _, attack := range attacks {
		queries := []string{attack, "last_over_time(" + attack + "\n[1h])", "sum by (owner) (" + attack + "\n)", "orders or " + attack, "label_replace(" + attack + "\n, \"x\", \"$1\", \"owner\", \"(.*)\")"}
		for _, query := range queries {
			for _, target := range []string{
				"/api/v1/query?" + s.instant(query).Encode(),
				"/api/v1/query_range?" + url.Values{"query": {query}, "start": {fmt.Sprint(s.now.Unix() - 60)}, "end": {fmt.Sprint(s.now.Unix())}, "step": {"5"}}.Encode(),
			} {
				_, body := get(t, s.gateway+target)
				require.NotContains(t, body, "secret", "%q", query)
			}
			text, err := json.Marshal(map[string]any{"query": query, "end": s.now.Unix()})
			require.NoError(t, err)
			_, body := post(t, s.gateway+"/api/v1/metrics/query", string(text))
			require.NotContains(t, body, "secret", "%q", query)
		}
		match := "match[]=" + url.QueryEscape(attack) + fmt.Sprintf("&start=%d", s.now.Unix()-3600)
		for _, target := range []string{"/api/v1/series?", "/api/v1/labels?", "/api/v1/label/owner/values?", "/api/v1/label/job/values?", "/api/v1/label/__name__/values?", "/api/v1/label/namespace/values?"} {
			_, body := get(t, s.gateway+target+match)
			for _, other := range []string{"secret", "bank", "nameless", "loans", "unowned"} {
				require.NotContains(t, withoutError(body), other, "%s of %q", target, attack)
			}
		}
	}
}

// withoutError leaves out errors, which repeat what was asked.
func withoutError(body string) string {
	if strings.HasPrefix(body, `{"status":"error"`) {
		return ""
	}
	return body
}

// TestConfined_OwnSeriesFromVictoriaMetrics asks for what may be read.
func TestConfined_OwnSeriesFromVictoriaMetrics(t *testing.T) {
	s := start(t)
	for query, expected := range map[string]string{
		"account_balance#\r{}":                                `"7"`,
		"sum(account_balance)":                                `"7"`,
		`account_balance{namespace="shop",job="a"}`:           `"7"`,
		`{"account_balance", "job"='a'}`:                      `"7"`,
		`orders or account_balance{namespace="bank"}`:         `"3"`,
		`count({__name__=~".+"})`:                             `"2"`,
		`absent(account_balance{namespace="bank"})`:           `"1"`,
		`sum(account_balance{namespace="bank"}) or vector(4)`: `"4"`,
	} {
		status, body := get(t, s.gateway+"/api/v1/query?"+s.instant(query).Encode())
		require.Equal(t, http.StatusOK, status, body)
		require.Contains(t, body, expected, "%q: %s", query, body)
		require.Equal(t, 1, strings.Count(body, `"value":`), body)
	}
}
