package splice

import (
	"bytes"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/klauspost/compress/flate"
)

// chunk is some samples of one series, compressed. Before each sample of its text stands a comma.
type chunk struct {
	// data is the text in DEFLATE. It refers to nothing before it, and ends at a byte without a
	// final block, so that it can be put into any stream of gzip.
	data []byte
	size int // of the text, in bytes
	// sum is the CRC-32 of the text, and shift how it moves the sum of what comes before it: see
	// crcShift.
	sum, shift uint32
	// count is the number of samples. first and last are the times of the first and the last of
	// them, in milliseconds since the Unix epoch.
	count       int
	first, last int64
}

const (
	// shortestChunk and longestChunk bound the samples of a chunk. The first chunks of a series are
	// short: a range that moves on begins within one of them, which is decompressed.
	shortestChunk, longestChunk = 16, 240
	// fullChunk is the size of a text, in bytes, from which on a chunk takes no more samples.
	fullChunk = 16 << 10
	// largestText bounds the text of a chunk in bytes.
	largestText = 1 << 20
	// chunkLevel is the level of compression. Level 6 takes twice the time for 0.3 % fewer bytes.
	chunkLevel = 3
	// mostPacking bounds how many compressors are in use, each of about 1.2 MB.
	mostPacking = 2
)

// chunkSamples returns how many samples a chunk holds that follows so many others.
func chunkSamples(before int) int { return min(max(before/2, shortestChunk), longestChunk) }

var (
	packing    = make(chan struct{}, mostPacking)
	deflaters  = sync.Pool{New: func() any { writer, _ := flate.NewWriter(io.Discard, chunkLevel); return writer }} // It fails for an invalid level only.
	inflaters  = sync.Pool{New: func() any { return &inflater{reader: flate.NewReader(bytes.NewReader(nil))} }}
	crcReverse = uint32(crc32.IEEE)
)

// inflater decompresses chunks.
type inflater struct {
	from   bytes.Reader
	reader io.ReadCloser
}

// compress returns a chunk of a text.
func compress(deflater *flate.Writer, text []byte) (chunk, error) {
	var out bytes.Buffer
	out.Grow(len(text) / 2)
	deflater.Reset(&out)
	if _, err := deflater.Write(text); err != nil {
		return chunk{}, err
	}
	if err := deflater.Flush(); err != nil {
		return chunk{}, err
	}
	return chunk{data: out.Bytes(), size: len(text), sum: crc32.ChecksumIEEE(text), shift: crcShift(len(text))}, nil
}

// appendText appends the text of the chunk.
func (c *chunk) appendText(to []byte) ([]byte, error) {
	taken, _ := inflaters.Get().(*inflater)
	defer func() {
		taken.from.Reset(nil)
		inflaters.Put(taken)
	}()
	taken.from.Reset(c.data)
	if err := taken.reader.(flate.Resetter).Reset(&taken.from, nil); err != nil {
		return to, err
	}
	start := len(to)
	if cap(to)-start < c.size {
		to = append(make([]byte, 0, start+c.size), to...)
	}
	to = to[:start+c.size]
	if _, err := io.ReadFull(taken.reader, to[start:]); err != nil {
		return to[:start], malformed("a chunk cannot be decompressed: %s", err)
	}
	if crc32.ChecksumIEEE(to[start:]) != c.sum {
		return to[:start], malformed("a chunk has another checksum")
	}
	return to, nil
}

// crcMultiply multiplies two polynomials modulo that of CRC-32, both with the highest
// coefficient in the lowest bit.
func crcMultiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crcReverse
		} else {
			b >>= 1
		}
	}
	return product
}

// crcShift returns by what the CRC-32 of a text is multiplied when so many bytes follow it: x to
// the power of the number of their bits.
func crcShift(bytes int) uint32 {
	power, square := uint32(1<<31), uint32(1<<23) // 1, and x to the 8th
	for ; bytes > 0; bytes >>= 1 {
		if bytes&1 != 0 {
			power = crcMultiply(square, power)
		}
		square = crcMultiply(square, square)
	}
	return power
}

// window returns the samples of the chunk from a time to another, decompressed.
func (c *chunk) window(from, to, step int64, acquire Acquire) (samples, error) {
	if err := acquire(int64(c.size)); err != nil {
		return samples{}, err
	}
	text, err := c.appendText(nil)
	if err != nil {
		return samples{}, err
	}
	return samples{text: text[1:], count: c.count}.windowUntil(c.last, from, to, step)
}

// windowOfChunks is window for samples in chunks. It decompresses the first chunk, because
// nothing stands before it any more, and the last one if it is cut.
func (l samples) windowOfChunks(from, to, step int64, acquire Acquire) (samples, error) {
	begin := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].last >= from })
	end := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].first > to })
	if begin >= end {
		return samples{}, nil
	}
	kept, err := l.chunks[begin].window(from, to, step, acquire)
	if err != nil || end-begin == 1 {
		return kept, err
	}
	if last := &l.chunks[end-1]; last.last > to {
		end--
		cut, err := last.window(from, to, step, acquire)
		if err != nil {
			return samples{}, err
		}
		kept.count, kept.rest = kept.count+cut.count, append([]byte{','}, cut.text...)
	}
	kept.chunks = l.chunks[begin+1 : end : end]
	for i := range kept.chunks {
		c := &kept.chunks[i]
		if err := (samples{count: c.count}).onGrid(c.first, c.last, from, step); err != nil {
			return samples{}, err
		}
		kept.count += c.count
	}
	return kept, nil
}
