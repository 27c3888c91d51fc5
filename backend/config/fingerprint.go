package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
)

// Fingerprint returns a hash of every key of the configuration, including secrets. It
// does not reveal them. The contents of the files that the configuration names are not
// part of it.
func (c *Config) Fingerprint() string {
	hash := sha256.New()
	writeValue(hash, reflect.ValueOf(*c))
	return hex.EncodeToString(hash.Sum(nil))
}

// writeValue writes a value and all that it contains, except functions and channels.
func writeValue(to io.Writer, value reflect.Value) {
	_, _ = fmt.Fprintf(to, "%d:", value.Kind()) // A hash takes everything.
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			writeValue(to, value.Elem())
		}
	case reflect.Struct:
		for i := range value.NumField() {
			writeValue(to, value.Field(i))
		}
	case reflect.Slice, reflect.Array:
		_, _ = fmt.Fprintf(to, "%d:", value.Len())
		for i := range value.Len() {
			writeValue(to, value.Index(i))
		}
	case reflect.Map:
		entries := map[string]reflect.Value{}
		for _, key := range value.MapKeys() {
			entries[fmt.Sprintf("%q", key.String())] = value.MapIndex(key)
		}
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			_, _ = io.WriteString(to, key)
			writeValue(to, entries[key])
		}
	case reflect.String:
		_, _ = fmt.Fprintf(to, "%q", value.String())
	case reflect.Bool:
		_, _ = fmt.Fprintf(to, "%t;", value.Bool())
	default:
		// A number is written without its methods, which may round it.
		switch {
		case value.CanInt():
			_, _ = fmt.Fprintf(to, "%d;", value.Int())
		case value.CanUint():
			_, _ = fmt.Fprintf(to, "%d;", value.Uint())
		case value.CanFloat():
			_, _ = fmt.Fprintf(to, "%x;", value.Float())
		}
	}
}
