package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	query, at, start, end, step, endpoint, choice string
	match                                         []string
	datasource, gateway, tokenFile, caFile        string
	config, output                                string
	timeout                                       time.Duration
}

// explainCommand is the subcommand explain.
func explainCommand(streams streams) *cobra.Command {
	flags := &explainFlags{}
	command := &cobra.Command{
		Use:   "explain --query PROMQL [--start TIME --end TIME [--step DURATION] | --time TIME]",
		Short: "Tell which tier a query goes to and why, without running it",
		Long: "Decides as the gateway does, and prints what the query reads, what the tiers hold, and what each routing rule makes\n" +
			"of it. With --gateway a running gateway decides; without it the tiers of the configuration are asked from here.\n\n" +
			"TIME is RFC 3339, seconds since the Unix epoch, or a duration before now such as 1h.",
		Example: "  tierproxy explain --query 'rate(up[5m])' --start 1h --end 0s --gateway http://tierproxy:9190 --datasource metrics\n" +
			"  tierproxy explain --query up --config tierproxy.yaml --output json",
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return flags.run(command.Context(), streams)
		},
	}
	define := command.Flags()
	define.StringVar(&flags.query, "query", "", "`PromQL` of the query.")
	define.StringVar(&flags.at, "time", "", "`Time` of an instant query; now if left out.")
	define.StringVar(&flags.start, "start", "", "`Time` that a range query starts at.")
	define.StringVar(&flags.end, "end", "", "`Time` that a range query ends at.")
	define.StringVar(&flags.step, "step", "", "Step of a range query: a `duration` or seconds. Left out, it is a 250th of the range.")
	define.StringVar(&flags.endpoint, "endpoint", "", "The endpoint that would be asked: query, query_range, series, labels, label_values or query_exemplars. Left out, the one that the other flags fit.")
	define.StringArrayVar(&flags.match, "match", nil, "`Selector` of a metadata endpoint, its match[]. May be repeated.")
	define.StringVar(&flags.choice, "tier", "auto", "What the caller asks for: hot, cold or auto.")
	define.StringVar(&flags.datasource, "datasource", "", "`Name` of a saved global datasource, or PROJECT/NAME. Without it the default datasource is asked.")
	define.StringVar(&flags.gateway, "gateway", "", "`URL` of a running gateway. Without it the configuration counts.")
	define.StringVar(&flags.tokenFile, "token-file", "", "`File` with the bearer token of the caller: that of Perses for a saved datasource.")
	define.StringVar(&flags.caFile, "ca-file", "", "`File` with the authority of the gateway's certificate.")
	define.StringVar(&flags.config, "config", "", "Path of the YAML configuration `file`. Without it the environment and the defaults count.")
	define.StringVar(&flags.output, "output", "text", "What to print: text or json.")
	define.DurationVar(&flags.timeout, "timeout", 30*time.Second, "How long to wait for the tiers.")
	for name, values := range map[string][]string{
		"output": {"text", "json"}, "tier": {"auto", "hot", "cold"},
		"endpoint": {"query", "query_range", "series", "labels", "label_values", "query_exemplars"},
	} {
		_ = command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // The flags exist.
	}
	return command
}

// noArguments refuses what is left beside the flags.
func noArguments(_ *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return usageErrorf("unexpected argument %q", arguments[0])
	}
	return nil
}

func (f *explainFlags) run(ctx context.Context, streams streams) error {
	parameters, err := f.parameters(time.Now())
	if err != nil {
		return err
	}
	if f.output != "text" && f.output != "json" {
		return usageErrorf("--output: %q is neither text nor json", f.output)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	carrier, base, end, err := f.connect(ctx, streams.err)
	if err != nil {
		return err
	}
	defer end()
	request, err := f.request(ctx, base, parameters)
	if err != nil {
		return err
	}
	data, err := ask(&http.Client{Transport: carrier}, request)
	if err != nil {
		return err
	}
	if f.output == "json" {
		var indented strings.Builder
		encoder := json.NewEncoder(&indented)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(data); err != nil {
			return err
		}
		_, err = io.WriteString(streams.out, indented.String())
		return err
	}
	var decision gateway.Explanation
	if err := json.Unmarshal(data, &decision); err != nil {
		return fmt.Errorf("read the decision: %w", err)
	}
	return writeExplanation(streams.out, &decision)
}

// parameters are those of the explain endpoint. It lists all mistakes.
func (f *explainFlags) parameters(now time.Time) (url.Values, error) {
	parameters := url.Values{}
	var mistakes []error
	moment := func(name, text string) time.Time {
		at, err := parseMoment(text, now)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("--%s: %w", name, err))
		} else if text != "" {
			parameters.Set(name, strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64))
		}
		return at
	}
	if f.query == "" && len(f.match) == 0 && f.endpoint != "labels" && f.endpoint != "label_values" {
		mistakes = append(mistakes, errors.New("--query: set the PromQL of the query"))
	}
	start, end := moment("start", f.start), moment("end", f.end)
	moment("time", f.at)
	isRange := f.endpoint == "query_range" || f.endpoint == "" && (f.start != "" || f.end != "" || f.step != "")
	switch {
	case isRange && (f.start == "" || f.end == ""):
		mistakes = append(mistakes, errors.New("--start, --end: set both for a range query, or --time alone for an instant query"))
	case isRange && f.step == "":
		parameters.Set("step", strconv.FormatFloat(max(end.Sub(start).Seconds()/250, 1), 'f', 3, 64))
	case f.step != "":
		parameters.Set("step", f.step)
	}
	for name, value := range map[string]string{"query": f.query, "endpoint": f.endpoint} {
		if value != "" {
			parameters.Set(name, value)
		}
	}
	for _, each := range f.match {
		parameters.Add("match[]", each)
	}
	if len(mistakes) > 0 {
		return nil, &statusError{statusUsage, errors.Join(mistakes...)}
	}
	return parameters, nil
}

// parseMoment reads a time of the command line; the zero time for none.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > -1e11 && seconds < 1e11 {
		return time.UnixMilli(int64(seconds * 1000)), nil
	}
	if ago, err := model.ParseDuration(text); err == nil {
		return now.Add(-time.Duration(ago)), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write RFC 3339, seconds since the Unix epoch, or a duration before now such as 1h", text)
}

// connect returns what carries the request, and the URL to ask below.
func (f *explainFlags) connect(ctx context.Context, log io.Writer) (http.RoundTripper, *url.URL, func(), error) {
	if f.gateway != "" {
		base, err := url.Parse(f.gateway)
		if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
			return nil, nil, nil, usageErrorf("--gateway: %q is no URL such as http://tierproxy:9190", f.gateway)
		}
		transport, err := transportTo(f.caFile)
		if err != nil {
			return nil, nil, nil, err
		}
		return transport, base, transport.CloseIdleConnections, nil
	}
	settings, err := config.Load(f.config)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	if f.datasource == "" {
		// Who calls is the operator: nobody has to be asked who that is.
		settings.Perses = config.Default().Perses
		// What it is confined to stays: the decision is about the confined query.
		settings.DefaultDatasource = config.DefaultDatasourceConfig{Namespaces: settings.DefaultDatasource.Namespaces}
	}
	local, err := startLocal(ctx, settings, log)
	if err != nil {
		return nil, nil, nil, err
	}
	return local, &url.URL{Scheme: "http", Host: "tierproxy"}, func() { _ = local.Close() }, nil
}

// transportTo returns a transport to a gateway whose certificate an authority of
// the file has signed; one of the system where the file is empty.
func transportTo(caFile string) (*http.Transport, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if caFile == "" {
		return transport, nil
	}
	content, err := os.ReadFile(caFile) //nolint:gosec // G304: it is the caller who names the file.
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--ca-file: %s holds no PEM certificate", caFile)
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return transport, nil
}

func (f *explainFlags) request(ctx context.Context, base *url.URL, parameters url.Values) (*http.Request, error) {
	below := ""
	if project, name, inProject := strings.Cut(f.datasource, "/"); inProject {
		below = "/proxy/projects/" + url.PathEscape(project) + "/datasources/" + url.PathEscape(name)
	} else if f.datasource != "" {
		below = "/proxy/globaldatasources/" + url.PathEscape(f.datasource)
	}
	target := strings.TrimSuffix(base.String(), "/") + below + "/api/v1/datasources/explain"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(parameters.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Tier-Choice", f.choice)
	return request, authorize(request, f.tokenFile)
}

// authorize puts the bearer token of a file on a request, if a file is named.
func authorize(request *http.Request, tokenFile string) error {
	if tokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(tokenFile) //nolint:gosec // G304: it is the caller who names the file.
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}

// maxAnswerBytes bounds the answers that commands read.
const maxAnswerBytes = 16 << 20

// ask returns the data of an answer in the shape of the Prometheus API.
func ask(client *http.Client, request *http.Request) (json.RawMessage, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil || (answer.Status != "success" && answer.Error == "") {
		return nil, fmt.Errorf("what answers at %s is no tierproxy: it answered with status %d", request.URL.Host, response.StatusCode)
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	return answer.Data, nil
}
