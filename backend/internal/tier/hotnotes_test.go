package tier

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A hot tier that is a Thanos may have lost a store. Nothing is covered then, and what it
// answers nevertheless carries the reason.
func TestPlan_HotThatLostAStore(t *testing.T) {
	note := Note{Detail: "its store with {shard=\"1\"} is gone", Public: "a store is gone"}
	hot := State{Configured: true, Available: true, Oldest: NothingCovered, Newest: 1_000_000, Notes: []Note{note}}
	cold := State{Configured: true, Available: true, Newest: 1_000_000}
	for name, test := range map[string]struct {
		input    Input
		tier     Name
		warnings []string
	}{
		"cold answers":         {Input{Hot: hot, Cold: cold}, Cold, nil},
		"hot is forced":        {Input{Hot: hot, Cold: cold, Forced: Hot}, Hot, []string{"a store is gone"}},
		"hot is the only tier": {Input{Hot: hot}, Hot, []string{"a store is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.input.Extent.Oldest, test.input.Extent.Newest, test.input.Now = 999_000, 1_000_000, 1_000_000
			test.input.Completeness = Complete
			decision, err := Plan(test.input)
			require.NoError(t, err)
			require.Equal(t, test.tier, decision.Tier)
			require.Equal(t, test.warnings, decision.Warnings)
		})
	}
}
