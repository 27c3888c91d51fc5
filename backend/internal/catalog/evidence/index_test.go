package evidence

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartOf_NamesAndBytesAreBounded(t *testing.T) {
	long := strings.Repeat("x", bytesPerRequest/2)
	for expected, names := range map[int][]string{1: {long + long + long, "a"}, 2: {long, "a", long}, namesPerRequest: slices.Repeat([]string{"a"}, 250)} {
		require.Equal(t, expected, partOf(names))
	}
	require.Equal(t, 1, partOf([]string{"a"}))
}
