package gateway_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// An answer with a warning of tierproxy goes out compressed, whether it came in compressed or not.
func TestHandler_AnswersWithAWarningAreCompressed(t *testing.T) {
	sample := `{"metric":{"__name__":"up","instance":"10.0.0.1:9100","job":"node-exporter"},"value":[100,"1"]}`
	text := `{"status":"success","data":{"resultType":"vector","result":[` + strings.Repeat(sample+",", 2000) + sample + `]}}`
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(writer, text)
	require.NoError(t, writer.Close())
	for _, isCompressed := range []bool{true, false} {
		g := newGateway(t, nil)
		g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
			if !isCompressed || r.Header.Get("Accept-Encoding") != "gzip" {
				_, _ = io.WriteString(w, text)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		})
		for accepted, expected := range map[string]string{"gzip, deflate, br, zstd": "zstd", "gzip": "gzip", "br": ""} {
			response, got := g.ask(t, http.MethodGet, "/api/v1/query?query=up&time=100", "", "Accept-Encoding", accepted, "X-Tier-Choice", "hot")
			require.Equal(t, []string{expected, "Accept-Encoding"}, []string{response.Header.Get("Content-Encoding"), response.Header.Get("Vary")})
			var reader io.Reader = strings.NewReader(got)
			switch expected {
			case "zstd":
				decoder, err := zstd.NewReader(reader)
				require.NoError(t, err)
				defer decoder.Close()
				reader = decoder
			case "gzip":
				decoder, err := gzip.NewReader(reader)
				require.NoError(t, err)
				reader = decoder
			}
			plain, err := io.ReadAll(reader)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(plain), strings.TrimSuffix(text, "}")+`,"warnings":["the hot tier answered, whose data begins at `), "%.200s", plain)
			require.True(t, expected == "" || len(got) < len(text)/10)
		}
	}
}
