package targets

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// samplesOf returns samples each quarter of a minute: "1" and "0" for what up was, and " " for none.
func samplesOf(text string) (samples []Sample) {
	for i, each := range text {
		if each != ' ' {
			samples = append(samples, Sample{At: int64(i) * scrapeInterval.Milliseconds(), Up: each == '1'})
		}
	}
	return samples
}

func TestHolesIn_AreWhatWasNotScraped(t *testing.T) {
	at := func(i int) int64 { return int64(i) * scrapeInterval.Milliseconds() }
	for name, of := range map[string]struct {
		samples  string
		expected []stretch
	}{
		"always up":                       {"11111111", nil},
		"one scrape failed":               {"11101111", []stretch{{at(2), at(4)}}},
		"some failed":                     {"11000111", []stretch{{at(1), at(5)}}},
		"two times":                       {"10110111", []stretch{{at(0), at(2)}, {at(3), at(5)}}},
		"down before the first sample":    {"00011111", []stretch{{at(0), at(3)}}},
		"down still":                      {"11111000", []stretch{{at(4), End}}},
		"never up":                        {"00000000", []stretch{{at(0), End}}},
		"missing, and back":               {"1111     11111", []stretch{{at(3), at(9)}}},
		"down, missing, and back":         {"11100     111", []stretch{{at(2), at(10)}}},
		"a scrape that was skipped":       {"1111 1111", nil},
		"a new target":                    {"      1111", nil},
		"a new target that is down first": {"      0011", []stretch{{at(5), at(8)}}},
		"a target that is gone":           {"1111       ", nil},
		"down, and then gone":             {"1110       ", []stretch{{at(2), at(4)}}},
		"no samples":                      {"        ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, of.expected, holesIn(samplesOf(of.samples), 0, at(len(of.samples)-1)))
		})
	}
}

func TestFewer_JoinsWhatIsCloseTogether(t *testing.T) {
	list := []stretch{{0, 10}, {20, 30}, {31, 40}, {100, End}}
	require.Equal(t, []stretch{{0, 10}, {20, 40}, {100, End}}, fewer(append([]stretch{}, list...), 3))
	require.Equal(t, []stretch{{0, End}}, fewer(append([]stretch{}, list...), 1))
	require.Equal(t, list, fewer(list, 4))
}

func TestUsualInterval_OfFewSamples(t *testing.T) {
	require.Equal(t, time.Minute.Milliseconds(), usualInterval([]Sample{{At: 5}}))
	require.Equal(t, int64(7), usualInterval([]Sample{{At: 5}, {At: 12}, {At: 19}, {At: 500}}))
}
