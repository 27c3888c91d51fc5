package datasource

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
)

// CacheConfig keeps answers of cold that can no longer change. docs/caching.md
// says what that is.
type CacheConfig struct {
	// Enabled keeps answers. A datasource may say otherwise for itself.
	Enabled bool `yaml:"enabled"`
	// MaxBytes is how much memory the kept answers take at most.
	MaxBytes int `yaml:"max_bytes"`
}

// fingerprint changes with everything in the configuration, secrets included,
// and shows nothing of it.
func (c *Config) fingerprint() string {
	hash := sha256.New()
	writeValue(hash, reflect.ValueOf(*c))
	return hex.EncodeToString(hash.Sum(nil))
}

// writeValue writes everything that a value holds.
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
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		_, _ = fmt.Fprint(to, value)
	default:
		_, _ = fmt.Fprintf(to, "%v", value.Type())
	}
}
