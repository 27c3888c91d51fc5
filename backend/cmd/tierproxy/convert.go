package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/dashboard"
)

// convertDashboardCommand returns the subcommand convert-dashboard.
func convertDashboardCommand(streams streams) *cobra.Command {
	var to, name, grafana string
	command := &cobra.Command{
		Use:   "convert-dashboard --to tiered|prometheus [--datasource NAME] [--grafana FILE] [FILE]",
		Short: "Convert a dashboard of Prometheus queries into a tiered one, or back",
		Long: "Reads a dashboard in JSON or YAML from FILE or the standard input, converts its queries and variables, and prints it.\n" +
			"The standard error lists what you have to change by hand.\n" +
			"--grafana names the Grafana dashboard from which percli migrate wrote FILE: what percli dropped is restored, or listed.",
		Example: "  tierproxy convert-dashboard --to tiered dashboard.yaml\n" +
			"  percli migrate -f grafana.json --online -o yaml | tierproxy convert-dashboard --to tiered --grafana grafana.json",
		RunE: func(_ *cobra.Command, arguments []string) error {
			switch {
			case to == "":
				return usageErrorf("set --to tiered or --to prometheus")
			case len(arguments) > 1:
				return usageErrorf("%q is one file too many: convert one at a time", arguments[1])
			}
			options := dashboard.Options{To: dashboard.Target(to), Datasource: name}
			if grafana != "" {
				var err error
				if options.Grafana, err = os.ReadFile(grafana); err != nil { //nolint:gosec // The user names the file.
					return err
				}
				if len(options.Grafana) == 0 {
					return fmt.Errorf("%s is empty, and no Grafana dashboard", grafana)
				}
			}
			return convertDashboard(append(arguments, "-")[0], options, streams)
		},
	}
	command.Flags().StringVar(&to, "to", "", "Kind of datasource to convert to: tiered or prometheus.")
	command.Flags().StringVar(&name, "datasource", "", "`Name` of the datasource for all queries and variables. Empty: names stay as they are.")
	command.Flags().StringVar(&grafana, "grafana", "", "The Grafana dashboard in JSON from which percli migrated the dashboard: what percli dropped is restored.")
	complete(command, "to", "tiered", "prometheus")
	return command
}

func convertDashboard(file string, options dashboard.Options, streams streams) error {
	var source []byte
	var err error
	if file == "-" {
		source, err = io.ReadAll(streams.in)
	} else {
		source, err = os.ReadFile(file) //nolint:gosec // The user names the file.
	}
	if err != nil {
		return err
	}
	result, err := dashboard.Convert(source, options)
	if err != nil {
		return err
	}
	for _, note := range result.Notes {
		_, _ = fmt.Fprintln(streams.err, note)
	}
	if result.Converted == 0 {
		_, _ = fmt.Fprintf(streams.err, "the document has nothing to convert to %s: it is printed unchanged\n", options.To)
	}
	if _, err := streams.out.Write(result.Document); err != nil {
		return fmt.Errorf("print the document: %w", err)
	}
	return nil
}
