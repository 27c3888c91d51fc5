package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// checkConfigCommand is the subcommand check-config.
func checkConfigCommand(streams streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration file and list all of its mistakes",
		Long: "Reads FILE as the server would, with the environment of this command over it, and lists all mistakes at once.\n" +
			"Nothing is asked over the network: see tierproxy check for that.",
		Example: "  tierproxy check-config tierproxy.yaml",
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) != 1 {
				return usageErrorf("name one configuration file")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, arguments []string) error {
			if _, err := config.Load(arguments[0]); err != nil {
				return fmt.Errorf("%s has mistakes:\n%w", arguments[0], err)
			}
			_, err := fmt.Fprintf(streams.out, "%s is valid\n", arguments[0])
			return err
		},
	}
}
