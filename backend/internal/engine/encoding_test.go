package engine

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

func unzipped(t *testing.T, text string) string {
	t.Helper()
	reader, err := gzip.NewReader(strings.NewReader(text))
	require.NoError(t, err)
	plain, err := io.ReadAll(reader)
	require.NoError(t, err)
	return string(plain)
}

// compressed answers with a text, in gzip where the request names just that.
func compressed(t *testing.T, text string) http.HandlerFunc {
	t.Helper()
	body := zipped(t, text)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			_, _ = io.WriteString(w, text)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
	}
}

// manySeries is an answer of about 65 KB that compresses well.
func manySeries() string {
	var series []string
	for i := range 700 {
		series = append(series, fmt.Sprintf(`{"metric":{"__name__":"up","instance":"host-%d","job":"node-exporter"},"value":[1,"%d"]}`, i, i%7))
	}
	return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
}

func TestDo_AnswersThatAreLookedAtStayCompressed(t *testing.T) {
	const empty = `{"status":"success","data":{"resultType":"vector","result":[]}}`
	text := manySeries()
	for name, test := range map[string]struct {
		hot    http.HandlerFunc
		tier   tier.Name
		reason tier.Reason
	}{
		"hot has something": {compressed(t, text), tier.Hot, tier.ReasonBelowThreshold},
		"hot has nothing":   {compressed(t, empty), tier.Cold, tier.ReasonHotEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, told{"/label/__name__": `["up"]`}, told{})
			p.hot.Handle(test.hot)
			p.cold.Handle(compressed(t, text))
			query := p.query(t, url.Values{"query": {`up{job="x"}`}})
			query.Catalog = both
			query.Request.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, []any{test.tier, test.reason}, []any{response.Tier, response.Reason})
			got := body(t, response)
			if test.tier == tier.Cold {
				require.Equal(t, text, got, "cold does not look at the header that names more")
				return
			}
			require.Equal(t, "gzip", response.Header.Get("Content-Encoding"))
			require.Equal(t, string(zipped(t, text)), got, "to the byte")
		})
	}
}

// What is not gzip although it says so, or does not end, is not empty, and passes
// as it came in.
func TestResponse_IsEmptyPassesOnWhatItCannotRead(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"no gzip":            strings.NewReader(strings.Repeat("x", 100)),
		"an end in between":  bytes.NewReader(zipped(t, manySeries())[:500]),
		"empty pieces":       bytes.NewReader(bytes.Repeat(zipped(t, ""), 5000)),
		"a broken reader":    iotest.DataErrReader(io.MultiReader(strings.NewReader("\x1f\x8b\x08"), iotest.ErrReader(errBroken))),
		"nothing whatsoever": strings.NewReader(""),
	} {
		t.Run(name, func(t *testing.T) {
			var copied bytes.Buffer
			response := &Response{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: io.NopCloser(io.TeeReader(body, &copied))}
			require.False(t, response.isEmpty())
			require.Less(t, copied.Len(), 64<<10, "it is not read further than needed")
			got, err := io.ReadAll(response.Body)
			require.Equal(t, copied.String(), string(got))
			if name == "a broken reader" {
				require.ErrorIs(t, err, errBroken)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

var errBroken = errors.New("the connection broke")

// The gateway compresses what was changed: see Response.Rewritten.
func TestDo_WarningsInACompressedAnswer(t *testing.T) {
	p := newTiers(t)
	text := manySeries()
	p.hot.Handle(compressed(t, text))
	ask := func() (*Response, string, error) {
		query := p.query(t, url.Values{"query": {"up"}, "time": {"100"}})
		query.Request.Header.Set("Accept-Encoding", "gzip")
		query.Forced = tier.Hot
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		got, err := io.ReadAll(response.Body)
		require.NoError(t, response.Body.Close())
		return response, string(got), err
	}
	response, got, err := ask()
	require.NoError(t, err)
	require.Equal(t, "gzip", p.hot.Requests()[0].Header.Get("Accept-Encoding"))
	require.Empty(t, response.Header.Get("Content-Encoding"))
	require.True(t, response.Rewritten)
	require.Equal(t, strings.TrimSuffix(text, "}")+`,"warnings":["`+response.Warnings[0]+`"]}`, got)

	p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		body := zipped(t, text)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, got, err = ask()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotEmpty(t, got)
	require.True(t, strings.HasPrefix(text, got))
}

func TestWholeCache_KeepsCompressedAnswersPlain(t *testing.T) {
	p := newWholeTiers(t)
	text := manySeries()
	p.cold.Handle(compressed(t, text))
	ask := func() (*Response, string) {
		query := p.read(t, http.MethodGet, "/api/v1/query", url.Values{"query": {"max_over_time(up[1h])"}, "time": {"2h"}})
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		return response, body(t, response)
	}
	response, got := ask()
	require.Equal(t, []string{CacheMiss, "gzip", string(zipped(t, text))}, []string{response.Cache.Result, response.Header.Get("Content-Encoding"), got})
	require.Eventually(t, func() bool {
		response, got = ask()
		return response.Cache.Result == CacheHit
	}, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, response.Header.Get("Content-Encoding"))
	require.Equal(t, text, got)
	require.Equal(t, 700, response.Cache.Samples)
}
