package upstream

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Another file makes another transport.
func TestMaterial_EveryPartIsInItsHash(t *testing.T) {
	changes := map[string]func(*tlsMaterial){
		"authorities": func(m *tlsMaterial) { m.authorities = []byte("x") },
		"onlyThese":   func(m *tlsMaterial) { m.onlyThese = true },
		"certificate": func(m *tlsMaterial) { m.certificate = []byte("x") },
		"key":         func(m *tlsMaterial) { m.key = []byte("x") },
	}
	seen := map[[32]byte]string{tlsMaterial{}.hash(): "none"}
	for field := range reflect.TypeFor[tlsMaterial]().Fields() {
		require.Contains(t, changes, field.Name)
		var changed tlsMaterial
		changes[field.Name](&changed)
		require.NotContains(t, seen, changed.hash(), field.Name)
		seen[changed.hash()] = field.Name
	}
}
