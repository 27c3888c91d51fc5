package gateway

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// compressedFrom is the size from which on an answer is compressed, in bytes. A smaller one
	// fits into one packet with its header.
	compressedFrom = 1 << 10
	// flushedAfter is how long a compressor keeps what it could still compress better together
	// with more.
	flushedAfter = 10 * time.Millisecond
	// mostEncoders bounds the memory of all encoders to 32 × 1.2 MB. An answer waits encoderWait for
	// one of them, as when a dashboard asks for many panels at once.
	mostEncoders = 32
	encoderWait  = 100 * time.Millisecond
	// gzipLevel and zstdWindow are chosen by measurement: see decision 0040.
	gzipLevel  = 3
	zstdWindow = 128 << 10
)

// encoder compresses what is written to it.
type encoder interface {
	io.WriteCloser
	// Flush writes all that was written so far, so that it can be decompressed.
	Flush() error
	// Reset starts anew and forgets what was written before.
	Reset(to io.Writer)
}

// encoders are encoders that are used again. Their number is bounded.
type encoders struct {
	free       chan struct{}
	gzip, zstd sync.Pool
}

func newEncoders(most int) *encoders {
	made := &encoders{free: make(chan struct{}, most)}
	// Both constructors fail for invalid options only.
	made.gzip.New = func() any {
		writer, _ := gzip.NewWriterLevel(io.Discard, gzipLevel)
		return writer
	}
	made.zstd.New = func() any {
		writer, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1))
		return writer
	}
	return made
}

// take returns an encoder and what gives it back. It returns nil if none becomes free in time.
func (e *encoders) take(encoding string, to io.Writer) (encoder, func()) {
	pool := &e.gzip
	if encoding == promapi.EncodingZstd {
		pool = &e.zstd
	}
	select {
	case e.free <- struct{}{}:
	default:
		timer := time.NewTimer(encoderWait)
		defer timer.Stop()
		select {
		case e.free <- struct{}{}:
		case <-timer.C:
			return nil, nil
		}
	}
	taken, _ := pool.Get().(encoder)
	taken.Reset(to)
	return taken, func() {
		taken.Reset(io.Discard)
		pool.Put(taken)
		<-e.free
	}
}

// varyByEncoding says in a header that the answer depends on Accept-Encoding.
func varyByEncoding(header http.Header) {
	for _, value := range header["Vary"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	header["Vary"] = append(slices.Clip(header["Vary"]), "Accept-Encoding")
}

// compressor sends an answer compressed. It writes the header with the first bytes, because only
// then it knows whether the answer is long enough. What comes in goes out within flushedAfter.
type compressor struct {
	to       *deadlineWriter
	status   int
	encoding string
	encoders *encoders
	// from is compressedFrom, or 0 if the client refuses plain answers.
	from int

	// mutex is for everything below, and for to: the timer sends, too.
	mutex   sync.Mutex
	start   []byte // what came before the header was written
	begun   bool   // the header is written
	encoder encoder
	release func()
	timer   *time.Timer // nil while there has been nothing to flush
	pending bool        // the timer runs
	ended   bool
	err     error // of the client
}

// copy sends the answer that body has. If body fails, what the client has received has no mark of
// its end.
func (c *compressor) copy(body io.Reader) error {
	defer c.end()
	buffer, _ := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		isWhole := errors.Is(err, io.EOF)
		if c.add(buffer[:n]); isWhole {
			err = nil
			c.finish()
		} else if err != nil {
			c.abort()
		}
		if failed := c.failed(); failed != nil {
			return failed
		}
		if isWhole || err != nil {
			return err
		}
	}
}

// add sends some bytes, or keeps them for a moment.
func (c *compressor) add(p []byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.begun && len(c.start)+len(p) < c.from {
		c.start = append(c.start, p...)
	} else {
		c.begin(c.encoding)
		c.write(p)
	}
	if c.pending || len(p) == 0 || c.err != nil {
		return
	}
	c.pending = true
	if c.timer == nil {
		c.timer = time.AfterFunc(flushedAfter, c.flushLate)
	} else {
		c.timer.Reset(flushedAfter)
	}
}

// begin writes the header, and what came before it.
func (c *compressor) begin(encoding string) {
	if c.begun {
		return
	}
	c.begun = true
	if encoding != promapi.EncodingPlain {
		c.encoder, c.release = c.encoders.take(encoding, c.to)
	}
	if header := c.to.Header(); c.encoder != nil {
		header["Content-Encoding"] = []string{encoding}
		delete(header, "Content-Length")
	}
	c.to.WriteHeader(c.status)
	c.write(c.start)
	c.start = nil
}

func (c *compressor) write(p []byte) {
	if c.err != nil || len(p) == 0 {
		return
	}
	c.to.extend()
	if c.encoder != nil {
		_, c.err = c.encoder.Write(p)
	} else {
		_, c.err = c.to.Write(p)
	}
}

// flushLate sends what has come in, because nothing else may come for a while.
func (c *compressor) flushLate() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.pending = false; !c.ended {
		c.begin(c.encoding)
		c.flush()
	}
}

func (c *compressor) flush() {
	if c.err != nil {
		return
	}
	c.to.extend()
	if c.encoder != nil {
		c.err = c.encoder.Flush()
	}
	if c.err == nil {
		c.err = c.to.flush()
	}
}

// finish sends the rest of a whole answer.
func (c *compressor) finish() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.begun {
		// It is short. The server flushes it together with the end of the response.
		if header := c.to.Header(); header["Content-Length"] == nil {
			header["Content-Length"] = []string{strconv.Itoa(len(c.start))}
		}
		c.begin(promapi.EncodingPlain)
	}
	if c.encoder != nil && c.err == nil {
		c.to.extend()
		c.err = c.encoder.Close()
	}
}

// abort sends the rest of a truncated answer, so that the client sees that it is one.
func (c *compressor) abort() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	hasMore := c.pending
	if c.begin(c.encoding); hasMore {
		c.flush()
	}
}

// failed returns the error of the client.
func (c *compressor) failed() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.err != nil {
		return &writeError{c.err}
	}
	return nil
}

// end gives back what the compressor uses. After it, the timer sends nothing.
func (c *compressor) end() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.encoder != nil {
		c.release()
	}
	c.encoder = nil
}
