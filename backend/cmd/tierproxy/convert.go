package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/dashboard"
)

// convertDashboard is the subcommand convert-dashboard. Its exit status is 2
// where the command line is wrong, and 1 where the document is.
func convertDashboard(arguments []string, streams streams) int {
	flags := flag.NewFlagSet("tierproxy convert-dashboard", flag.ContinueOnError)
	flags.SetOutput(streams.err)
	to := flags.String("to", "", "What to turn the dashboard into: tiered or prometheus.")
	name := flags.String("datasource", "", "Name of the datasource that all queries and variables are to ask. Without it names stay as they are.")
	flags.Usage = func() {
		_, _ = fmt.Fprint(streams.err, "tierproxy convert-dashboard --to tiered|prometheus [--datasource NAME] [FILE]\n\n"+
			"Reads a dashboard in JSON or YAML from FILE or the standard input and prints it with the other kinds of queries\n"+
			"and variables. What has to be done by hand is said on the standard error.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	fail := func(status int, format string, arguments ...any) int {
		_, _ = fmt.Fprintf(streams.err, "tierproxy convert-dashboard: "+format+"\n", arguments...)
		return status
	}
	switch {
	case *to == "":
		return fail(2, "set --to tiered or --to prometheus")
	case flags.NArg() > 1:
		return fail(2, "%q is one file too many: convert one at a time, and write flags before it", flags.Arg(1))
	}
	source, err := readDocument(flags.Arg(0), streams.in)
	if err != nil {
		return fail(1, "%s", err)
	}
	result, err := dashboard.Convert(source, dashboard.Options{To: dashboard.Target(*to), Datasource: *name})
	if err != nil {
		return fail(1, "%s", err)
	}
	for _, note := range result.Notes {
		_, _ = fmt.Fprintln(streams.err, note)
	}
	if result.Converted == 0 {
		_, _ = fmt.Fprintf(streams.err, "nothing is there to turn to %s: the document is printed as it is\n", *to)
	}
	if _, err := streams.out.Write(result.Document); err != nil {
		return fail(1, "print the document: %s", err)
	}
	return 0
}

// readDocument reads a file; the standard input where no file is named.
func readDocument(file string, in io.Reader) ([]byte, error) {
	if file == "" || file == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(file) //nolint:gosec // The file that was asked for.
}
