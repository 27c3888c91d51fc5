package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// chromium is the Accept-Encoding of Chromium.
const chromium = "gzip, deflate, br, zstd"

// samplesOf returns an answer of about so many bytes.
func samplesOf(size int) string {
	var text strings.Builder
	text.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"cart"},"values":[`)
	for i := 0; text.Len() < size; i++ {
		text.WriteString(`[` + strconv.Itoa(1767000000+60*i) + `,"` + strconv.Itoa(i*i%1013) + `.5"],`)
	}
	return text.String() + `[0,"0"]]}]}}`
}

// serveAnswers serves what answer returns, as a Gateway sends it.
func serveAnswers(t *testing.T, encoders *encoders, answer func() *engine.Response) string {
	t.Helper()
	g := &Gateway{encoders: encoders}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		response := answer()
		copyHeader(w.Header(), response.Header)
		if response.ContentLength >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
		}
		to := &deadlineWriter{ResponseWriter: w, controller: http.NewResponseController(w), deadline: time.Now().Add(time.Minute)}
		if _, err := g.send(to, incoming, response); err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, target, accepted string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	request.Header["Accept-Encoding"] = []string{accepted}
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// decompressed returns a reader of the text in a body.
func decompressed(t *testing.T, encoding string, body io.Reader) io.Reader {
	t.Helper()
	switch encoding {
	case promapi.EncodingGzip:
		reader, err := gzip.NewReader(body)
		require.NoError(t, err)
		return reader
	case promapi.EncodingZstd:
		reader, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		require.NoError(t, err)
		t.Cleanup(reader.Close)
		return reader
	}
	require.Empty(t, encoding)
	return body
}

func TestSend_CompressesWhatWasRewrittenAsTheClientAccepts(t *testing.T) {
	long, short := samplesOf(300<<10), samplesOf(compressedFrom/2)
	for name, test := range map[string]struct {
		accepted, body string
		isTiers        bool
		expected, vary string
	}{
		"Chromium":                         {chromium, long, false, "zstd", "Accept-Encoding"},
		"gzip":                             {"gzip", long, false, "gzip", "Accept-Encoding"},
		"nothing":                          {"identity", long, false, "", "Accept-Encoding"},
		"another encoding":                 {"br", long, false, "", "Accept-Encoding"},
		"short":                            {chromium, short, false, "", "Accept-Encoding"},
		"just long enough":                 {chromium, samplesOf(compressedFrom), false, "zstd", "Accept-Encoding"},
		"short, but plain text is refused": {"gzip, identity;q=0", short, false, "gzip", "Accept-Encoding"},
		"as the tier sent it":              {chromium, long, true, "", ""},
	} {
		for _, length := range []int64{-1, int64(len(test.body))} {
			t.Run(name+" of length "+strconv.FormatInt(length, 10), func(t *testing.T) {
				target := serveAnswers(t, newEncoders(1), func() *engine.Response {
					return &engine.Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(test.body)), ContentLength: length, Rewritten: !test.isTiers}
				})
				for range 2 { // The second one takes an encoder that was used before.
					response := get(t, target, test.accepted)
					require.Equal(t, []string{test.expected, test.vary}, []string{response.Header.Get("Content-Encoding"), response.Header.Get("Vary")})
					received, err := io.ReadAll(response.Body)
					require.NoError(t, err)
					if length >= 0 && test.expected == "" {
						require.Equal(t, length, response.ContentLength)
					}
					if test.expected != "" && test.body != short {
						require.Less(t, len(received), len(test.body)/2)
					}
					text, err := io.ReadAll(decompressed(t, test.expected, bytes.NewReader(received)))
					require.NoError(t, err)
					require.Equal(t, test.body, string(text))
				}
			})
		}
	}
}

// An answer that is in gzip already goes out so, unless it is short or the client prefers another encoding.
func TestSend_SendsWhatIsInGzipAlready(t *testing.T) {
	long, short := samplesOf(300<<10), samplesOf(compressedFrom/2)
	for accepted, test := range map[string]struct{ body, expected string }{
		chromium: {long, "gzip"}, "gzip": {long, "gzip"}, "zstd": {long, "zstd"}, "zstd, gzip;q=0.5": {long, "zstd"}, "identity": {long, ""}, "gzip, br": {short, ""},
	} {
		inGzip := false
		target := serveAnswers(t, newEncoders(1), func() *engine.Response {
			var packed bytes.Buffer
			writer := gzip.NewWriter(&packed)
			_, _ = io.WriteString(writer, test.body)
			_ = writer.Close()
			body, compressed := &countingReader{from: strings.NewReader(test.body)}, &countingReader{from: &packed}
			t.Cleanup(func() {
				require.Equal(t, inGzip, compressed.read.Load() > 0, accepted)
				require.NotEqual(t, inGzip, body.read.Load() > 0, accepted)
			})
			return &engine.Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Gzip: compressed, ContentLength: int64(len(test.body)), Rewritten: true}
		})
		inGzip = test.expected == promapi.EncodingGzip
		response := get(t, target, accepted)
		require.Equal(t, []string{test.expected, "Accept-Encoding"}, []string{response.Header.Get("Content-Encoding"), response.Header.Get("Vary")})
		text, err := io.ReadAll(decompressed(t, test.expected, response.Body))
		require.NoError(t, err)
		require.Equal(t, test.body, string(text))
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	from io.Reader
	read atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.read.Add(int64(n))
	return n, err
}

// What one caller has read must not show in the answer of another one, not even in its length.
func TestEncoders_ForgetEarlierAnswers(t *testing.T) {
	for _, encoding := range []string{promapi.EncodingGzip, promapi.EncodingZstd} {
		pool, text := newEncoders(1), []byte(samplesOf(100<<10))
		compress := func(texts ...[]byte) string {
			var made bytes.Buffer
			taken, release := pool.take(encoding, &made)
			defer release()
			for _, text := range texts {
				_, err := taken.Write(text)
				require.NoError(t, err)
			}
			require.NoError(t, taken.Close())
			return made.String()
		}
		fresh := compress(text)
		for _, before := range [][]byte{text, []byte(samplesOf(700)), []byte(strings.Repeat("x", 1<<20))} {
			compress(before, text)
			require.Equal(t, fresh, compress(text), encoding)
		}
	}
}

// A truncated answer has no mark of its end, and its connection is aborted.
func TestSend_TruncatedAnswerStaysTruncated(t *testing.T) {
	for _, encoding := range []string{promapi.EncodingGzip, promapi.EncodingZstd} {
		for _, size := range []int{compressedFrom / 2, 10 << 10, 300 << 10} {
			t.Run(encoding+" "+strconv.Itoa(size), func(t *testing.T) {
				sent := samplesOf(size)
				target := serveAnswers(t, newEncoders(1), func() *engine.Response {
					body := io.MultiReader(strings.NewReader(sent), iotest.ErrReader(io.ErrUnexpectedEOF))
					return &engine.Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1, Rewritten: true}
				})
				for range 2 {
					response := get(t, target, encoding)
					received, err := io.ReadAll(response.Body)
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					text, err := io.ReadAll(decompressed(t, response.Header.Get("Content-Encoding"), bytes.NewReader(received)))
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					require.Equal(t, sent, string(text), "all that came in has gone out")
				}
			})
		}
	}
}

// What comes in goes out, also while nothing else comes.
func TestSend_PassesOnWhatHasComeIn(t *testing.T) {
	for _, accepted := range []string{"gzip", "zstd", "identity"} {
		t.Run(accepted, func(t *testing.T) {
			source, sink := io.Pipe()
			target := serveAnswers(t, newEncoders(1), func() *engine.Response {
				return &engine.Response{Status: http.StatusOK, Header: http.Header{}, Body: source, ContentLength: -1, Rewritten: true}
			})
			pieces := []string{`{"status":`, samplesOf(100), samplesOf(100 << 10), samplesOf(10)}
			read := make(chan struct{})
			go func() {
				for _, piece := range pieces {
					_, _ = io.WriteString(sink, piece)
					<-read
				}
				_ = sink.Close()
			}()
			response := get(t, target, accepted)
			body := decompressed(t, response.Header.Get("Content-Encoding"), response.Body)
			for _, piece := range pieces {
				text := make([]byte, len(piece))
				_, err := io.ReadFull(body, text)
				require.NoError(t, err)
				require.Equal(t, piece, string(text))
				read <- struct{}{}
			}
			rest, err := io.ReadAll(body)
			require.NoError(t, err)
			require.Empty(t, rest)
		})
	}
}

// More answers at a time than there are encoders go out as they are.
func TestSend_WithoutAFreeEncoderAnswersArePlain(t *testing.T) {
	pool, text := newEncoders(1), samplesOf(10<<10)
	target := serveAnswers(t, pool, func() *engine.Response {
		return &engine.Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Rewritten: true}
	})
	_, release := pool.take(promapi.EncodingZstd, io.Discard)
	response := get(t, target, chromium)
	require.Empty(t, response.Header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", response.Header.Get("Vary"))
	require.EqualValues(t, len(text), response.ContentLength)
	received, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, text, string(received))
	release()
	require.Equal(t, "zstd", get(t, target, chromium).Header.Get("Content-Encoding"))
}

func TestEncoders_AnAnswerWaitsForAFreeOne(t *testing.T) {
	for wait, expected := range map[time.Duration]bool{encoderWait - time.Millisecond: true, encoderWait + time.Millisecond: false} {
		synctest.Test(t, func(t *testing.T) {
			pool := newEncoders(1)
			_, release := pool.take(promapi.EncodingZstd, io.Discard)
			time.AfterFunc(wait, release)
			taken, _ := pool.take(promapi.EncodingGzip, io.Discard)
			require.Equal(t, expected, taken != nil)
			time.Sleep(wait)
		})
	}
}

// brokenWriter is a client that has gone.
type brokenWriter struct{ *httptest.ResponseRecorder }

var errGone = errors.New("the client is gone")

func (brokenWriter) Write([]byte) (int, error) { return 0, errGone }

func TestSend_ErrorOfTheClientIsNotThatOfTheTier(t *testing.T) {
	for _, accepted := range []string{"gzip", "zstd", "identity"} {
		g := &Gateway{encoders: newEncoders(1)}
		to := &deadlineWriter{ResponseWriter: brokenWriter{httptest.NewRecorder()}, deadline: time.Now().Add(time.Minute)}
		to.controller = http.NewResponseController(to.ResponseWriter)
		body := io.MultiReader(strings.NewReader(samplesOf(1<<20)), iotest.ErrReader(io.ErrUnexpectedEOF))
		_, err := g.send(to, &http.Request{Header: http.Header{"Accept-Encoding": {accepted}}}, &engine.Response{Status: http.StatusOK, Body: io.NopCloser(body), ContentLength: -1, Rewritten: true})
		failed, isClients := errors.AsType[*writeError](err)
		require.True(t, isClients, "%s: %v", accepted, err)
		require.ErrorIs(t, failed.error, errGone)
		require.Empty(t, g.encoders.free, "the encoder is given back")
	}
}

func TestVaryByEncoding_KeepsWhatIsThere(t *testing.T) {
	for given, expected := range map[string][]string{
		"": {"Accept-Encoding"}, "Origin": {"Origin", "Accept-Encoding"}, "*": {"*"}, "Origin, accept-encoding": {"Origin, accept-encoding"},
	} {
		header := http.Header{}
		if given != "" {
			header.Set("Vary", given)
		}
		varyByEncoding(header)
		require.Equal(t, expected, header.Values("Vary"))
	}
}
