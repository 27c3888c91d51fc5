package main

import (
	"bytes"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// runMain makes this test binary behave as tierproxy.
const runMain = "TEST_RUN_TIERPROXY"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// ownEnvironment returns the environment of a process that behaves as
// tierproxy: more, and nothing of the environment of the tests. A process with
// the race detector otherwise sleeps for a second when it ends.
func ownEnvironment(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{runMain + "=1", "HOME=" + t.TempDir(), "GORACE=atexit_sleep_ms=0"}, more...)
}

// tierproxy is the program with arguments and an environment of its own.
func tierproxy(t *testing.T, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], arguments...)
	command.Env = ownEnvironment(t, environment...)
	return command
}

func TestTierproxy_ListsMistakesAndDoesNotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tierproxy.yaml")
	require.NoError(t, os.WriteFile(file, []byte("pool: {size: 0}\nunknown: 1\nquery: {timeout: soon}\n"), 0o600))
	var stdout, stderr bytes.Buffer
	command := tierproxy(t, []string{"QUERY_ROUTING_THRESHOLD=0s", "DATASOURCE_POOL_SIZE=-1"}, "--config", file)
	command.Stdout, command.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, command.Run(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Empty(t, stdout.String())
	for _, mistake := range []string{
		"tierproxy: the configuration has mistakes:",
		`unknown key "unknown": remove it or correct its spelling`,
		`"soon" is not a duration`,
		"routing.threshold: is 0s, and must be longer than zero",
		"pool.size: is -1, and must be at least 1",
	} {
		require.Contains(t, stderr.String(), mistake)
	}
}

func TestTierproxy_ReportsMistakesOfTheCommandLine(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for expected, arguments := range map[string][]string{
		"no such file or directory":                           {"--config", "/does/not/exist"},
		"unknown flag: --unknown-flag, see tierproxy --help":  {"--unknown-flag"},
		"the server takes flags only":                         {"argument"},
		`--log.level: "loud" is none of panic`:                {"--log.level", "loud"},
		`--log.format: "xml" is neither text nor json`:        {"--log.format", "xml"},
		"--web.tls-cert-file, --web.tls-key-file: set both":   {"--web.tls-cert-file", "cert.pem"},
		"address already in use":                              {"--web.listen-address", taken.Addr().String()},
		`"level":"info","msg":"the admin address is`:          {"--web.admin-address", "127.0.0.1:0", "--web.listen-address", taken.Addr().String(), "--log.format", "json"},
		"--web.tls-client-ca-file: has no effect":             {"--web.tls-client-ca-file", "ca.pem"},
		"--web.enable-pprof: set --web.admin-address":         {"--web.enable-pprof"},
		"--web.shutdown-delay: must not be negative":          {"--web.shutdown-delay", "-1s"},
		`--web.tls-min-version: "1.0" is neither 1.2 nor 1.3`: {"--web.tls-min-version", "1.0"},
		`--web.tls-cipher-suites: "X" is not a cipher suite`:  {"--web.tls-cipher-suites", "X"},
		"--web.admin-address: listen tcp":                     {"--web.admin-address", taken.Addr().String(), "--web.listen-address", "127.0.0.1:0"},
		"open missing.pem: no such file or directory":         {"--web.tls-cert-file", "missing.pem", "--web.tls-key-file", "missing.pem"},
	} {
		output, err := tierproxy(t, nil, arguments...).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%v: %s", arguments, output)
		require.NotZero(t, exit.ExitCode())
		require.Contains(t, string(output), expected)
	}
}

// TestTierproxy_ExitStatusTellsAWrongCommandLineApart runs with wrong flags, alone and beside a
// mistake in the configuration, and with right ones that cannot be used.
func TestTierproxy_ExitStatusTellsAWrongCommandLineApart(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	wrongFile := writeFile(t, "pool: {size: 0}\n")
	const noAddress = " is not an address: write host:port or :port, with a port up to 65535\n"
	for _, test := range []struct {
		arguments []string
		status    int
		expected  string
	}{
		{[]string{"--log.level", "loud"}, 2, "tierproxy: the command line has mistakes:\n--log.level: \"loud\" is none of"},
		{[]string{"--web.enable-pprof"}, 2, "--web.enable-pprof: set --web.admin-address"},
		{[]string{"--web.listen-address", "foo"}, 2, `--web.listen-address: "foo"` + noAddress},
		{[]string{"--web.listen-address", "127.0.0.1:99999"}, 2, `--web.listen-address: "127.0.0.1:99999"` + noAddress},
		{[]string{"--web.admin-address", "9191"}, 2, `--web.admin-address: "9191"` + noAddress},
		{[]string{"--log.level", "loud", "--config", wrongFile}, 2, "tierproxy: the command line and the configuration have mistakes:\n--log.level: \"loud\" is none of"},
		{[]string{"--config", wrongFile}, 1, "tierproxy: the configuration has mistakes:\npool.size: is 0, and must be at least 1\n"},
		{[]string{"--web.listen-address", taken.Addr().String(), "--log.level", "error"}, 1, "tierproxy: --web.listen-address: listen tcp " + taken.Addr().String() + ": bind: address already in use\n"},
	} {
		got := runTierproxy(t, nil, test.arguments...)
		require.Equal(t, test.status, got.status, "%v: %s", test.arguments, got.stderr)
		require.Contains(t, got.stderr, test.expected, test.arguments)
	}
}

// TestTierproxy_ListsAllFilesThatItCannotRead names files that are missing. Each is listed once.
func TestTierproxy_ListsAllFilesThatItCannotRead(t *testing.T) {
	got := runTierproxy(t, nil, "--config", writeFile(t, `
perses: {url: "https://perses", ca_file: /missing/1}
hot: [{url: "https://a", http_config: {tls_config: {ca_file: /missing/2}}}, {url: "https://b", http_config: {tls_config: {ca_file: /missing/3}}}]
cold: {url: "https://c", http_config: {tls_config: {ca_file: /missing/4}}}
cache: {redis: {address: "redis:6379", password_file: /missing/5, tls: true, ca_file: /missing/6}}
`))
	require.Equal(t, 1, got.status, got.stderr)
	for i, key := range []string{"perses.ca_file", "hot[0].http_config", "hot[1].http_config", "cold.http_config", "cache.redis.password_file", "cache.redis.ca_file"} {
		require.Regexp(t, `(?m)^`+regexp.QuoteMeta(key)+`: .*/missing/`+strconv.Itoa(i+1)+`\b`, got.stderr)
	}
	require.True(t, strings.HasPrefix(got.stderr, "tierproxy: the configuration has mistakes:\n"), got.stderr)
	require.Equal(t, 7, strings.Count(got.stderr, "\n"), got.stderr)
}

func TestTierproxy_PrintsItsVersion(t *testing.T) {
	output, err := tierproxy(t, nil, "--version").Output()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(output), "tierproxy, version "), string(output))
}

func TestHelp_NamesCommandsAndFlags(t *testing.T) {
	run := func(arguments ...string) string {
		var out, err bytes.Buffer
		command := tierproxy(t, nil, arguments...)
		command.Stdout, command.Stderr = &out, &err
		require.NoError(t, command.Run(), err.String())
		return out.String()
	}
	text := run("--help")
	for _, expected := range []string{"Without a subcommand it serves", "--config file", "--web.listen-address", `(default ":9190")`} {
		require.Contains(t, text, expected)
	}
	// The flags of the server are those of the process, and are defined once.
	flags := flag.CommandLine
	t.Cleanup(func() { flag.CommandLine = flags })
	flag.CommandLine = flag.NewFlagSet("tierproxy", flag.ContinueOnError)
	for _, each := range newCommand(streams{}).Commands() {
		require.Contains(t, text, "\n  "+each.Name()+" ")
		require.Contains(t, text, each.Short)
		require.Contains(t, run(each.Name(), "--help"), "tierproxy "+each.Name())
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, run("completion", shell), "tierproxy")
	}
	require.Contains(t, run("__complete", "explain", "--output", ""), "json")
}

func TestTierproxy_ServesAndStops(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	var log bytes.Buffer
	command := tierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL}, "--web.listen-address", address)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	get := func(path string) (*http.Response, string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return nil, ""
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response, string(body)
	}
	require.Eventually(t, func() bool {
		response, _ := get("/-/ready")
		return response != nil && response.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond)
	response, body := get("/api/v1/query?query=up")
	require.Equal(t, faketier.Vector("1"), body)
	require.Equal(t, "cold", response.Header.Get("X-Tier"))
	require.Equal(t, "only-tier", response.Header.Get("X-Tier-Reason"))
	_, body = get("/metrics")
	for _, name := range []string{"tierproxy_build_info{", "go_goroutines ", "process_open_fds ", "tierproxy_queries_total{"} {
		require.Contains(t, body, "\n"+name)
	}
	documented, err := os.ReadFile("../../../docs/metrics.md")
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (tierproxy_\w+)`).FindAllStringSubmatch(body, -1) {
		require.Regexp(t, "(?m)^# HELP "+found[1]+" .", body)
		require.Contains(t, string(documented), "`"+found[1]+"`")
	}
	response, _ = get("/debug/pprof/")
	require.Equal(t, http.StatusNotFound, response.StatusCode, "off by default")
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait(), log.String())
}

// TestTierproxy_ServesOnWhileItStops sends a signal. Until another one, load balancers learn that
// it stops, and requests are still answered.
func TestTierproxy_ServesOnWhileItStops(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	address := running.FreeAddress(t)
	start := func(delay string) (*exec.Cmd, func(path string) (int, bool)) {
		command := tierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL}, "--web.listen-address", address, "--web.shutdown-delay", delay)
		require.NoError(t, command.Start())
		t.Cleanup(func() { _ = command.Process.Kill() })
		get := func(path string) (status int, closes bool) {
			response, err := http.Get("http://" + address + path)
			if err != nil {
				return 0, false
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			return response.StatusCode, response.Close
		}
		require.Eventually(t, func() bool { status, _ := get("/-/ready"); return status == http.StatusOK }, 20*time.Second, 5*time.Millisecond)
		return command, get
	}
	command, get := start("1h")
	const query = "/api/v1/query?query=up"
	status, closes := get(query)
	require.Equal(t, http.StatusOK, status)
	require.False(t, closes)
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { status, _ := get("/-/ready"); return status == http.StatusServiceUnavailable }, 20*time.Second, 5*time.Millisecond)
	status, closes = get(query)
	require.Equal(t, http.StatusOK, status)
	require.True(t, closes, "the next connection leads to another gateway")
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait())

	command, _ = start("10ms")
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait(), "the delay ends by itself")
}
