package splice_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

// sampled holds the texts of samples by series and time.
type sampled map[string]map[int64]string

// matrix returns the samples as an answer, on steps of one second. Names that begin with h are
// histograms.
func (s sampled) matrix(t *testing.T, steps int64) *splice.Matrix {
	t.Helper()
	var result []string
	for name, samples := range s {
		var list []string
		for at := range steps {
			if text, is := samples[at]; is {
				list = append(list, fmt.Sprintf(`[%d,%s]`, at, text))
			}
		}
		kind := "values"
		if name[0] == 'h' {
			kind = "histograms"
		}
		if len(list) > 0 {
			result = append(result, fmt.Sprintf(`{"metric":{"series":%q},%q:[%s]}`, name, kind, strings.Join(list, ",")))
		}
	}
	matrix, err := splice.Parse([]byte(`{"status":"success","data":{"resultType":"matrix","result":[`+strings.Join(result, ",")+`]}}`), nil)
	require.NoError(t, err)
	return matrix
}

func TestFirstDifference_EqualsThatOfTheSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		steps := random.Int64N(6)
		a, b := sampled{}, sampled{}
		for i := range 1 + random.IntN(4) {
			name := fmt.Sprintf("%c%d", "vh"[random.IntN(2)], i)
			a[name], b[name] = map[int64]string{}, map[int64]string{}
			for at := range steps {
				text := fmt.Sprintf(`"%d"`, random.IntN(3))
				if name[0] == 'h' {
					text = fmt.Sprintf(`{"count":"%d","sum":"1","buckets":[[0,"1","2","3"]]}`, random.IntN(3))
				}
				if random.IntN(8) > 0 {
					a[name][at] = text
				}
				if random.IntN(16) > 0 {
					if was, is := a[name][at]; is {
						text = was
					}
					b[name][at] = text
				}
			}
		}
		until := random.Int64N(7) - 1
		expected := int64(-1)
		for at := range steps {
			for name := range a {
				if expected < 0 && at <= until && a[name][at] != b[name][at] {
					expected = at * 1000
				}
			}
		}
		first, differs, err := splice.FirstDifference(a.matrix(t, steps), b.matrix(t, steps), until*1000)
		require.NoError(t, err)
		require.Equal(t, expected >= 0, differs, "%v %v until %d", a, b, until)
		if differs {
			require.Equal(t, expected, first, "%v %v until %d", a, b, until)
		}
	}
}

// A part is cut out of a matrix, which stays as it is.
func TestMatrix_PartLeavesTheMatrix(t *testing.T) {
	whole := sampled{"v": {0: `"1"`, 1: `"2"`, 2: `"3"`, 3: `"4"`}, "w": {0: `"5"`}}
	matrix := whole.matrix(t, 4)
	part, err := matrix.Part(1000, 2000, 1000)
	require.NoError(t, err)
	require.Equal(t, 1, part.Len())
	require.Equal(t, 2, part.Samples())
	require.Equal(t, 5, matrix.Samples())
	_, differs, err := splice.FirstDifference(part, sampled{"v": {1: `"2"`, 2: `"3"`}}.matrix(t, 4), 3000)
	require.NoError(t, err)
	require.False(t, differs)
	_, err = matrix.Part(500, 2000, 1000)
	require.ErrorIs(t, err, splice.ErrNoMatrix)
}
