// Command tierproxy is the gateway behind the HTTP proxy of Perses. Dashboards read a hot
// Prometheus and a cold long-term store through it as if they were one. See its --help and
// docs/configuration.md.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
)

// streams are the standard streams of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(execute(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// The exit statuses other than 0.
const (
	statusFailed = 1 // something is wrong
	statusUsage  = 2 // the command line is wrong
)

// statusError is an error with an exit status.
type statusError struct {
	status int
	// err is the error to print, or nil.
	err error
}

// Error returns the message, or an empty string if there is nothing to print.
func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns the error to print.
func (e *statusError) Unwrap() error { return e.err }

// usageErrorf returns an error for a wrong command line.
func usageErrorf(format string, arguments ...any) error {
	return &statusError{statusUsage, fmt.Errorf(format, arguments...)}
}

// execute runs the command that the arguments name, and returns the exit status.
func execute(arguments []string, streams streams) int {
	root := newCommand(streams)
	root.SetArgs(arguments)
	ran, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	if message := err.Error(); message != "" {
		_, _ = fmt.Fprintf(streams.err, "%s: %s\n", ran.CommandPath(), message)
	}
	if known, is := errors.AsType[*statusError](err); is {
		return known.status
	}
	return statusFailed
}

// newCommand returns the command tierproxy, which serves, with its subcommands.
func newCommand(streams streams) *cobra.Command {
	options := defineFlags()
	root := &cobra.Command{
		Use:   "tierproxy",
		Short: "Serve queries to tiered Prometheus datasources",
		Long: "tierproxy is the gateway behind the HTTP proxy of Perses. For every query it picks the tier, hot or cold,\n" +
			"that can answer it correctly and fastest. Without a subcommand it serves.",
		Example: "  tierproxy --config tierproxy.yaml\n" +
			"  THANOS_QUERIER_URL=https://thanos:9091 PROMETHEUS_URL=https://prometheus:9090 tierproxy",
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				return usageErrorf("unexpected argument %q: there is no such subcommand, and the server takes flags only, see --help", arguments[0])
			}
			return nil
		},
		Version:       version.Print("tierproxy"),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(*cobra.Command, []string) error { return serve(options) },
	}
	root.SetIn(streams.in)
	root.SetOut(streams.out)
	root.SetErr(streams.err)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return usageErrorf("%w, see %s --help", err, command.CommandPath())
	})
	root.Flags().AddGoFlagSet(flag.CommandLine)
	root.AddCommand(checkConfigCommand(streams), checkCommand(streams), explainCommand(streams), clearCacheCommand(streams), convertDashboardCommand(streams))
	return root
}

// noArguments returns an error for arguments other than flags.
func noArguments(_ *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return usageErrorf("unexpected argument %q", arguments[0])
	}
	return nil
}

// complete sets the values that the shell completes for a flag.
func complete(command *cobra.Command, name string, values ...string) {
	_ = command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // The flag exists.
}

func defineConfig(command *cobra.Command, file *string) {
	command.Flags().StringVar(file, "config", "", "Path of the YAML configuration `file`. Empty: the environment and the defaults.")
}

func defineOutput(command *cobra.Command, output *string) {
	command.Flags().StringVar(output, "output", "text", "Output format: text or json.")
	complete(command, "output", "text", "json")
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return usageErrorf("--output: %q is neither text nor json", output)
	}
	return nil
}

// writeJSON prints a value as indented JSON.
func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
