package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

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
