package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"cuelang.org/go/cue/format"
	"github.com/rogpeppe/go-internal/diff"
)

// formatPaths compares every .cue file below the paths with its canonical form and prints the differences. With -w it
// rewrites the files instead. It reports whether anything differed.
func formatPaths(args []string, stdout io.Writer) (bool, error) {
	flags := flag.NewFlagSet("format", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	write := flags.Bool("w", false, "rewrite the files")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	files, err := cueFiles(flags.Args())
	if err != nil {
		return false, err
	}
	differs := false
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		formatted, err := format.Source(source)
		if err != nil {
			return false, fmt.Errorf("format %s: %w", file, err)
		}
		if bytes.Equal(source, formatted) {
			continue
		}
		if *write {
			if err := os.WriteFile(file, formatted, 0o644); err != nil {
				return false, err
			}
			continue
		}
		differs = true
		if _, err := stdout.Write(diff.Diff(file, source, file+" (formatted)", formatted)); err != nil {
			return false, err
		}
	}
	return differs, nil
}

// cueFiles lists the .cue files below the paths. A path that holds none is an error, so that a misspelt directory
// cannot pass for a clean one.
func cueFiles(paths []string) ([]string, error) {
	var files []string
	for _, root := range paths {
		before := len(files)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !entry.IsDir() && filepath.Ext(path) == ".cue" {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(files) == before {
			return nil, fmt.Errorf("%s: no .cue file found", root)
		}
	}
	return files, nil
}
