package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	remote

	query, at, start, end, step, endpoint, choice string
	match                                         []string
	datasource, config, output                    string
}

// explainCommand returns the subcommand explain.
func explainCommand(streams streams) *cobra.Command {
	flags := &explainFlags{}
	command := &cobra.Command{
		Use:   "explain --query PROMQL [--start TIME --end TIME [--step DURATION] | --time TIME]",
		Short: "Show which tier a query goes to and why, without running it",
		Long: "Shows the decision of the gateway, the time range that the query reads, the state of the tiers, and the result of each\n" +
			"routing rule. With --gateway, a running gateway decides. Without it, this command queries the tiers of the configuration.\n\n" +
			"TIME is RFC 3339, seconds since the Unix epoch, or a duration before now such as 1h.",
		Example: "  tierproxy explain --query 'rate(up[5m])' --start 1h --end 0s --gateway http://tierproxy:9190 --datasource metrics\n" +
			"  tierproxy explain --query up --config tierproxy.yaml --output json",
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error { return flags.run(command.Context(), streams) },
	}
	flags.define(command, "gateway", "`URL` of a running gateway. Empty: the tiers of the configuration.")
	define := command.Flags()
	define.StringVar(&flags.query, "query", "", "`PromQL` of the query.")
	define.StringVar(&flags.at, "time", "", "`Time` of an instant query. Empty: now.")
	define.StringVar(&flags.start, "start", "", "Start `time` of a range query.")
	define.StringVar(&flags.end, "end", "", "End `time` of a range query.")
	define.StringVar(&flags.step, "step", "", "Step of a range query: a `duration` or seconds. Empty: 1/250 of the range.")
	define.StringVar(&flags.endpoint, "endpoint", "", "Endpoint of the query: query, query_range, series, labels, label_values or query_exemplars. Empty: the one that fits the other flags.")
	define.StringArrayVar(&flags.match, "match", nil, "`Selector` of a metadata endpoint (match[]). May be repeated.")
	define.StringVar(&flags.choice, "tier", "auto", "Tier that the caller requests: hot, cold or auto.")
	define.StringVar(&flags.datasource, "datasource", "", "`Name` of a saved global datasource, or PROJECT/NAME. Empty: the default datasource.")
	defineConfig(command, &flags.config)
	defineOutput(command, &flags.output)
	complete(command, "tier", "auto", "hot", "cold")
	complete(command, "endpoint", "query", "query_range", "series", "labels", "label_values", "query_exemplars")
	return command
}

func (f *explainFlags) run(ctx context.Context, streams streams) error {
	parameters, err := f.parameters(time.Now())
	if err != nil {
		return err
	}
	if err := checkOutput(f.output); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	transport, base, end, err := f.connect(ctx, streams.err)
	if err != nil {
		return err
	}
	defer end()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+f.datasourcePath()+"/api/v1/datasources/explain", strings.NewReader(parameters.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Tier-Choice", f.choice)
	data, err := f.send(transport, request)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(streams.out, data)
	}
	var decision gateway.Explanation
	if err := json.Unmarshal(data, &decision); err != nil {
		return fmt.Errorf("read the decision: %w", err)
	}
	return writeExplanation(streams.out, &decision)
}

// parameters returns the parameters of the explain endpoint. It returns all mistakes in the
// flags, joined.
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
	if len(f.match) > 0 {
		parameters["match[]"] = f.match
	}
	if len(mistakes) > 0 {
		return nil, &statusError{statusUsage, errors.Join(mistakes...)}
	}
	return parameters, nil
}

// parseMoment parses a time of the command line. It returns the zero time for none.
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
	return time.Time{}, fmt.Errorf("%q is not a time: write RFC 3339, seconds since the Unix epoch, or a duration before now such as 1h", text)
}

// connect returns the transport to a gateway, and its base URL: a running gateway, or one in
// this process. The caller calls end afterwards.
func (f *explainFlags) connect(ctx context.Context, log io.Writer) (transport http.RoundTripper, base string, end func(), err error) {
	if f.address != "" {
		if base, err = f.base("gateway", "http://tierproxy:9190"); err != nil {
			return nil, "", nil, err
		}
		transport, err = f.transport()
		return transport, base, func() {}, err
	}
	manager, err := startManager(ctx, f.config, func(settings *config.Config) {
		if f.datasource == "" {
			// The operator needs no permission of Perses for the default datasource. The
			// namespaces still apply, because the decision is about the confined query.
			settings.Perses = config.Default().Perses
			settings.DefaultDatasource = config.DefaultDatasourceConfig{Namespaces: settings.DefaultDatasource.Namespaces}
		}
	}, log)
	if err != nil {
		return nil, "", nil, err
	}
	return localTransport{gateway.New(manager)}, "http://tierproxy", func() { _ = manager.Close() }, nil
}

// datasourcePath returns the path of the datasource, without a trailing slash.
func (f *explainFlags) datasourcePath() string {
	if project, name, inProject := strings.Cut(f.datasource, "/"); inProject {
		return "/proxy/projects/" + url.PathEscape(project) + "/datasources/" + url.PathEscape(name)
	} else if f.datasource != "" {
		return "/proxy/globaldatasources/" + url.PathEscape(f.datasource)
	}
	return ""
}

// localTransport answers requests with a gateway in this process, which has no listener.
type localTransport struct{ gateway *gateway.Gateway }

// RoundTrip implements http.RoundTripper.
func (t localTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	t.gateway.ServeHTTP(answer, request)
	if err := request.Context().Err(); err != nil {
		return nil, fmt.Errorf("the gateway did not answer in time: %w", err)
	}
	return &http.Response{StatusCode: answer.status, Header: answer.header, Body: io.NopCloser(&answer.Buffer), Request: request}, nil
}

// recorder is an http.ResponseWriter that keeps the answer in memory.
type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }
