// Command cuecheck runs the CUE library of one Perses release over the schemas of this module, so that what the
// Perses server accepts, refuses and says can be tested without a server.
//
// It has three modes:
//
//	cuecheck validate           checks documents against schemas, the way the Perses server does
//	cuecheck format PATH...     prints what `cue fmt` would change; exit status 1 if it would change anything
//	cuecheck format -w PATH...  makes these changes
//	cuecheck version            prints the version of the CUE library that was built in
package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

const usage = `usage:
  cuecheck validate < requests.json   check documents against schemas
  cuecheck format [-w] PATH...        compare .cue files with the format of CUE
  cuecheck version                    print the version of the CUE library
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one mode and returns the exit status: 0 done, 1 format differences, 2 the work could not be done.
// Documents that a schema refuses are a result, not a failure: validate exits 0 for them.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	mode := ""
	if len(args) > 0 {
		mode = args[0]
	}
	switch {
	case mode == "validate" && len(args) == 1:
		if err := validate(stdin, stdout); err != nil {
			return fail(stderr, err)
		}
		return 0
	case mode == "format" && len(args) > 1:
		differs, err := formatPaths(args[1:], stdout)
		if err != nil {
			return fail(stderr, err)
		}
		if differs {
			return 1
		}
		return 0
	case mode == "version" && len(args) == 1:
		version, err := libraryVersion()
		if err != nil {
			return fail(stderr, err)
		}
		if _, err := fmt.Fprintln(stdout, version); err != nil {
			return fail(stderr, err)
		}
		return 0
	}
	_, _ = io.WriteString(stderr, usage)
	return 2
}

func fail(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintf(stderr, "cuecheck: %v\n", err)
	return 2
}

// libraryVersion returns the version of cuelang.org/go that was linked in, such as "v0.16.1".
func libraryVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", fmt.Errorf("the program was built without module information")
	}
	for _, module := range info.Deps {
		if module.Path == "cuelang.org/go" {
			return module.Version, nil
		}
	}
	return "", fmt.Errorf("cuelang.org/go is not among the dependencies of the program")
}
