package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/dashboard"
)

// convertDashboardCommand is the subcommand convert-dashboard.
func convertDashboardCommand(streams streams) *cobra.Command {
	var to, name string
	command := &cobra.Command{
		Use:   "convert-dashboard --to tiered|prometheus [--datasource NAME] [FILE]",
		Short: "Turn a dashboard of Prometheus queries into a tiered one, or back",
		Long: "Reads a dashboard in JSON or YAML from FILE or the standard input and prints it with the other kinds of queries\n" +
			"and variables. What has to be done by hand is said on the standard error.",
		Example: "  tierproxy convert-dashboard --to tiered dashboard.yaml",
		RunE: func(_ *cobra.Command, arguments []string) error {
			switch {
			case to == "":
				return usageErrorf("set --to tiered or --to prometheus")
			case len(arguments) > 1:
				return usageErrorf("%q is one file too many: convert one at a time", arguments[1])
			}
			return convertDashboard(append(arguments, "-")[0], dashboard.Options{To: dashboard.Target(to), Datasource: name}, streams)
		},
	}
	command.Flags().StringVar(&to, "to", "", "What to turn the dashboard into: tiered or prometheus.")
	command.Flags().StringVar(&name, "datasource", "", "`Name` of the datasource that all queries and variables are to ask. Without it names stay as they are.")
	_ = command.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"tiered", "prometheus"}, cobra.ShellCompDirectiveNoFileComp)) // The flag exists.
	return command
}

func convertDashboard(file string, options dashboard.Options, streams streams) error {
	source, err := readDocument(file, streams.in)
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
		_, _ = fmt.Fprintf(streams.err, "nothing is there to turn to %s: the document is printed as it is\n", options.To)
	}
	if _, err := streams.out.Write(result.Document); err != nil {
		return fmt.Errorf("print the document: %w", err)
	}
	return nil
}

// readDocument reads a file; the standard input where it is "-".
func readDocument(file string, in io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(file) //nolint:gosec // The file that was asked for.
}
