// Command tierproxy is the gateway behind the Perses HTTP proxy: it lets
// dashboards read a hot Prometheus and a cold long-term store as if they were
// one. See its --help and docs/configuration.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
)

// streams are the standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(execute(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// Exit statuses beside 0.
const (
	statusFailed = 1 // what was asked for could not be done, or something is wrong
	statusUsage  = 2 // the command line has to be changed
)

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	// err is printed; nil where everything has been said.
	err error
}

// Error returns the message; it is empty where there is nothing left to say.
func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns the error behind the status.
func (e *statusError) Unwrap() error { return e.err }

// usageErrorf is an error of the command line.
func usageErrorf(format string, arguments ...any) error {
	return &statusError{statusUsage, fmt.Errorf(format, arguments...)}
}

// execute runs the command that the arguments name and returns the exit status.
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
	var known *statusError
	if errors.As(err, &known) {
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
	root.Flags().SortFlags = true
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(checkConfigCommand(streams), checkCommand(streams), explainCommand(streams), clearCacheCommand(streams), convertDashboardCommand(streams))
	return root
}
