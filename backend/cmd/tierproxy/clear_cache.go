package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// clearCacheFlags are the flags of clear-cache.
type clearCacheFlags struct {
	admin, tokenFile, caFile string
	timeout                  time.Duration
}

// clearCacheCommand is the subcommand clear-cache.
func clearCacheCommand(streams streams) *cobra.Command {
	flags := &clearCacheFlags{}
	command := &cobra.Command{
		Use:   "clear-cache --admin URL",
		Short: "Make a running gateway forget the answers that it keeps",
		Long: "Asks the admin address of a running gateway (--web.admin-address) to forget all answers that it keeps: after data was\n" +
			"written into cold late, or was deleted. Where the answers are kept in a Redis, all gateways that share it forget them.",
		Example: "  tierproxy clear-cache --admin http://127.0.0.1:9191",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			base, err := url.Parse(flags.admin)
			if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
				return usageErrorf("--admin is %q: name the admin address of a gateway, such as http://127.0.0.1:9191", flags.admin)
			}
			transport, err := transportTo(flags.caFile)
			if err != nil {
				return err
			}
			defer transport.CloseIdleConnections()
			request, err := http.NewRequestWithContext(command.Context(), http.MethodPost, strings.TrimSuffix(flags.admin, "/")+"/api/v1/cache/clear", http.NoBody)
			if err != nil {
				return fmt.Errorf("make the request: %w", err)
			}
			if err := authorize(request, flags.tokenFile); err != nil {
				return err
			}
			if _, err := ask(&http.Client{Transport: transport, Timeout: flags.timeout}, request); err != nil {
				return err
			}
			_, err = fmt.Fprintln(streams.out, "The cache is cleared.")
			return err
		},
	}
	define := command.Flags()
	define.StringVar(&flags.admin, "admin", "", "`URL` of the admin address.")
	define.StringVar(&flags.tokenFile, "token-file", "", "`File` with the bearer token of the admin address, if it wants one.")
	define.StringVar(&flags.caFile, "ca-file", "", "`File` with the authority of the gateway's certificate.")
	define.DurationVar(&flags.timeout, "timeout", 30*time.Second, "How long to wait.")
	return command
}
