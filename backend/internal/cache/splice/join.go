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
	answer := &Answer{open: `{"resultType":"matrix","result":[`, end: `]}`, sections: j.series}
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

// series appends the sections of one series.
func (j *joined) series(i int, list []section) []section {
	width := len(j.pieces)
	row := j.rows[i*width : (i+1)*width]
	list = append(list, section{text: textMetric})
	for p, index := range row {
		if index >= 0 {
			list = append(list, section{text: j.pieces[p].series[index].metric})
			break
		}
	}
	list = j.list(row, textValues, func(s *series) *samples { return &s.values }, list)
	list = j.list(row, textHistograms, func(s *series) *samples { return &s.histograms }, list)
	return append(list, section{text: textObjectEnd})
}

func (j *joined) list(row []int32, name []byte, of func(*series) *samples, list []section) []section {
	open := false
	for p, index := range row {
		if index < 0 {
			continue
		}
		samples := of(&j.pieces[p].series[index])
		switch {
		case samples.count == 0:
			continue
		case open:
			list = append(list, section{text: textComma})
		default:
			list, open = append(list, section{text: name}), true
		}
		list = append(list, section{text: samples.text})
		for i := range samples.chunks {
			list = append(list, section{chunk: &samples.chunks[i]})
		}
		if len(samples.rest) > 0 {
			list = append(list, section{text: samples.rest})
		}
	}
	if open {
		list = append(list, section{text: textListEnd})
	}
	return list
}
