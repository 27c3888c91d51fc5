package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/load"
)

// request asks for one document to be checked against one schema.
type request struct {
	// Name identifies the answer; it must be unique within one run.
	Name string `json:"name"`
	// Schema is the directory of the CUE package.
	Schema string `json:"schema"`
	// Package is the name of the CUE package. Empty means "model", the only one the Perses server reads.
	Package string `json:"package,omitempty"`
	// Definition is the path of a value inside the package, such as "#Proxy". Empty means the whole package, which
	// is what the Perses server takes.
	Definition string `json:"definition,omitempty"`
	// Document is the JSON to check.
	Document json.RawMessage `json:"document"`
}

// answer is what the schema says of one document. Both fields are empty for a valid one.
type answer struct {
	// Errors holds one "path: message" for each mistake, without file positions.
	Errors []string `json:"errors"`
	// Details is the text that percli and the editor show, file positions included.
	Details string `json:"details"`
}

// validate reads a JSON list of requests and writes a JSON object of answers, keyed by request name. An error means
// that a request could not be carried out: bad input, or a schema that does not load.
func validate(stdin io.Reader, stdout io.Writer) error {
	var requests []request
	decoder := json.NewDecoder(stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&requests); err != nil {
		return fmt.Errorf("read the requests: %w", err)
	}
	schemas := map[[2]string]*build.Instance{}
	answers := make(map[string]answer, len(requests))
	for _, r := range requests {
		if _, taken := answers[r.Name]; taken {
			return fmt.Errorf("two requests are named %q: give each its own name", r.Name)
		}
		if r.Package == "" {
			r.Package = "model"
		}
		key := [2]string{r.Schema, r.Package}
		if schemas[key] == nil {
			schema, err := loadSchema(r.Schema, r.Package)
			if err != nil {
				return err
			}
			schemas[key] = schema
		}
		a, err := check(schemas[key], r)
		if err != nil {
			return fmt.Errorf("check %s: %w", r.Name, err)
		}
		answers[r.Name] = a
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answers)
}

// loadSchema reads one CUE package from a directory, with the loader settings of the Perses server.
func loadSchema(dir, pkg string) (*build.Instance, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("load schema: %w", err)
	}
	instances := load.Instances(nil, &load.Config{Dir: dir, Package: pkg})
	if len(instances) != 1 {
		return nil, fmt.Errorf("load schema %s: found %d CUE packages, want 1", dir, len(instances))
	}
	if err := instances[0].Err; err != nil {
		return nil, fmt.Errorf("load schema %s: %s", dir, errors.Details(err, nil))
	}
	return instances[0], nil
}

// check unifies document and schema in a fresh context and validates the result. Order and options are those of the
// Perses server: concrete values wanted everywhere, definitions, hidden fields and attributes looked at too.
func check(schema *build.Instance, r request) (answer, error) {
	ctx := cuecontext.New()
	value := ctx.BuildInstance(schema)
	if err := value.Err(); err != nil {
		return answer{}, fmt.Errorf("build schema %s: %s", r.Schema, errors.Details(err, nil))
	}
	if r.Definition != "" {
		value = value.LookupPath(cue.ParsePath(r.Definition))
		if err := value.Err(); err != nil {
			return answer{}, fmt.Errorf("look up %s in %s: %w", r.Definition, r.Schema, err)
		}
	}
	document := ctx.CompileBytes(r.Document)
	if err := document.Err(); err != nil {
		return answer{}, fmt.Errorf("read the document: %w", err)
	}
	err := document.Unify(value).Validate(cue.Concrete(true), cue.Attributes(true), cue.Definitions(true), cue.Hidden(true))
	a := answer{Errors: []string{}}
	if err == nil {
		return a, nil
	}
	for _, e := range errors.Errors(err) {
		a.Errors = append(a.Errors, e.Error())
	}
	// The Perses server makes positions relative to its own executable, hence the same choice here.
	executable, err2 := os.Executable()
	if err2 != nil {
		return answer{}, fmt.Errorf("find the path of this program: %w", err2)
	}
	a.Details = errors.Details(err, &errors.Config{Cwd: filepath.Dir(executable)})
	return a, nil
}
