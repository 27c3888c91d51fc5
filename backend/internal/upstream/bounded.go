package upstream

import (
	"errors"
	"io"
)

// ErrTooLarge is why an answer to a probe is not read.
var ErrTooLarge = errors.New("the answer is larger than the gateway reads")

// boundedReader reads up to a number of bytes and returns ErrTooLarge where
// there is more.
type boundedReader struct {
	source io.Reader
	left   int64
}

// Read implements io.Reader.
func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p[:min(int64(len(p)), r.left+1)])
	if r.left -= int64(n); r.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
