package datasource

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// fill gives a value everything that it can hold: something in each pointer, list
// and map.
func fill(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem())
	case reflect.Struct:
		for field, held := range value.Fields() {
			if field.IsExported() {
				fill(held)
			}
		}
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fill(value.Index(0))
	case reflect.Map:
		element := reflect.New(value.Type().Elem()).Elem()
		fill(element)
		value.Set(reflect.MakeMap(value.Type()))
		value.SetMapIndex(reflect.ValueOf("name").Convert(value.Type().Key()), element)
	case reflect.Interface:
		value.Set(reflect.ValueOf("any"))
	default:
	}
}

// eachLeaf calls visit for each value that holds no others, with what puts a
// changed one back into what holds it.
func eachLeaf(path string, value reflect.Value, store func(), visit func(path string, leaf reflect.Value, store func())) {
	switch value.Kind() {
	case reflect.Pointer:
		eachLeaf(path, value.Elem(), store, visit)
	case reflect.Struct:
		for field, held := range value.Fields() {
			eachLeaf(path+"."+field.Name, held, store, visit)
		}
	case reflect.Slice:
		eachLeaf(path+"[]", value.Index(0), store, visit)
	case reflect.Map:
		key := value.MapKeys()[0]
		element := reflect.New(value.Type().Elem()).Elem()
		element.Set(value.MapIndex(key))
		eachLeaf(path+"{}", element, func() {
			value.SetMapIndex(key, element)
			store()
		}, visit)
	default:
		visit(path, value, store)
	}
}

// change gives a leaf another value. It returns false for one that no
// configuration file can set.
func change(leaf reflect.Value) bool {
	switch {
	case !leaf.CanSet() || leaf.Kind() == reflect.Func:
		return false
	case leaf.Kind() == reflect.Interface:
		leaf.Set(reflect.ValueOf("another"))
	case leaf.Kind() == reflect.String:
		leaf.SetString(leaf.String() + "x")
	case leaf.Kind() == reflect.Bool:
		leaf.SetBool(!leaf.Bool())
	case leaf.CanInt():
		leaf.SetInt(leaf.Int() + 1)
	case leaf.CanUint():
		leaf.SetUint(leaf.Uint() + 1)
	default:
		return false
	}
	return true
}

func TestFingerprint_ChangesWithEveryKey(t *testing.T) {
	config := DefaultConfig()
	fill(reflect.ValueOf(&config).Elem())
	before := config.fingerprint()
	require.Equal(t, before, config.fingerprint())
	// A proxy may be named with a user, whose fields are those of the library alone.
	leftOut := map[string]bool{".User.username": true, ".User.password": true, ".User.passwordSet": true, ".proxyFunc": true}
	count := 0
	eachLeaf("", reflect.ValueOf(&config).Elem(), func() {}, func(path string, leaf reflect.Value, store func()) {
		kept := reflect.New(leaf.Type()).Elem()
		if leaf.CanSet() {
			kept.Set(leaf)
		}
		if !change(leaf) {
			isLeftOut := slices.ContainsFunc(slices.Collect(maps.Keys(leftOut)), func(end string) bool {
				return len(path) > len(end) && path[len(path)-len(end):] == end
			})
			require.True(t, isLeftOut, "%s cannot be changed", path)
			return
		}
		count++
		store()
		require.NotEqual(t, before, config.fingerprint(), path)
		leaf.Set(kept)
		store()
		require.Equal(t, before, config.fingerprint(), path)
	})
	require.Greater(t, count, 200)
	config.Hot.HTTPConfig.ProxyURL.User = url.UserPassword("one", "secret")
	one := config.fingerprint()
	config.Hot.HTTPConfig.ProxyURL.User = url.UserPassword("one", "another secret")
	require.NotEqual(t, one, config.fingerprint())
	require.NotContains(t, one, "secret")
}

// What is kept for one datasource and its tiers is not found for another.
func TestScope_EveryFieldOfADestination(t *testing.T) {
	changes := map[string]func(*destination){
		"name":           func(at *destination) { at.name = tier.Cold },
		"url":            func(at *destination) { at.url = "http://b" },
		"retention":      func(at *destination) { at.retention = time.Hour },
		"lag":            func(at *destination) { at.lag = time.Hour },
		"scrapeInterval": func(at *destination) { at.scrapeInterval = time.Hour },
		"tenancy":        func(at *destination) { at.tenancy.Parameter = "namespace" },
		"headers":        func(at *destination) { at.headers = "X-Scope-Orgid: a" },
		"service":        func(at *destination) { at.service = "monitoring/prometheus" },
		"address":        func(at *destination) { at.address = "10.0.0.1:9090" },
		"replica":        func(at *destination) { at.replica = "prometheus-0" },
	}
	leftOut := map[string]string{
		"access":  "it follows from the configuration and the URL",
		"guard":   "it follows from the configuration and the URL, and changes no answer",
		"tenant":  "it is the configuration's; which tenant is asked for stands in headers",
		"missing": "a tier that is not known answers nothing",
	}
	m := &Manager{fingerprint: "configuration"}
	before := m.scopeOf("a datasource", "generation", place{})
	for field := range reflect.TypeFor[destination]().Fields() {
		at := place{}
		if reason, is := leftOut[field.Name]; is {
			require.NotEmpty(t, reason)
			continue
		}
		require.Contains(t, changes, field.Name, "a new field belongs into the scope, or among those that are left out")
		changes[field.Name](&at.destination)
		require.NotEqual(t, before, m.scopeOf("a datasource", "generation", at), field.Name)
	}
	require.NotEqual(t, before, m.scopeOf("another", "generation", place{}))
	require.NotEqual(t, before, m.scopeOf("a datasource", "another", place{}))
	require.NotEqual(t, before, (&Manager{fingerprint: "another"}).scopeOf("a datasource", "generation", place{}))
}
