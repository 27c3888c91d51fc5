package promapi

import (
	"cmp"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The content encodings that tierproxy reads or writes.
const (
	EncodingPlain = "identity"
	EncodingGzip  = "gzip"
	EncodingZstd  = "zstd"
)

// encodingQuality returns the quality that the Accept-Encoding of a request gives to an
// encoding (RFC 9110, section 12.5.3): 0 if it refuses the encoding. isNamed is false if the
// header does not have the encoding.
func encodingQuality(header http.Header, encoding string) (quality float64, isNamed bool) {
	for _, value := range header["Accept-Encoding"] {
		for part := range strings.SplitSeq(value, ",") {
			name, parameters, err := mime.ParseMediaType(part)
			if err != nil || name != encoding {
				continue
			}
			quality, err = strconv.ParseFloat(cmp.Or(parameters["q"], "1"), 64)
			if err != nil || !(quality > 0) { // It may be NaN.
				quality = 0
			}
			return quality, true
		}
	}
	return 0, false
}

// gzipQuality is encodingQuality of gzip, which "*" stands for, too.
func gzipQuality(header http.Header) float64 {
	quality, isNamed := encodingQuality(header, EncodingGzip)
	if !isNamed {
		quality, _ = encodingQuality(header, "*")
	}
	return quality
}

// AcceptsGzip reports whether the Accept-Encoding of a request allows gzip.
func AcceptsGzip(header http.Header) bool { return gzipQuality(header) > 0 }

// PrefersNothingToGzip reports whether the Accept-Encoding of a request allows gzip, and prefers none
// of the other encodings that tierproxy writes.
func PrefersNothingToGzip(header http.Header) bool {
	quality := gzipQuality(header)
	zstd, _ := encodingQuality(header, EncodingZstd)
	plain, _ := encodingQuality(header, EncodingPlain)
	return quality > 0 && quality >= max(zstd, plain)
}

// RefusesPlain reports whether the Accept-Encoding of a request refuses answers that are not
// compressed.
func RefusesPlain(header http.Header) bool {
	quality, isNamed := encodingQuality(header, EncodingPlain)
	if !isNamed {
		quality, isNamed = encodingQuality(header, "*")
	}
	return isNamed && quality == 0
}

// BestEncoding returns the encoding that the Accept-Encoding of a request prefers. Where it has
// no preference, zstd comes before gzip, and both before EncodingPlain. Only clients that name
// zstd get it, because "*" is older than zstd. A client that accepts nothing that is written here
// gets EncodingPlain.
func BestEncoding(header http.Header) string {
	best, most := EncodingPlain, 0.0
	if quality, _ := encodingQuality(header, EncodingZstd); quality > most {
		best, most = EncodingZstd, quality
	}
	if quality := gzipQuality(header); quality > most {
		best, most = EncodingGzip, quality
	}
	if quality, _ := encodingQuality(header, EncodingPlain); quality > most {
		return EncodingPlain
	}
	return best
}
