package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/diagnosis"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// result is what a run of the program left.
type result struct {
	stdout, stderr string
	status         int
}

func runTierproxy(t *testing.T, environment []string, arguments ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	command := tierproxy(t, environment, arguments...)
	command.Stdout, command.Stderr = &out, &err
	status := 0
	if failure := command.Run(); failure != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, failure, &exit)
		status = exit.ExitCode()
	}
	return result{out.String(), err.String(), status}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tierproxy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// startPrometheus starts one with history from the given time before now on.
func startPrometheus(t *testing.T, reach time.Duration) *embedded.Prometheus {
	t.Helper()
	// Writing takes a while, and a tier whose newest sample is old is not asked.
	return startPrometheusWith(t, stretch{reach, -30 * time.Minute})
}

// stretch is a time during which a Prometheus was up, in time before now.
type stretch struct{ from, to time.Duration }

// startPrometheusWith starts one with the samples of some stretches.
func startPrometheusWith(t *testing.T, stretches ...stretch) *embedded.Prometheus {
	t.Helper()
	now := time.Now().Truncate(time.Minute)
	var up []running.Stretch
	for _, each := range stretches {
		up = append(up, running.Stretch{From: now.Add(-each.from), To: now.Add(-each.to)})
	}
	return running.PrometheusOf(t, up...)
}

func TestCheckConfig_ReportsMistakes(t *testing.T) {
	valid := writeFile(t, "routing: {threshold: 30m}\n")
	require.Equal(t, result{stdout: valid + " is valid\n"}, runTierproxy(t, nil, "check-config", valid))

	invalid := writeFile(t, "routing: {threshold: 0s}\nnonsense: 1\n")
	got := runTierproxy(t, nil, "check-config", invalid)
	require.Equal(t, 1, got.status)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "tierproxy check-config: "+invalid+" has mistakes:\n")
	require.Contains(t, got.stderr, "routing.threshold: is 0s")
	require.Contains(t, got.stderr, `unknown key "nonsense"`)

	got = runTierproxy(t, []string{"DATASOURCE_POOL_SIZE=none"}, "check-config", valid)
	require.Equal(t, 1, got.status)
	require.Contains(t, got.stderr, `environment variable DATASOURCE_POOL_SIZE: "none"`, "the environment counts, as in the server")
	require.Equal(t, 2, runTierproxy(t, nil, "check-config").status)
	require.Equal(t, 1, runTierproxy(t, nil, "check-config", "/does/not/exist").status)
}

func TestExplain_AgreesWithTheGateway(t *testing.T) {
	hot, cold := startPrometheus(t, 2*time.Hour), startPrometheus(t, 6*time.Hour)
	config := writeFile(t, fmt.Sprintf("hot: {url: %q}\ncold: {url: %q}\n", hot.URL, cold.URL))

	got := runTierproxy(t, nil, "explain", "--query", "rate(http_requests_total[5m])", "--config", config)
	require.Zero(t, got.status, got.stderr)
	require.Regexp(t, `^hot answers: .*less than the threshold of 15m`, got.stdout)
	require.Regexp(t, `(?m)^reason +below-threshold$`, got.stdout)
	require.Regexp(t, `(?m)^hot +`+hot.URL+`, available, holds samples from 20\S+Z on$`, got.stdout)
	require.Regexp(t, `(?m)^reads +samples from 20\S+Z to 20\S+Z, 5m at once$`, got.stdout)
	require.Regexp(t, `(?m)^  6  yes  `, got.stdout)
	require.Empty(t, got.stderr)

	got = runTierproxy(t, nil, "explain", "--query", "http_requests_total", "--start", "5h", "--end", "4h", "--config", config, "--output", "json")
	require.Zero(t, got.status, got.stderr)
	var decision gateway.Explanation
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &decision))
	require.Equal(t, []string{"cold", "older-than-hot"}, []string{decision.Tier, decision.Reason})
	require.InDelta(t, time.Now().Add(-5*time.Hour-5*time.Minute).Unix(), decision.Extent.Oldest.Unix(), 120)

	got = runTierproxy(t, nil, "explain", "--query", "foo(", "--config", config)
	require.Zero(t, got.status, got.stderr)
	require.Contains(t, got.stdout, "\ntierproxy cannot parse the query: 1:5: parse error: unclosed left parenthesis\n")
	require.NotContains(t, got.stdout, "remedy")

	// A running gateway decides the same, for whoever shows its token.
	address := running.FreeAddress(t)
	token := writeFile(t, "let-me-in\n")
	startTierproxy(t, []string{"TIERPROXY_DEFAULT_DATASOURCE_TOKEN_FILE=" + token}, "--config", config, "--web.listen-address", address)
	remote := []string{"explain", "--query", "http_requests_total", "--time", "5h", "--gateway", "http://" + address, "--token-file", token}
	require.Eventually(t, func() bool { return runTierproxy(t, nil, remote...).status == 0 }, 30*time.Second, 200*time.Millisecond)
	require.Regexp(t, `(?m)^reason +older-than-hot$`, runTierproxy(t, nil, remote...).stdout)
	got = runTierproxy(t, nil, append(remote, "--tier", "hot")...)
	require.Regexp(t, `(?m)^reason +forced$`, got.stdout)
	require.Regexp(t, `(?m)^warnings$`, got.stdout)
	got = runTierproxy(t, nil, remote[:len(remote)-2]...)
	require.Equal(t, 1, got.status)
	require.Contains(t, got.stderr, "send the bearer token")
}

func TestExplain_ShowsTheCut(t *testing.T) {
	hot, cold := startPrometheus(t, 2*time.Hour), startPrometheus(t, 6*time.Hour)
	config := fmt.Sprintf("hot: {url: %q}\ncold: {url: %q}\nrouting: {strategy: split}\n", hot.URL, cold.URL)
	ask := func(config string, more ...string) string {
		arguments := append([]string{"explain", "--query", "http_requests_total", "--start", "5h", "--end", "0s", "--step", "60", "--config", config}, more...)
		got := runTierproxy(t, nil, arguments...)
		require.Zero(t, got.status, got.stderr)
		return got.stdout
	}
	split := writeFile(t, config)
	text := ask(split)
	found := regexp.MustCompile(`(?m)^cut +cold answers (\d+) steps, hot (\d+) steps from (20\S+Z) on$`).FindStringSubmatch(text)
	require.NotNil(t, found, text)
	require.Regexp(t, `(?m)^tier +hot,cold$`, text)
	require.NotContains(t, text, "not cut")
	var decision gateway.Explanation
	require.NoError(t, json.Unmarshal([]byte(ask(split, "--output", "json")), &decision))
	require.Equal(t, []string{strconv.Itoa(decision.Cut.ColdSteps), strconv.Itoa(decision.Cut.HotSteps)}, found[1:3])
	from, err := time.Parse(time.RFC3339Nano, found[3])
	require.NoError(t, err)
	require.WithinDuration(t, *decision.Cut.HotFrom, from, time.Minute, "they were asked for one after the other")

	text = ask(split, "--tier", "cold")
	require.Regexp(t, `(?m)^not cut +the request asks for one tier$`, text)
	require.NotRegexp(t, `(?m)^cut `, text)
	require.NotContains(t, ask(writeFile(t, strings.Replace(config, "split", "route", 1))), "cut")
}

func TestDescribeCut_CountsSteps(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	require.Equal(t, "cold answers 1 step, hot 16 steps from 2023-11-14T22:13:20Z on", describeCut(&gateway.CutParts{HotFrom: &at, ColdSteps: 1, HotSteps: 16}))
}

func TestExplain_ReportsMistakes(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for expected, test := range map[string]struct {
		status    int
		arguments []string
	}{
		"--query: set the PromQL":                       {2, nil},
		"--start, --end: set both":                      {2, []string{"--query", "up", "--start", "1h"}},
		`--time: "soon" is not a time`:                  {2, []string{"--query", "up", "--time", "soon"}},
		`--output: "xml" is neither text nor json`:      {2, []string{"--query", "up", "--output", "xml"}},
		`unexpected argument "up"`:                      {2, []string{"up"}},
		`--gateway: "tierproxy" is not a URL such as`:   {2, []string{"--query", "up", "--gateway", "tierproxy"}},
		"--gateway: is not a URL such as":               {2, []string{"--query", "up", "--gateway", "me:planted@tierproxy"}},
		"is not a tierproxy: it answered with status 4": {1, []string{"--query", "up", "--gateway", other.URL}},
		"connection refused":                            {1, []string{"--query", "up", "--gateway", "http://" + running.FreeAddress(t)}},
		"the configuration has mistakes":                {1, []string{"--query", "up", "--config", writeFile(t, "a: 1\n")}},
		"--token-file: open /does/not/exist":            {1, []string{"--query", "up", "--gateway", other.URL, "--token-file", "/does/not/exist"}},
		"no Perses is configured, set perses.url":       {1, []string{"--query", "up", "--datasource", "shop/metrics"}},
	} {
		got := runTierproxy(t, []string{"THANOS_QUERIER_URL=" + other.URL}, append([]string{"explain"}, test.arguments...)...)
		require.Equal(t, test.status, got.status, got.stderr)
		require.Contains(t, got.stderr, expected)
		require.NotContains(t, got.stderr, "planted")
		require.Empty(t, got.stdout)
	}
}

func TestCheck_ReportsProblemsWithRemedies(t *testing.T) {
	hot, cold := startPrometheus(t, 2*time.Hour), startPrometheus(t, 6*time.Hour)
	modules := `[{"kind":"PluginModule","metadata":{"name":"TieredPrometheus","version":"1.2.3"},"status":{"isLoaded":true}}]`
	perses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/health":
			_, _ = w.Write([]byte(`{"version":"0.54.0","database":true}`))
		case "/api/v1/plugins":
			_, _ = w.Write([]byte(modules))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(perses.Close)
	config := func(hot, cold, perses, more string) string {
		return writeFile(t, fmt.Sprintf("hot: {url: %q}\ncold: {url: %q}\nperses: {url: %q}\n%s", hot, cold, perses, more))
	}
	got := runTierproxy(t, nil, "check", "--config", config(hot.URL, cold.URL, perses.URL, ""))
	require.Zero(t, got.status, got.stdout+got.stderr)
	for _, line := range []string{
		`ok +perses: Perses 0\.54\.0 answers and has loaded the plugin module, version 1\.2\.3`,
		`ok +hot: ` + hot.URL + ` answers queries`,
		`ok +cold: ` + cold.URL + ` answers queries`,
		`ok +routing: hot covers the last 2h\S*; queries with a span of at least 15m go to cold`,
		`warning +routing: tierproxy only assumes that hot has every series`,
	} {
		require.Regexp(t, "(?m)^"+line, got.stdout)
	}

	require.Regexp(t, `(?m)^ +range +step +hot +cold\n +15m +1m +\S+ +\S+\n +1h +1m +\S+ +\S+\n`, got.stdout, "what was measured")
	for _, wrong := range [][]string{{"--ranges", "1h,soon"}, {"--ranges", "1s"}, {"--query", "up{"}} {
		got = runTierproxy(t, nil, append([]string{"check", "--config", config(hot.URL, cold.URL, perses.URL, "")}, wrong...)...)
		require.Equal(t, 2, got.status, got.stderr)
		require.Contains(t, got.stderr, wrong[0])
	}

	// Everything that can be wrong, each with its remedy.
	modules = `[{"metadata":{"name":"TieredPrometheus","version":"1.2.3"},"status":{"isLoaded":true}},{"metadata":{"name":"TieredPrometheus","version":"1.2.2"},"status":{"isLoaded":true}}]`
	got = runTierproxy(t, nil, "check", "--config", config(hot.URL, cold.URL, perses.URL, ""), "--measure=false")
	require.Regexp(t, `(?m)^warning +perses: Perses 0\.54\.0 has loaded the plugin module in versions 1\.2\.2 and 1\.2\.3, and may use any of them\n +delete the directories`, got.stdout)
	modules = `[]`
	got = runTierproxy(t, nil, "check", "--config", config(hot.URL, "http://"+running.FreeAddress(t), perses.URL, "routing: {threshold: 1d}\n"))
	require.Equal(t, 1, got.status)
	for _, line := range []string{
		`error +perses: Perses 0\.54\.0 has no plugin module TieredPrometheus`,
		`error +cold: \S+ cannot be used: refused\n +it refused the connection: check the port`,
		`warning +routing: hot covers the last 2h\S*, less than the threshold of 1d: queries with a span in between go to cold\n +wait until`,
	} {
		require.Regexp(t, "(?m)^"+line, got.stdout)
	}
	tier := faketier.New()
	t.Cleanup(tier.Close)
	got = runTierproxy(t, nil, "check", "--config", config("", tier.URL, tier.URL, ""), "--output", "json", "--measure=false")
	require.Equal(t, 1, got.status)
	var findings []diagnosis.Finding
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &findings), got.stdout)
	subjects := map[string]diagnosis.Severity{}
	for _, finding := range findings {
		subjects[finding.Subject] = finding.Severity
	}
	delete(subjects, "cache") // Its finding depends on what a cold tier alone shows.
	require.Equal(t, map[string]diagnosis.Severity{"perses": "error", "cold": "ok", "routing": "note"}, subjects)
}

func TestClearCache_AsksTheAdminAddress(t *testing.T) {
	hot, cold := startPrometheus(t, 2*time.Hour), startPrometheus(t, 6*time.Hour)
	config := writeFile(t, fmt.Sprintf("hot: {url: %q}\ncold: {url: %q}\n", hot.URL, cold.URL))
	address, admin := running.FreeAddress(t), running.FreeAddress(t)
	stop := startTierproxy(t, nil, "--config", config, "--web.listen-address", address, "--web.admin-address", admin)
	forget := []string{"clear-cache", "--admin", "http://" + admin}
	require.Eventually(t, func() bool { return runTierproxy(t, nil, forget...).status == 0 }, 30*time.Second, 200*time.Millisecond)
	require.Equal(t, result{stdout: "The cache is cleared.\n"}, runTierproxy(t, nil, forget...))
	// What changes the gateway is not on the address that everybody reaches.
	got := runTierproxy(t, nil, "clear-cache", "--admin", "http://"+address)
	require.Equal(t, 1, got.status)
	require.Equal(t, 2, runTierproxy(t, nil, "clear-cache").status)
	require.Contains(t, stop(), "the cache was cleared")
}
