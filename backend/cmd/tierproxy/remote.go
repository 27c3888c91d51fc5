package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/spf13/cobra"
)

// remote holds the flags of commands that call a running gateway.
type remote struct {
	address, tokenFile, caFile string
	timeout                    time.Duration
}

// define defines the flags. name is the flag for the URL of the gateway.
func (r *remote) define(command *cobra.Command, name, usage string) {
	flags := command.Flags()
	flags.StringVar(&r.address, name, "", usage)
	flags.StringVar(&r.tokenFile, "token-file", "", "`File` with the bearer token of the caller.")
	flags.StringVar(&r.caFile, "ca-file", "", "`File` with the CA certificates that verify the gateway's certificate.")
	flags.DurationVar(&r.timeout, "timeout", 30*time.Second, "Timeout of the command.")
}

// base returns the URL of the gateway, without a trailing slash.
func (r *remote) base(flag, example string) (string, error) {
	parsed, err := url.Parse(r.address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		if strings.Contains(r.address, "@") { // It may contain a password.
			return "", usageErrorf("--%s: is not a URL such as %s", flag, example)
		}
		return "", usageErrorf("--%s: %q is not a URL such as %s", flag, r.address, example)
	}
	return strings.TrimSuffix(r.address, "/"), nil
}

// transport returns a transport for requests to the gateway.
func (r *remote) transport() (*http.Transport, error) {
	config, err := promconfig.NewTLSConfig(&promconfig.TLSConfig{CAFile: r.caFile})
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}, nil
}

// maxAnswerBytes limits the answer of a gateway.
const maxAnswerBytes = 16 << 20

// send sends a request with the caller's token. It returns the data of the answer.
func (r *remote) send(transport http.RoundTripper, request *http.Request) (json.RawMessage, error) {
	if r.tokenFile != "" {
		token, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := (&http.Client{Transport: transport, Timeout: r.timeout}).Do(request)
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
		return nil, fmt.Errorf("the server at %s is not a tierproxy: it answered with status %d", request.URL.Host, response.StatusCode)
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	return answer.Data, nil
}

// clearCacheCommand returns the subcommand clear-cache.
func clearCacheCommand(streams streams) *cobra.Command {
	flags := &remote{}
	command := &cobra.Command{
		Use:   "clear-cache --admin URL",
		Short: "Clear the cache of a running gateway",
		Long: "Clears the cache of a running gateway through its admin address (--web.admin-address). Use it after data was deleted\n" +
			"from cold, or written to it late. If the cache is in Redis, it clears the cache of all gateways that share it.",
		Example: "  tierproxy clear-cache --admin http://127.0.0.1:9191",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			base, err := flags.base("admin", "http://127.0.0.1:9191")
			if err != nil {
				return err
			}
			transport, err := flags.transport()
			if err != nil {
				return err
			}
			request, err := http.NewRequestWithContext(command.Context(), http.MethodPost, base+"/api/v1/cache/clear", http.NoBody)
			if err != nil {
				return fmt.Errorf("create the request: %w", err)
			}
			if _, err := flags.send(transport, request); err != nil {
				return err
			}
			_, err = fmt.Fprintln(streams.out, "The cache is cleared.")
			return err
		},
	}
	flags.define(command, "admin", "`URL` of the admin address.")
	return command
}
