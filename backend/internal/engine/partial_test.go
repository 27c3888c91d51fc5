package engine

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// partially makes an answer one that says that it is partial, as a cluster of
// VictoriaMetrics does.
func partially(answer string) string {
	return strings.Replace(answer, `"status":"success",`, `"status":"success","isPartial":true,`, 1)
}

// partialSteps is steps of a tier that answers in part.
func partialSteps(names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		recorder := &recorded{header: http.Header{}}
		steps(names...)(recorder, request)
		_, _ = fmt.Fprint(w, partially(recorder.text.String()))
	}
}

const warningOfPartial = `"` + promapi.PartialWarning + `"`

func TestAsk_PartialAnswersCarryAWarning(t *testing.T) {
	series := strings.TrimPrefix(manySeries(), `{"status":"success",`)
	for name, test := range map[string]struct {
		answer   string
		expected bool
	}{
		"as VictoriaMetrics says it":     {`{"status":"success","isPartial":true,` + series, true},
		"with white space":               {"{\n  \"status\" : \"success\",\n  \"isPartial\" : true,\n  " + series, true},
		"with other members in between":  {`{"status":"success","a":"` + strings.Repeat("x", 80) + `","isPartial":true,` + series, true},
		"behind the data of a short one": {`{"data":[],"isPartial":true,"status":"success"}`, true},
		"it is whole":                    {`{"status":"success","isPartial":false,` + series, false},
		"nothing is said":                {`{"status":"success",` + series, false},
		"a text":                         {`{"status":"success","data":["\"isPartial\":true","isPartial",true]}`, false},
		"no data at all":                 {`{"status":"success","isPartial":true}`, true},
	} {
		for _, encoding := range []string{"identity", "gzip"} {
			t.Run(name+", "+encoding, func(t *testing.T) {
				p := newTiers(t)
				p.cold.Handle(compressed(t, test.answer))
				query := p.query(t, url.Values{"query": {"up"}})
				query.Hot, query.Request.Header = nil, http.Header{"Accept-Encoding": {encoding}}
				response, err := do(t.Context(), query)
				require.NoError(t, err)
				text := body(t, response)
				if response.Header.Get("Content-Encoding") == "gzip" {
					require.Equal(t, "gzip", encoding)
					text = unzipped(t, text)
				}
				if !test.expected {
					require.Equal(t, test.answer, text)
					return
				}
				require.Equal(t, strings.TrimSuffix(test.answer, "}")+`,"warnings":[`+warningOfPartial+`]}`, text)
				require.Equal(t, []string{promapi.PartialWarning}, response.Warnings)
			})
		}
	}
}

// Decode gives the warning once, although it is in the text as well.
func TestResponse_DecodesPartialAnswers(t *testing.T) {
	p := newTiers(t)
	p.cold.Handle(faketier.Status(200, partially(faketier.Vector("1"))))
	query := p.query(t, up)
	query.Hot = nil
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, tier.Cold, response.Tier)
	answer, err := response.Decode(t.Context())
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, []string{promapi.PartialWarning}, answer.Warnings)
}

func TestAssemble_PartialPiecesCarryAWarningAndAreNotKept(t *testing.T) {
	p := newCachedTiers(t)
	p.cold.Handle(partialSteps("a", "gaps"))
	for _, strategy := range []tier.Strategy{tier.StrategySplit, tier.StrategyRoute} {
		p.never(t, func() asking {
			query := p.at(t, 0, 4*time.Hour, nil)
			query.Strategy = strategy
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Contains(t, body(t, response), `"warnings":[`+warningOfPartial+`]`, "%s", strategy)
			return query
		})
	}
	p.cold.Handle(steps("a", "gaps"))
	p.hot.Handle(partialSteps("a", "gaps"))
	response, err := do(t.Context(), p.at(t, 0, 4*time.Hour, nil))
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed}, []any{response.Tier, response.Reason})
	require.NotContains(t, body(t, response), "warnings", "cold has it all")
}

// What is missing from a partial answer of hot may be in cold.
func TestAsk_APartialAnswerOfHotIsAFailure(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(faketier.Status(200, partially(faketier.Vector("1"))))
	p.cold.Handle(faketier.Status(200, faketier.Vector("2")))
	response, err := do(t.Context(), p.query(t, up))
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed, faketier.Vector("2")}, []any{response.Tier, response.Reason, body(t, response)})
	query := p.query(t, up)
	query.Cold = nil
	response, err = do(t.Context(), query)
	require.NoError(t, err)
	require.Contains(t, body(t, response), warningOfPartial, "there is no other tier")
}

func TestWholeCache_RejectsPartialAnswers(t *testing.T) {
	for name, asked := range old {
		for _, encoding := range []string{"identity", "gzip"} {
			t.Run(name+", "+encoding, func(t *testing.T) {
				p := newWholeTiers(t)
				p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
					compressed(t, partially(answerTo(request)))(w, request)
				})
				p.neverKept(t, true, func() asking {
					query := p.read(t, http.MethodGet, asked.path, asked.parameters)
					query.Request.Header.Set("Accept-Encoding", encoding)
					return query
				})
			})
		}
	}
}

func TestUnite_PartialPartsCarryAWarning(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	p.hot.Handle(faketier.Status(200, partially(`{"status":"success","data":{"groups":[]}}`)))
	p.cold.Handle(faketier.Status(200, `{"status":"success","data":{"groups":[]}}`))
	response, text := p.ask(t, both, promapi.Rules, "/api/v1/rules", url.Values{})
	require.Equal(t, tier.Both, response.Tier)
	require.JSONEq(t, `{"status":"success","data":{"groups":[]},"warnings":[`+warningOfPartial+`]}`, text)
}

// A head that comes in piece by piece, or not at all, passes as it came in.
func TestResponse_LooksAtAnyHead(t *testing.T) {
	for name, text := range map[string]string{
		"whole": manySeries(), "partial": partially(manySeries()), "short": `{}`, "long without data": `{"a":"` + strings.Repeat("x", 9000) + `"}`,
	} {
		for encoding, sent := range map[string]string{"identity": text, "gzip": string(zipped(t, text)), "no gzip": text} {
			t.Run(name+", "+encoding, func(t *testing.T) {
				response := &Response{Header: http.Header{}, Body: io.NopCloser(iotest.OneByteReader(strings.NewReader(sent)))}
				if encoding != "identity" {
					response.Header.Set("Content-Encoding", "gzip")
				}
				require.NoError(t, response.warnIfPartial())
				require.Equal(t, name == "partial" && encoding != "no gzip", len(response.Warnings) == 1)
				require.LessOrEqual(t, len(response.started().start), mostZippedHead)
				got, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				require.Equal(t, sent, string(got))
			})
		}
	}
}

func TestWarnIfPartial_AnAnswerThatBreaksOffIsAnError(t *testing.T) {
	for _, encoding := range []string{"", "gzip", "zstd"} {
		response := answered(tier.Cold, 200, "")
		response.Header.Set("Content-Encoding", encoding)
		require.NoError(t, response.warnIfPartial(), "it is empty")
		if encoding == "zstd" {
			continue // It is not looked at.
		}
		response = answered(tier.Cold, 200, "")
		response.Header.Set("Content-Encoding", encoding)
		response.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		require.ErrorIs(t, response.warnIfPartial(), io.ErrUnexpectedEOF)
	}
}

// What follows the data counts if it has come in with it.
func TestIsPartial_BehindTheData(t *testing.T) {
	long := strings.Repeat("x", 500)
	for text, expected := range map[string]bool{
		`{"data":["` + long + `"],"isPartial":true,"status":"success"}`:  true,
		`{"data":["` + long + `"],"isPartial":false,"status":"success"}`: false,
		`{"status":"success","data":["` + long + `"],"isPartial":true}`:  false, // Nobody writes it there.
	} {
		require.Equal(t, expected, answered(tier.Cold, 200, text).isPartial(), text)
	}
}
