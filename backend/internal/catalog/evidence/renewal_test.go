package evidence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDue_NamesOfAGroupAreLookedForTogether has names whose whole window was looked at at different
// times: they need one request, not one for those that are due and one for the others.
func TestDue_NamesOfAGroupAreLookedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{ProbeInterval: 5 * time.Second, LearnInterval: time.Minute})
		others, more := Group(`cluster!="lab"`), Group(`cluster!="b"`)
		add := func(group Group, name string, whole, recent, used time.Duration) {
			now := time.Now()
			x.states.Add(nameKey{group, name}, &nameState{
				known: true, window: time.Hour, whole: now.Add(-whole), recent: now.Add(-recent), certain: now.Add(-recent), used: now.Add(-used),
			})
		}
		add(others, "a", 61*time.Second, 31*time.Second, 0)
		add(others, "b", 31*time.Second, 31*time.Second, 31*time.Second)
		add(others, "unused", 5*time.Minute, 5*time.Minute, 5*time.Minute)
		add(others, "fresh", time.Second, time.Second, 0)
		add(more, "c", 31*time.Second, 31*time.Second, 0)
		wanted := map[renewal][]string{
			{group: others, window: time.Hour, whole: true}: {"a", "b"},
			{group: more, window: time.Minute}:              {"c"},
		}
		requireDue := func(expected map[renewal][]string, isStrained bool) {
			due := x.due(time.Now(), isStrained)
			for of := range due {
				require.ElementsMatch(t, expected[of], due[of], "%+v", of)
			}
			require.Len(t, due, len(expected))
		}
		requireDue(wanted, false)

		time.Sleep(10 * time.Second) // Nobody waits for the others now.
		requireDue(nil, false)
		wanted[renewal{group: others, window: time.Hour, whole: true}] = []string{"a", "b", "unused", "fresh"}
		requireDue(wanted, true)
	})
}
