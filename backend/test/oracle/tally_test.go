//go:build e2e

package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// tally counts who answered and why.
type tally struct {
	// observe gets each answer, if it is set.
	observe func(question, reply)
	mutex   sync.Mutex
	total   int
	// usual are those of the test data and the random ones.
	usual, usualHot int
	tiers           map[string]int
	reasons         map[string]int
	both            map[string]int
	warned          int // answers with a warning of the gateway
	// cacheable are the answers of which the cache may hold a part, fromCache
	// those of which it did.
	cacheable, fromCache int
	// neither are questions that read what neither tier holds, neitherDiffers
	// those of them whose answers differ; needless are warnings in a setup
	// without faults although one tier holds everything.
	neither, neitherDiffers, needless int
	// Differences by why they are none of the gateway.
	excused  int // it said so in a warning
	unsure   int // two runs on the oracle differ as well
	tied     int // topk or bottomk took another one of equal values
	refused  int // cold does not know the language so well
	versions int // cold evaluates it in another way: see mayDiffer
}

func (s *tally) add(asked question, got reply) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.tiers == nil {
		s.tiers, s.reasons, s.both = map[string]int{}, map[string]int{}, map[string]int{}
	}
	s.total++
	if s.observe != nil {
		s.observe(asked, got)
	}
	if !slices.Contains([]string{originNow, originAcross, originEdge, originDefaults}, asked.origin) {
		s.usual++
		if got.tier == string(tier.Hot) {
			s.usualHot++
		}
	}
	s.tiers[got.tier]++
	s.reasons[got.reason]++
	s.both[fmt.Sprintf("%-8s %s", got.tier, got.reason)]++
	if got.hasOwnWarning() {
		s.warned++
	}
	if got.cache != "" && !strings.HasPrefix(got.cache, "never") {
		s.cacheable++
		if !strings.Contains(got.cache, "steps=0/") {
			s.fromCache++
		}
	}
}

// hotShare is the part of the test data and the random questions that hot
// answered; those that lead to a certain tier on purpose do not count.
func (s *tally) hotShare() float64 { return float64(s.usualHot) / float64(max(s.usual, 1)) }

// String lists them.
func (s *tally) String() string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.both)) {
		fmt.Fprintf(&text, "%6d  %s\n", s.both[key], key)
	}
	fmt.Fprintf(&text, "%5.1f%%  of the test data and the random questions are answered by hot\n", 100*s.hotShare())
	fmt.Fprintf(&text, "%6d  questions read what neither tier holds, and %d of their answers, which say so, differ; %d other answers warn where no tier has a fault\n", s.neither, s.neitherDiffers, s.needless)
	fmt.Fprintf(&text, "%6d  questions, %d answers with a warning of the gateway. Differences: %d excused by it, %d between two runs on the oracle, %d in which of equal values is taken, %d refused by cold, %d by the version of cold",
		s.total, s.warned, s.excused, s.unsure, s.tied, s.refused, s.versions)
	return text.String()
}
