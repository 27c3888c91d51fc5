package splice

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/klauspost/compress/flate"
)

// packedFrom is how many bytes of samples a series has on average in a matrix that is packed. The
// labels of shorter series take more than their samples, and chunks do not shorten them.
const packedFrom = 4 << 10

// Pack returns the matrix in a form that Unpack reads without looking at each sample, and that
// goes out compressed as it is: see Answer.Gzip. It returns false if the series are too short for
// that. It uses much CPU time.
func (m *Matrix) Pack() ([]byte, bool) {
	size := 0
	for i := range m.series {
		s := &m.series[i]
		if s.values.chunks != nil || s.histograms.chunks != nil {
			return nil, false // It was unpacked.
		}
		size += len(s.values.text) + len(s.histograms.text)
	}
	if size < packedFrom*max(len(m.series), 1) {
		return nil, false
	}
	packing <- struct{}{}
	defer func() { <-packing }()
	deflater, _ := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(deflater)
	p := &packer{deflater: deflater, out: make([]byte, 0, size/3)}
	p.texts(m.Warnings)
	p.texts(m.Infos)
	p.number(len(m.series))
	for i := range m.series {
		s := &m.series[i]
		p.text(s.metric)
		p.text(s.key)
		for _, list := range []samples{s.values, s.histograms} {
			if err := p.samples(list); err != nil {
				return nil, false
			}
		}
	}
	return append(make([]byte, 0, len(p.out)), p.out...), true // No longer than it has to be.
}

// packer writes a packed matrix.
type packer struct {
	deflater *flate.Writer
	out      []byte
	list     []chunk
	raw      []byte
}

func (p *packer) number(n int) { p.out = binary.AppendUvarint(p.out, uint64(n)) } //nolint:gosec // G115: no number is negative.

func (p *packer) text(text []byte) {
	p.number(len(text))
	p.out = append(p.out, text...)
}

func (p *packer) texts(list []string) {
	p.number(len(list))
	for _, text := range list {
		p.text([]byte(text))
	}
}

// samples writes the samples of one series in chunks.
func (p *packer) samples(list samples) error {
	if err := p.divide(list); err != nil {
		return err
	}
	p.number(len(p.list))
	for i := range p.list {
		c := &p.list[i]
		p.out = binary.AppendVarint(p.out, c.first)
		p.out = binary.AppendVarint(p.out, c.last)
		p.number(c.count)
		p.number(c.size)
		p.out = binary.BigEndian.AppendUint32(p.out, c.sum)
		p.out = binary.BigEndian.AppendUint32(p.out, c.shift)
		p.text(c.data)
	}
	return nil
}

// divide makes the chunks.
func (p *packer) divide(list samples) error {
	p.list, p.raw = p.list[:0], p.raw[:0]
	s, next := &scanner{data: list.text}, chunk{}
	for i := range list.count {
		begin := s.here()
		at, err := s.timestamp()
		if err != nil {
			return err
		}
		s.position = begin
		end, err := s.sample()
		if err != nil {
			return err
		}
		if next.count == 0 {
			next.first = at
		}
		next.last, next.count = at, next.count+1
		p.raw = append(append(p.raw, ','), list.text[begin:end]...)
		if i+1 < list.count {
			if err := s.comma(); err != nil {
				return err
			}
			if next.count < chunkSamples(i+1-next.count) && len(p.raw) < fullChunk {
				continue
			}
		}
		if len(p.raw) > largestText {
			return malformed("a sample is larger than %d bytes", largestText)
		}
		made, err := compress(p.deflater, p.raw)
		if err != nil {
			return err
		}
		made.first, made.last, made.count = next.first, next.last, next.count
		p.list, p.raw, next = append(p.list, made), p.raw[:0], chunk{}
	}
	return nil
}

// Unpack reads what Pack has written. The matrix refers to the text. It returns an error that
// wraps ErrNoMatrix for anything else, and the error of acquire.
func Unpack(text []byte, acquire Acquire) (*Matrix, error) {
	u := &unpacker{rest: text, acquire: acquire}
	m := &Matrix{Warnings: u.texts(), Infos: u.texts(), acquire: acquire}
	for range u.number(len(u.rest)) {
		next := series{metric: u.text(), key: u.text(), values: u.samples(), histograms: u.samples()}
		if n := len(m.series); u.err == nil && n > 0 && bytes.Compare(m.series[n-1].key, next.key) >= 0 {
			u.fail()
		}
		if u.err == nil {
			m.series, u.err = push(m.series, next, acquire)
		}
		if u.err != nil {
			break
		}
	}
	if u.err == nil && len(u.rest) > 0 {
		u.fail()
	}
	if u.err != nil {
		return nil, u.err
	}
	return m, nil
}

// unpacker reads a packed matrix. After an error, it reads zeros.
type unpacker struct {
	rest    []byte
	acquire Acquire
	err     error
}

func (u *unpacker) fail() {
	if u.err == nil {
		u.err = malformed("it is not packed as it should be")
	}
	u.rest = nil
}

// number reads a number of at most so much.
func (u *unpacker) number(most int) int {
	n, length := binary.Uvarint(u.rest)
	if length <= 0 || n > uint64(most) { //nolint:gosec // G115: no limit is negative.
		u.fail()
		return 0
	}
	u.rest = u.rest[length:]
	return int(n) //nolint:gosec // G115: it is bounded.
}

func (u *unpacker) time() int64 {
	at, length := binary.Varint(u.rest)
	if length <= 0 {
		u.fail()
		return 0
	}
	u.rest = u.rest[length:]
	return at
}

func (u *unpacker) word() uint32 {
	if len(u.rest) < 4 {
		u.fail()
		return 0
	}
	word := binary.BigEndian.Uint32(u.rest)
	u.rest = u.rest[4:]
	return word
}

func (u *unpacker) text() []byte {
	n := u.number(len(u.rest))
	if n > len(u.rest) { // The number itself took some of it.
		u.fail()
		return nil
	}
	text := u.rest[:n:n]
	u.rest = u.rest[n:]
	return text
}

func (u *unpacker) texts() (list []string) {
	for range u.number(len(u.rest)) {
		if list = append(list, string(u.text())); u.err != nil {
			return nil
		}
	}
	return list
}

// leastChunk is how many bytes a chunk takes at least.
const leastChunk = 13

// samples reads the samples of one series.
func (u *unpacker) samples() (read samples) {
	n := u.number(len(u.rest) / leastChunk)
	if u.err == nil {
		u.err = u.acquire(int64(n) * int64(unsafe.Sizeof(chunk{})))
	}
	if u.err != nil || n == 0 {
		return samples{}
	}
	read.chunks = make([]chunk, 0, n)
	for range n {
		c := chunk{first: u.time(), last: u.time(), count: u.number(largestText), size: u.number(largestText), sum: u.word(), shift: u.word(), data: u.text()}
		if before := len(read.chunks) - 1; c.count < 1 || c.last < c.first || (before >= 0 && read.chunks[before].last >= c.first) {
			u.fail()
		}
		if u.err != nil {
			return samples{}
		}
		read.chunks, read.count = append(read.chunks, c), read.count+c.count
	}
	return read
}
