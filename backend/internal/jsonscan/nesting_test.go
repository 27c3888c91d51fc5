package jsonscan

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzNesting compares eight bytes at a time with one.
func FuzzNesting(f *testing.F) {
	for _, text := range []string{
		`[{"a":"b"},{"c":[1,"2"]}],"x":`, `"]}]}]}\"{[{[\\"[1,2,3,4,5,6,7,8]`, "\xfb\xfd\xdb\xdd\xa2\xdc{{{{[[[[\"\x80\"]]]]}}}}", `\\\\\\\\\\\\\\\\\"]`, `{{{{{{{{}}}}}}}}`,
		`{"ü":"é","üü":["€"],"ö€":{"a":"ä"},"x":"ÿÿ","€":{}}`, "\"\xff\"\xfe\"\xff\"[\xff]\xff{\xff}\"\xff\"\xff\\\"[[[[[[[[",
	} {
		f.Add([]byte(text), uint8(3), uint8(1), false, false)
		f.Add([]byte(text), uint8(200), uint8(2), false, false)
		f.Add([]byte(text), uint8(9), uint8(2), true, false)
		f.Add([]byte(text), uint8(9), uint8(2), true, true)
	}
	f.Fuzz(func(t *testing.T, text []byte, depth, least uint8, inString, isEscaped bool) {
		fast := Nesting{Depth: int(depth), InString: inString || isEscaped, IsEscaped: isEscaped}
		slow, n := fast, 0
		for n < len(text) {
			skipped := fast.SkipBelow(text[n:], int(least))
			for _, c := range text[n : n+skipped] {
				slow.Follow(c)
				require.True(t, skipped == 0 || slow.Depth >= int(least), "it stops before the depth falls below")
			}
			if n += skipped; n < len(text) {
				fast.Follow(text[n])
				slow.Follow(text[n])
				n++
			}
			require.Equal(t, slow, fast)
		}
	})
}

func TestNesting_SkipsMostOfAnAnswer(t *testing.T) {
	text := []byte(`{"metric":{"job":"cart","path":"C:\\x\"}"},"values":[[1767000000,"0.25"],[1767000060,"0.5"]]},{"metric":{}}`)
	n := Nesting{Depth: 3}
	skipped := n.SkipBelow(text, 2)
	require.Less(t, len(text)-skipped, 8)
	n.followAll(text[skipped:])
	require.Equal(t, Nesting{Depth: 3}, n)
	require.Zero(t, n.SkipBelow([]byte(`[]}}}}}}`), 2), "it may reach a depth of 1")
}
