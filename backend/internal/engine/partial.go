package engine

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Servers that mark partial answers do so before the data. So the head of an answer that
// is passed on shows it, within mostHead bytes, or mostZippedHead bytes of gzip. If the data
// comes first, what has come in of the answer is looked at, up to emptyPeek bytes. Answers in
// other encodings are not looked at.
const (
	mostHead       = 256
	mostZippedHead = 1 << 10
	zippedHead     = 256 // that are read at once
)

// warnIfPartial adds a warning to a success that says of itself that it is partial. Answers
// that are decoded get it when they are. It returns the error of reading the head.
func (r *Response) warnIfPartial() error {
	isPartial := false
	switch r.encoding() {
	case promapi.EncodingPlain:
		isPartial = r.isPartial()
	case promapi.EncodingGzip:
		isPartial = r.isPartialZipped()
	}
	if isPartial {
		r.Warnings = append(slices.Clone(r.Warnings), promapi.PartialWarning)
	}
	if err := r.started().err; !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// isPartial is warnIfPartial for an answer that is not compressed.
func (r *Response) isPartial() bool {
	body := r.started()
	for most := headBytes; len(body.start) < mostHead && body.err == nil && !promapi.BeginsData(body.start); most = mostHead {
		body.more(most)
	}
	if promapi.BeginsWithData(body.start) {
		for len(body.start) < emptyPeek && body.err == nil && !body.isShort {
			body.more(emptyPeek)
		}
	}
	return promapi.SaysPartial(body.start)
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// isPartialZipped is warnIfPartial for an answer in gzip.
func (r *Response) isPartialZipped() bool {
	unzipped, _ := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(unzipped)
	var head [mostHead]byte
	for body := r.started(); ; {
		body.more(min(len(body.start)+zippedHead, mostZippedHead))
		n := 0
		if unzipped.Reset(bytes.NewReader(body.start)) == nil {
			n, _ = io.ReadFull(unzipped, head[:])
		}
		isAll := n == len(head) || len(body.start) >= mostZippedHead || body.err != nil
		if isAll || promapi.BeginsData(head[:n]) {
			return promapi.SaysPartial(head[:n])
		}
	}
}
