package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// subcommand is something that tierproxy does instead of serving.
type subcommand struct {
	// name is the first argument, which must be the name to run it.
	name string
	// summary says in one line what it does.
	summary string
	// run does it with the arguments after the name and returns the exit status.
	run func(arguments []string, streams streams) int
}

// streams are the standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// subcommands are all of them.
var subcommands = []subcommand{
	{"convert-dashboard", "Turn a dashboard of Prometheus queries into a tiered one, or back.", convertDashboard},
}

// runSubcommand runs the subcommand that the arguments name, and tells whether
// they name one.
func runSubcommand(arguments []string) (status int, found bool) {
	for _, each := range subcommands {
		if len(arguments) > 0 && arguments[0] == each.name {
			return each.run(arguments[1:], streams{os.Stdin, os.Stdout, os.Stderr}), true
		}
	}
	return 0, false
}

// usage prints the flags of the server and the subcommands.
func usage() {
	out := flag.CommandLine.Output()
	lines := []string{
		"tierproxy [flags]: serve queries to tiered Prometheus datasources.",
		"tierproxy SUBCOMMAND --help: the flags of a subcommand.",
		"", "Subcommands:",
	}
	for _, each := range subcommands {
		lines = append(lines, fmt.Sprintf("  %s\n    \t%s", each.name, each.summary))
	}
	_, _ = fmt.Fprintln(out, strings.Join(append(lines, "", "Flags:"), "\n"))
	flag.PrintDefaults()
}
