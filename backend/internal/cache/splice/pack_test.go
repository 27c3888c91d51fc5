package splice

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// randomMatrix returns an answer with samples every 10 seconds from 1000 s on, with gaps.
func randomMatrix(random *rand.Rand, series, steps int) []byte {
	var list []string
	for i := range series {
		var values, histograms []string
		gaps, histogramsFrom := random.Intn(3), random.Intn(3)*steps
		for step := range steps {
			if gaps > 0 && random.Intn(5) < gaps {
				continue
			}
			at := fmt.Sprint(1000 + 10*step)
			if random.Intn(10) == 0 {
				at += ".000"
			}
			if step >= histogramsFrom && gaps == 2 {
				histograms = append(histograms, fmt.Sprintf(`[%s,{"count":"%d","sum":"%g","buckets":[[0,"1","2","%d"]]}]`, at, step, random.NormFloat64(), step))
				continue
			}
			values = append(values, fmt.Sprintf(`[%s,"%g"]`, at, random.NormFloat64()))
		}
		text := fmt.Sprintf(`{"metric":{"a":"%02d","b":"]},\"values\":[[1"}`, i)
		if len(values) > 0 {
			text += `,"values":[` + strings.Join(values, ",") + `]`
		}
		if len(histograms) > 0 {
			text += `,"histograms":[` + strings.Join(histograms, ",") + `]`
		}
		list = append(list, text+"}")
	}
	return []byte(`{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(list, ",") + `]},"infos":["PromQL info: a"],"warnings":["w"]}`)
}

func parsed(t testing.TB, text []byte) *Matrix {
	t.Helper()
	matrix, err := Parse(text, nil)
	require.NoError(t, err)
	return matrix
}

func packed(t testing.TB, text []byte) []byte {
	t.Helper()
	made, ok := parsed(t, text).Pack()
	require.True(t, ok)
	return made
}

func unpacked(t testing.TB, text []byte) *Matrix {
	t.Helper()
	matrix, err := Unpack(text, unlimited)
	require.NoError(t, err)
	return matrix
}

func unlimited(int64) error { return nil }

// read reads an answer in each way, and returns its text.
func read(t testing.TB, answer *Answer) string {
	t.Helper()
	text, err := io.ReadAll(answer.Reader())
	require.NoError(t, err)
	require.EqualValues(t, answer.Size(), len(text))
	if compressed := answer.Gzip(); compressed != nil {
		unzipped, err := gzip.NewReader(iotest.OneByteReader(compressed))
		require.NoError(t, err)
		again, err := io.ReadAll(unzipped) // It checks length and checksum.
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	}
	return string(text)
}

func TestPack_WindowsAreThoseOfTheText(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	zipped := 0
	for range 30 {
		steps := 400 + random.Intn(2000)
		text := randomMatrix(random, 1+random.Intn(4), steps)
		tail := parsed(t, bytes.ReplaceAll(randomMatrix(random, 1+random.Intn(4), 1+random.Intn(20)), []byte("[1"), []byte("[9")))
		kept := packed(t, text)
		before := bytes.Clone(kept)
		for range 10 {
			from, to := int64(10*random.Intn(steps)), int64(10*random.Intn(steps+50))
			if random.Intn(4) == 0 {
				from, to = 0, 10*int64(steps)
			}
			if chunks := unpacked(t, kept).series[0].values.chunks; len(chunks) > 0 && random.Intn(2) == 0 { // About where chunks begin and end.
				from = max(0, (chunks[random.Intn(len(chunks))].first-1_000_000)/1000+int64(10*(random.Intn(3)-1)))
				to = (chunks[random.Intn(len(chunks))].last-1_000_000)/1000 + int64(10*(random.Intn(3)-1))
			}
			from, to, step := 1_000_000+1000*from, 1_000_000+1000*to, []int64{10_000, 10_000, 20_000, 30_000}[random.Intn(4)]
			expected, matrix := parsed(t, text), unpacked(t, kept)
			require.Equal(t, expected.Samples(), matrix.Samples())
			expectedErr, err := expected.Window(from, to, step), matrix.Window(from, to, step)
			if step != 10_000 {
				// What stands between the steps may be seen in chunks only.
				require.True(t, err != nil || expectedErr == nil)
			}
			if err != nil {
				require.ErrorIs(t, err, ErrNoMatrix)
				require.NotEqual(t, int64(10_000), step)
				continue
			}
			require.NoError(t, expectedErr)
			require.Equal(t, []int{expected.Len(), expected.Samples()}, []int{matrix.Len(), matrix.Samples()})
			limit := random.Intn(3)
			joined := Join([]*Matrix{matrix, tail}, limit)
			require.Equal(t, read(t, Join([]*Matrix{expected, tail}, limit)), read(t, joined))
			if joined.Gzip() != nil {
				zipped++
			}
		}
		require.Equal(t, before, kept, "it is shared")
	}
	require.Positive(t, zipped)
}

func TestPack_KeepsNoSpaceBetweenSamples(t *testing.T) {
	text := randomMatrix(rand.New(rand.NewSource(7)), 2, 500)
	spaced := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(`"],[`), []byte("\"] ,\n [")), []byte(`}],[`), []byte(`}] , [`))
	matrix := unpacked(t, packed(t, spaced))
	require.NoError(t, matrix.Window(1_000_000, 9_000_000, 10_000))
	require.Equal(t, splice(t, 0, text), read(t, Join([]*Matrix{matrix}, 0)))
}

func TestPack_OnlyWhatItShortens(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	_, ok := parsed(t, randomMatrix(random, 3, 20)).Pack()
	require.False(t, ok, "short series")
	_, ok = parsed(t, []byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`)).Pack()
	require.False(t, ok, "no series")
	_, ok = unpacked(t, packed(t, randomMatrix(random, 3, 500))).Pack()
	require.False(t, ok, "it is packed")
	large := fmt.Sprintf(`{"metric":{},"values":[[1,"%s"]]}`, strings.Repeat("1", largestText))
	_, ok = parsed(t, answer(large)).Pack()
	require.False(t, ok, "a sample that is too large")
}

func TestGzip_OnlyWhereMostIsCompressed(t *testing.T) {
	random := rand.New(rand.NewSource(2))
	kept := packed(t, randomMatrix(random, 2, 1000))
	joined := func(from, to int64, tail []byte) *Answer {
		matrix := unpacked(t, kept)
		require.NoError(t, matrix.Window(from*1000, to*1000, 10_000))
		return Join([]*Matrix{matrix, parsed(t, tail)}, 0)
	}
	none := answer("")
	require.NotNil(t, joined(1000, 11_000, none).Gzip())
	require.Nil(t, joined(5000, 5300, none).Gzip(), "a few steps of one chunk")
	require.Nil(t, joined(1000, 11_000, randomMatrix(random, 2, 4000)).Gzip(), "a long tail")
	require.Nil(t, Join([]*Matrix{parsed(t, none)}, 0).Gzip(), "nothing is compressed")
	require.Nil(t, Whole(&Envelope{Data: []byte("[]")}).Gzip())
}

func TestUnpack_DamagedText(t *testing.T) {
	random := rand.New(rand.NewSource(3))
	kept := packed(t, randomMatrix(random, 2, 400))
	for length := 0; length < len(kept); length += 1 + length/50 {
		_, err := Unpack(bytes.Clone(kept[:length]), unlimited) // Without room behind it.
		require.ErrorIs(t, err, ErrNoMatrix)
	}
	_, err := Unpack(append(bytes.Clone(kept), 0), unlimited)
	require.ErrorIs(t, err, ErrNoMatrix)
	for range 1500 {
		damaged := bytes.Clone(kept[:1+random.Intn(len(kept))])
		for range 1 + random.Intn(3) {
			damaged[random.Intn(len(damaged))] = byte(random.Intn(256))
		}
		matrix, err := Unpack(damaged, unlimited)
		if err == nil {
			err = matrix.Window(1_000_000, 5_000_000, 10_000)
		}
		if err == nil {
			joined := Join([]*Matrix{matrix}, 0)
			_, err = io.Copy(io.Discard, joined.Reader())
		}
		if err != nil {
			require.ErrorIs(t, err, ErrNoMatrix)
		}
	}
}

func TestUnpack_DamagedChunkIsAnError(t *testing.T) {
	matrix := unpacked(t, packed(t, randomMatrix(rand.New(rand.NewSource(4)), 1, 400)))
	matrix.series[0].values.chunks[2].sum++
	require.NoError(t, matrix.Window(1_000_000, 5_000_000, 10_000))
	_, err := io.ReadAll(Join([]*Matrix{matrix}, 0).Reader())
	require.ErrorIs(t, err, ErrNoMatrix)
}

func TestUnpack_AcquiresItsMemory(t *testing.T) {
	kept := packed(t, randomMatrix(rand.New(rand.NewSource(5)), 2, 400))
	errFull := errors.New("full")
	left, acquired := int64(1<<20), int64(0)
	acquire := func(bytes int64) error {
		if acquired += bytes; acquired > left {
			return errFull
		}
		return nil
	}
	matrix, err := Unpack(kept, acquire)
	require.NoError(t, err)
	require.Positive(t, acquired)
	unpacking := acquired
	require.NoError(t, matrix.Window(1_100_000, 4_000_000, 10_000))
	require.Greater(t, acquired, unpacking)
	left, acquired = unpacking, 0
	matrix, err = Unpack(kept, acquire)
	require.NoError(t, err)
	require.ErrorIs(t, matrix.Window(1_100_000, 4_000_000, 10_000), errFull)
	left, acquired = unpacking-1, 0
	_, err = Unpack(kept, acquire)
	require.ErrorIs(t, err, errFull)
}

func TestCRCShift_MovesAChecksum(t *testing.T) {
	random := rand.New(rand.NewSource(6))
	for range 200 {
		first, second := make([]byte, random.Intn(100)), make([]byte, random.Intn(100_000))
		_, _ = random.Read(first)
		_, _ = random.Read(second)
		moved := crcMultiply(crcShift(len(second)), crc32.ChecksumIEEE(first)) ^ crc32.ChecksumIEEE(second)
		require.Equal(t, crc32.ChecksumIEEE(append(first, second...)), moved)
	}
}
