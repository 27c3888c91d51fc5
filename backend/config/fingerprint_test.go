package config

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill gives a value everything that a file can set: something in each pointer, list
// and map.
func fill(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem())
	case reflect.Struct:
		for field, held := range value.Fields() {
			if field.IsExported() && field.Tag.Get("yaml") != "-" {
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
		if value.Len() > 0 {
			eachLeaf(path+"[]", value.Index(0), store, visit)
		}
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
	config := Default()
	fill(reflect.ValueOf(&config).Elem())
	config.Hot.List = make([]HotConfig, 1)
	fill(reflect.ValueOf(&config.Hot.List[0]).Elem())
	before := config.Fingerprint()
	require.Equal(t, before, config.Fingerprint())
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
		require.NotEqual(t, before, config.Fingerprint(), path)
		leaf.Set(kept)
		store()
		require.Equal(t, before, config.Fingerprint(), path)
	})
	require.Greater(t, count, 200)
	config.Hot.HTTPConfig.ProxyURL.User = url.UserPassword("one", "secret")
	one := config.Fingerprint()
	config.Hot.HTTPConfig.ProxyURL.User = url.UserPassword("one", "another secret")
	require.NotEqual(t, one, config.Fingerprint())
	require.NotContains(t, one, "secret")
}
