package splice

import (
	"encoding/json"
	"io"
	"slices"
)

// TruncatedWarning is what Prometheus says where the parameter limit has cut a
// result.
const TruncatedWarning = "results truncated due to limit"

// Joined is one answer made of pieces. It refers to the bytes of the pieces.
type Joined struct {
	pieces []*Matrix
	// rows holds, for each series, its index in each piece, or -1.
	rows     []int32
	warnings []string
	infos    []string
}

// Join puts pieces behind each other that were cut so that none reaches into
// the time of another, in the order of time. Series are joined by their labels
// and sorted by them; warnings and infos are united. limit is the largest
// number of series, or zero.
func Join(pieces []*Matrix, limit int) *Joined {
	j := &Joined{pieces: pieces}
	most := 0
	for _, piece := range pieces {
		j.warnings = union(j.warnings, piece.Warnings)
		j.infos = union(j.infos, piece.Infos)
		most = max(most, len(piece.series))
	}
	j.rows = make([]int32, 0, most*len(pieces))
	next := make([]int, len(pieces))
	for {
		// The smallest of the labels that the pieces stand at.
		var smallest []byte
		found := false
		for p, piece := range pieces {
			if next[p] == len(piece.series) {
				continue
			}
			if key := piece.key(piece.series[next[p]]); !found || string(key) < string(smallest) {
				smallest, found = key, true
			}
		}
		if !found {
			return j
		}
		if limit > 0 && j.Len() == limit {
			j.warnings = union(j.warnings, []string{TruncatedWarning})
			return j
		}
		for p, piece := range pieces {
			row := int32(-1)
			if next[p] < len(piece.series) && string(piece.key(piece.series[next[p]])) == string(smallest) {
				row = int32(next[p]) //nolint:gosec // G115: a series takes more than one byte of an answer, which is far below 2 GiB.
				next[p]++
			}
			j.rows = append(j.rows, row)
		}
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

// Len returns the number of series.
func (j *Joined) Len() int {
	if len(j.pieces) == 0 {
		return 0
	}
	return len(j.rows) / len(j.pieces)
}

// Warnings returns those of all pieces.
func (j *Joined) Warnings() []string { return j.warnings }

// Infos returns those of all pieces.
func (j *Joined) Infos() []string { return j.infos }

// Warn puts further warnings in front of those of the pieces.
func (j *Joined) Warn(warnings []string) { j.warnings = union(slices.Clone(warnings), j.warnings) }

// The text between what is copied from the pieces.
var (
	textBegin      = []byte(`{"status":"success","data":{"resultType":"matrix","result":[`)
	textResultEnd  = []byte(`]}`)
	textWarnings   = []byte(`,"warnings":`)
	textInfos      = []byte(`,"infos":`)
	textComma      = []byte(`,`)
	textMetric     = []byte(`{"metric":`)
	textValues     = []byte(`,"values":[`)
	textHistograms = []byte(`,"histograms":[`)
	textListEnd    = []byte(`]`)
	textObjectEnd  = []byte(`}`)
)

// begin, row and end append the parts of the answer to a list.
func (*Joined) begin(parts [][]byte) [][]byte { return append(parts, textBegin) }

func (j *Joined) row(i int, parts [][]byte) [][]byte {
	width := len(j.pieces)
	row := j.rows[i*width : (i+1)*width]
	if i > 0 {
		parts = append(parts, textComma)
	}
	parts = append(parts, textMetric)
	for p, index := range row {
		if index >= 0 {
			parts = append(parts, j.pieces[p].series[index].metric)
			break
		}
	}
	parts = j.list(row, textValues, func(s *series) []byte { return s.values }, parts)
	parts = j.list(row, textHistograms, func(s *series) []byte { return s.histograms }, parts)
	return append(parts, textObjectEnd)
}

func (j *Joined) list(row []int32, name []byte, of func(*series) []byte, parts [][]byte) [][]byte {
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

func (j *Joined) end(parts [][]byte) [][]byte {
	parts = append(parts, textResultEnd)
	parts = texts(textWarnings, j.warnings, parts)
	parts = texts(textInfos, j.infos, parts)
	return append(parts, textObjectEnd)
}

func texts(name []byte, list []string, parts [][]byte) [][]byte {
	if len(list) == 0 {
		return parts
	}
	encoded, _ := json.Marshal(list) // A list of texts has a JSON form.
	return append(parts, name, encoded)
}

// Size returns the number of bytes of the answer.
func (j *Joined) Size() int64 {
	var parts [][]byte
	size := int64(0)
	for i := -1; i <= j.Len(); i++ {
		parts = j.part(i, parts[:0])
		for _, part := range parts {
			size += int64(len(part))
		}
	}
	return size
}

// part is what comes before the first series, for -1, a series, or what comes
// after the last one.
func (j *Joined) part(i int, parts [][]byte) [][]byte {
	switch {
	case i < 0:
		return j.begin(parts)
	case i < j.Len():
		return j.row(i, parts)
	}
	return j.end(parts)
}

// Reader returns a reader of the answer as Prometheus would write it.
func (j *Joined) Reader() io.Reader { return &reader{from: j, next: -1} }

// reader copies an answer part by part.
type reader struct {
	from interface {
		Len() int
		// part appends what comes before the first element, for -1, an element,
		// or what comes after the last one.
		part(i int, parts [][]byte) [][]byte
	}
	next  int
	parts [][]byte // of the part at hand
	at    int      // which of them is read
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	read := 0
	for read < len(p) {
		if r.at == len(r.parts) {
			if r.next > r.from.Len() {
				break
			}
			r.parts, r.at = r.from.part(r.next, r.parts[:0]), 0
			r.next++
		}
		n := copy(p[read:], r.parts[r.at])
		read += n
		if n == len(r.parts[r.at]) {
			r.at++
		} else {
			r.parts[r.at] = r.parts[r.at][n:]
		}
	}
	if read == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return read, nil
}
