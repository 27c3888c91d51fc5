package tier

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func TestSentence_SaysWhyForEveryRule(t *testing.T) {
	for expected, change := range map[string]func(*Input){
		"hot answers: the query reads 5m at once, less than the threshold of 15m, and hot holds it all": nil,
		"hot answers: the query reads no samples":                                                       func(in *Input) { in.Extent = promql.Extent{Nothing: true} },
		"cold answers: the query reads 15m at once, which is not less than the threshold of 15m":        func(in *Input) { in.Extent.Span = in.Threshold },
		"cold answers: the request asks for the cold tier":                                              func(in *Input) { in.Forced = Cold },
		"cold answers: the query carries the parameter dedup, which only cold knows":                    func(in *Input) { in.ColdParameter = "dedup" },
		"cold answers: there is no hot tier":                                                            func(in *Input) { in.Hot = State{} },
		"cold answers: the hot tier is unavailable":                                                     func(in *Input) { in.Hot.Available = false },
		"hot answers: the cold tier is unavailable":                                                     func(in *Input) { in.Cold.Available = false },
		"cold answers: it is not known from when on hot holds data":                                     func(in *Input) { in.Hot.Oldest = NothingCovered },
		"cold answers: the query reads samples from the beginning on, and hot's begin at 2025-10-09T02:53:20Z": func(in *Input) {
			in.Extent = promql.RangeExtent(time.Time{}, now)
		},
	} {
		t.Run(expected, func(t *testing.T) {
			in := input(change)
			decision, err := Plan(in)
			require.NoError(t, err)
			require.Equal(t, expected, decision.Sentence(in))
		})
	}
}
