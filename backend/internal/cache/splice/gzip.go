package splice

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// glueBytes is how much text between chunks is compressed at a time.
const glueBytes = 32 << 10

// gzipHeader is that of a stream of gzip without a name and a time, from an unknown system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// Gzip returns a reader of the answer in gzip. It returns nil if less than a half of the answer is
// compressed already: to compress it as a whole makes it shorter.
func (a *Answer) Gzip() io.Reader {
	if a.sections == nil {
		return nil
	}
	if all, chunked := a.sizes(); 2*chunked < all {
		return nil
	}
	return &gzipReader{sections: sections{from: a, next: -1}, pending: gzipHeader}
}

// gzipReader puts the chunks of an answer into a stream of gzip, and compresses what stands between.
type gzipReader struct {
	sections

	glue    []byte       // the text since the last chunk
	out     bytes.Buffer // what became of it
	pending []byte       // what is read after out
	sum     uint32
	size    uint32 // modulo 2³², as gzip has it
	ended   bool
}

// Read implements io.Reader.
func (r *gzipReader) Read(p []byte) (read int, err error) {
	for read < len(p) {
		switch {
		case r.out.Len() > 0:
			n, _ := r.out.Read(p[read:])
			read += n
		case len(r.pending) > 0:
			n := copy(p[read:], r.pending)
			read, r.pending = read+n, r.pending[n:]
		case !r.ended:
			r.advance()
		default:
			return read, io.EOF // At once, so that whoever copies does not flush what ends anyway.
		}
	}
	return read, nil
}

// advance reads up to the next chunk or the end.
func (r *gzipReader) advance() {
	for r.out.Len() == 0 {
		next, ok := r.read()
		switch {
		case !ok:
			r.flush(true)
			r.pending = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, r.sum), r.size)
			r.ended = true
			return
		case next.chunk != nil:
			r.flush(false)
			r.pending = next.chunk.data
			r.sum = crcMultiply(next.chunk.shift, r.sum) ^ next.chunk.sum
			r.size += uint32(next.chunk.size) //nolint:gosec // G115: it is at most largestText.
			return
		}
		if r.glue = append(r.glue, next.text...); len(r.glue) >= glueBytes {
			r.flush(false)
		}
	}
}

// flush compresses the text since the last chunk.
func (r *gzipReader) flush(isLast bool) {
	if len(r.glue) > 0 || isLast {
		_ = flate.StatelessDeflate(&r.out, r.glue, isLast, nil) // Only out could fail, which is memory.
	}
	r.sum = crc32.Update(r.sum, crc32.IEEETable, r.glue)
	r.size += uint32(len(r.glue)) //nolint:gosec // G115: gzip counts modulo 2³².
	r.glue = r.glue[:0]
}
