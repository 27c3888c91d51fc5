package splice

import (
	"bytes"
	"slices"
)

// truncatedWarning is what Prometheus says where the parameter limit has cut a
// result.
const truncatedWarning = "results truncated due to limit"

// joined is how the series of pieces belong together.
type joined struct {
	pieces []*Matrix
	// rows holds, per series, its index in the pieces, or -1.
	rows []int32
}

// Join puts pieces behind each other that were cut so that none reaches into
// the time of another, in the order of time. Series are joined by their labels
// and sorted by them; warnings and infos are united. limit is the largest
// number of series, or zero. The answer refers to the bytes of the pieces.
func Join(pieces []*Matrix, limit int) *Answer {
	j := &joined{pieces: pieces}
	answer := &Answer{open: `{"resultType":"matrix","result":[`, end: `]}`, element: j.series}
	most := 0
	for _, piece := range pieces {
		answer.Warnings = union(answer.Warnings, piece.Warnings)
		answer.Infos = union(answer.Infos, piece.Infos)
		most = max(most, len(piece.series))
	}
	j.rows = make([]int32, 0, most*len(pieces))
	next := make([]int, len(pieces))
	for {
		// The smallest of the labels that the pieces stand at.
		var smallest []byte
		remaining := false
		for p, piece := range pieces {
			if next[p] == len(piece.series) {
				continue
			}
			if key := piece.series[next[p]].key; !remaining || bytes.Compare(key, smallest) < 0 {
				smallest, remaining = key, true
			}
		}
		if !remaining {
			return answer
		}
		if limit > 0 && answer.count == limit {
			answer.Warnings = union(answer.Warnings, []string{truncatedWarning})
			return answer
		}
		for p, piece := range pieces {
			row := int32(-1)
			if next[p] < len(piece.series) && bytes.Equal(piece.series[next[p]].key, smallest) {
				row = int32(next[p]) //nolint:gosec // G115: a series takes more than one byte of an answer, which is far below 2 GiB.
				next[p]++
			}
			j.rows = append(j.rows, row)
		}
		answer.count++
	}
}

// union appends the texts that are not there yet.
func union(all, more []string) []string {
	for _, text := range more {
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// The text between what is copied from the pieces.
var (
	textComma       = []byte(`,`)
	textListBegin   = []byte(`[`)
	textListEnd     = []byte(`]`)
	textObjectBegin = []byte(`{`)
	textObjectEnd   = []byte(`}`)
	textNull        = []byte(`null`)
	textMetric      = []byte(`{"metric":`)
	textValues      = []byte(`,"values":[`)
	textHistograms  = []byte(`,"histograms":[`)
)

// series appends the parts of one series.
func (j *joined) series(i int, parts [][]byte) [][]byte {
	width := len(j.pieces)
	row := j.rows[i*width : (i+1)*width]
	parts = append(parts, textMetric)
	for p, index := range row {
		if index >= 0 {
			parts = append(parts, j.pieces[p].series[index].metric)
			break
		}
	}
	parts = j.list(row, textValues, func(s *series) []byte { return s.values.text }, parts)
	parts = j.list(row, textHistograms, func(s *series) []byte { return s.histograms.text }, parts)
	return append(parts, textObjectEnd)
}

func (j *joined) list(row []int32, name []byte, of func(*series) []byte, parts [][]byte) [][]byte {
	open := false
	for p, index := range row {
		if index < 0 {
			continue
		}
		samples := of(&j.pieces[p].series[index])
		switch {
		case len(samples) == 0:
			continue
		case open:
			parts = append(parts, textComma)
		default:
			parts, open = append(parts, name), true
		}
		parts = append(parts, samples)
	}
	if open {
		parts = append(parts, textListEnd)
	}
	return parts
}
