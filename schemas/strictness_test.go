package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A valid example is changed in one place at a time, at every place it has. What must come of it is known without
// an expected message for each: refused, with the path of that place.

// unknown is a field that no model knows.
const unknown = "notAField"

// place is a spot in a document: the keys that lead to it.
type place []string

func (p place) String() string { return strings.Join(p, ".") }

// ofPerses reports whether a place is inside the part of a proxy that Perses alone checks.
func (p place) ofPerses() bool {
	return len(p) > 3 && strings.HasPrefix(p.String(), "spec.proxy.spec.") && p[3] != "url"
}

// places lists the spots of a document that hold an object and those that hold anything else. The document itself is
// not among them: Perses reads its kind and spec and nothing else. Of a list of objects, it looks into the first two.
func places(value any, at place) (objects, leaves []place) {
	object, ok := value.(map[string]any)
	if list, isList := value.([]any); isList {
		for i, entry := range list[:min(len(list), 2)] {
			if _, isObject := entry.(map[string]any); isObject {
				o, l := places(entry, append(slices.Clone(at), strconv.Itoa(i)))
				objects, leaves = append(objects, o...), append(leaves, l...)
			}
		}
	}
	if !ok {
		return objects, append(leaves, at)
	}
	if len(at) > 0 {
		objects = append(objects, at)
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		o, l := places(object[key], append(slices.Clone(at), key))
		objects, leaves = append(objects, o...), append(leaves, l...)
	}
	return objects, leaves
}

// with returns a copy of the document with another value at one place.
func with(t *testing.T, document json.RawMessage, at place, value any) json.RawMessage {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(document, &root); err != nil {
		t.Fatal(err)
	}
	changed, err := json.Marshal(replace(root, at, value))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// replace writes a value to one place below another value, and returns the latter.
func replace(parent any, at place, value any) any {
	if len(at) == 0 {
		return value
	}
	switch parent := parent.(type) {
	case map[string]any:
		parent[at[0]] = replace(parent[at[0]], at[1:], value)
	case []any:
		index, _ := strconv.Atoi(at[0]) // from places
		parent[index] = replace(parent[index], at[1:], value)
	}
	return parent
}

// change is a valid example with something else at one place.
type change struct {
	at       place
	value    any
	document json.RawMessage
}

// changes makes one change at every place of every valid example: at the objects if objects is true, else at what
// holds no object. edit returns the place to write to and the value to write, or no place to leave it alone. Of examples
// that differ in values only, one is changed.
func changes(t *testing.T, m model, objects bool, edit func(at place) (place, any)) map[string]change {
	t.Helper()
	all := map[string]change{}
	seen := map[string]bool{}
	examples := m.examples(t, "valid")
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		document := examples[name]
		var value any
		if err := json.Unmarshal(document, &value); err != nil {
			t.Fatal(err)
		}
		structs, leaves := places(value, nil)
		shape := fmt.Sprint(structs, leaves)
		if seen[shape] {
			continue
		}
		seen[shape] = true
		if objects {
			leaves = structs
		}
		for _, at := range leaves {
			target, replacement := edit(at)
			if target == nil {
				continue
			}
			id := fmt.Sprintf("%s with %v at %s", name, replacement, target)
			all[id] = change{at: target, value: replacement, document: with(t, document, target, replacement)}
		}
	}
	if len(all) == 0 {
		t.Fatal("no example had a place to change")
	}
	return all
}

func documents(all map[string]change) map[string]json.RawMessage {
	documents := make(map[string]json.RawMessage, len(all))
	for id, c := range all {
		documents[id] = c.document
	}
	return documents
}

func TestModels_RefuseUnknownFields(t *testing.T) {
	forEachModel(t, func(t *testing.T, r release, m model) {
		all := changes(t, m, true, func(at place) (place, any) {
			target := append(slices.Clone(at), unknown)
			if at.String() == "spec.queryParams" || target.ofPerses() {
				return nil, nil // any name is right there
			}
			return target, 1
		})
		for id, a := range r.check(t, m.requests(documents(all))) {
			want := all[id].at.String() + ": field not allowed"
			if parent, ok := strings.CutSuffix(all[id].at.String(), ".datasource."+unknown); ok {
				want = parent + ".datasource: must be " // a selector has one message for all that can be wrong
			}
			if got := strings.ReplaceAll(strings.Join(a.messages(), "\n"), "spec._hot", "spec.hot"); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
				t.Errorf("%s: got %q, want one message that starts with %q", id, got, want)
			}
		}
	})
}

func TestModels_AllowNewFieldsOfThePersesProxy(t *testing.T) {
	m := models[0]
	forEachRelease(t, func(t *testing.T, r release) {
		all := changes(t, m, true, func(at place) (place, any) {
			if at.String() != "spec.proxy.spec" {
				return nil, nil
			}
			return append(slices.Clone(at), unknown), map[string]any{"any": []any{1, "x"}}
		})
		for id, a := range r.check(t, m.requests(documents(all))) {
			if len(a.Errors) > 0 {
				t.Errorf("%s was refused:\n%s", id, a.Details)
			}
		}
	})
}

// TestModels_RefuseValuesOfOtherTypes puts a JSON value of another type in each
// place. The message names the place.
func TestModels_RefuseValuesOfOtherTypes(t *testing.T) {
	forEachModel(t, func(t *testing.T, r release, m model) {
		all := map[string]change{}
		for _, value := range []any{nil, true, -7, "no such value", []any{"x"}, map[string]any{unknown: 1}} {
			for _, objects := range []bool{true, false} {
				maps.Copy(all, changes(t, m, objects, func(at place) (place, any) {
					if fits(at, value) {
						return nil, nil
					}
					return at, value
				}))
			}
		}
		for id, a := range r.check(t, m.requests(documents(all))) {
			c := all[id]
			if len(a.Errors) == 0 {
				t.Errorf("%s passed", id)
				continue
			}
			if !slices.ContainsFunc(a.messages(), func(message string) bool { return names(message, c.at) }) {
				t.Errorf("%s: no message names the place:\n%s", id, a.Details)
			}
			if likely(c.at, c.value) {
				assertShort(t, id, a)
			}
		}
	})
}

// texts are the places where any text is right.
var texts = []string{"spec.query", "spec.expr", "spec.labelName", "spec.seriesNameFormat", "spec.datasource.name", "spec.title", "spec.legend", "spec.metric"}

// booleans are the places where true and false are right.
var booleans = []string{"spec.splitAcrossReplicas", "spec.cache", "spec.instant", "spec.splitAtGaps"}

// fits reports whether a value is right for a place after all, or the place is none of our business.
func fits(at place, value any) bool {
	if at.ofPerses() {
		return true
	}
	path := at.String()
	switch value.(type) {
	case string:
		return slices.Contains(texts, path) || strings.HasPrefix(path, "spec.queryParams.")
	case bool:
		return slices.Contains(booleans, path)
	case []any:
		return path == "spec.matchers" || path == "spec.tags" || path == "spec.alerts"
	case int:
		return path == "spec.resolution"
	}
	return false
}

// likely reports whether somebody may write this by mistake, so that it deserves a short message. CUE prints the whole
// definition for a spec that is no struct, and all alternatives for a list or a struct inside a selector.
func likely(at place, value any) bool {
	if at.String() == "spec" {
		return false
	}
	switch value.(type) {
	case []any, map[string]any:
		return !strings.HasPrefix(at.String(), "spec.datasource.")
	}
	return true
}

// names reports whether a message is about a place: about it, what is below it, or the struct that it belongs to.
func names(message string, at place) bool {
	path, _, _ := strings.Cut(message, ": ")
	path = strings.Replace(path, "spec._hot", "spec.hot", 1) // the copy that is checked
	return path == at.String() || strings.HasPrefix(path, at.String()+".") || path == at[:len(at)-1].String()
}
