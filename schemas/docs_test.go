package schemas_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const userDocumentation = "../docs/datasource.md"

// TestDocumentation_ExplainsEveryFieldAndMessage reminds whoever adds a field or
// rewords a message of the page that explains it.
func TestDocumentation_ExplainsEveryFieldAndMessage(t *testing.T) {
	content, err := os.ReadFile(userDocumentation)
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, m := range models {
		for _, at := range fields(t, m) {
			name := at[len(at)-1]
			if _, err := strconv.Atoi(name); err == nil {
				continue // an entry of a list
			}
			if !strings.Contains(page, "\n| `"+name+"` ") {
				t.Errorf("%s has no table row for %s", userDocumentation, at)
			}
		}
		for name := range m.examples(t, "invalid") {
			message := expectedMessage(t, m, name)
			_, text, found := strings.Cut(message, ": ")
			if !found {
				t.Errorf("%s: the message %q has no path", name, message)
			}
			text, _, _ = strings.Cut(text, " values ") // CUE's own words quote the values in between
			if !strings.Contains(page, "\n| `"+text) {
				t.Errorf("%s has no table row for the message of %s: %s", userDocumentation, name, text)
			}
		}
	}
}

// fields lists the places below spec that valid examples use, without names of query parameters and what Perses alone
// checks in a proxy.
func fields(t *testing.T, m model) []place {
	t.Helper()
	var all []place
	for name, document := range m.examples(t, "valid") {
		var value any
		if err := json.Unmarshal(document, &value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		objects, leaves := places(value, nil)
		for _, at := range append(objects, leaves...) {
			if len(at) > 1 && !at.ofPerses() && !strings.HasPrefix(at.String(), "spec.queryParams.") {
				all = append(all, at)
			}
		}
	}
	return all
}

// expectedMessage reads what the author of an invalid example must be told.
func expectedMessage(t *testing.T, m model, example string) string {
	t.Helper()
	file := filepath.Join(m.dir, "tests", "invalid", strings.TrimSuffix(example, ".json")+".error")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%s has no expected message: %v", example, err)
	}
	return strings.TrimSuffix(string(content), "\n")
}
