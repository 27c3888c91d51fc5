package live

import (
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// A step that was answered with a warning may lack samples, for instance because a tier was down.
// Once the newest steps have no warning, the older ones are evaluated again.

// recovery is when a topic evaluates incomplete steps again.
type recovery struct {
	next time.Time
	wait time.Duration
}

const (
	firstRecoveryWait = time.Minute
	mostRecoveryWait  = 10 * time.Minute
)

// aboutQuery is how warnings of PromQL begin, and its infos, which Thanos lists among the warnings.
// They are about the query, and stay.
var aboutQuery = []string{"PromQL warning: ", "PromQL info: "}

// mayLack reports whether an answer with such warnings may lack samples.
func mayLack(warnings []string) bool {
	return slices.ContainsFunc(warnings, func(text string) bool {
		return !promapi.IsAboutLanguage(text) && !slices.ContainsFunc(aboutQuery, func(begin string) bool { return strings.HasPrefix(text, begin) })
	})
}

// noteWarnings notes whether the answer that begins at a step had a warning.
func (t *topic) noteWarnings(first int64, isCheck, hasWarnings bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	switch {
	case hasWarnings && (t.incomplete == 0 || first < t.incomplete):
		t.incomplete = first
	case !hasWarnings && isCheck && t.incomplete >= first:
		t.incomplete = 0
	}
	if t.incomplete == 0 {
		t.recovery = recovery{}
	}
}

// recover evaluates the steps before a window whose answers had warnings. If they have none now,
// subscribers get them again.
func (t *topic) recover(w *window, now time.Time) {
	t.mutex.Lock()
	incomplete, earliest := t.incomplete, w.last()-t.longest.Load()
	if incomplete != 0 && incomplete < earliest {
		incomplete = floor(earliest, t.step)
	}
	isDue := incomplete != 0 && incomplete < w.first() && !mayLack(w.answer.Matrix.Warnings) && !now.Before(t.recovery.next)
	t.mutex.Unlock()
	if !isDue {
		return
	}
	t.recovery.wait = min(max(2*t.recovery.wait, firstRecoveryWait), mostRecoveryWait)
	t.recovery.next = now.Add(t.recovery.wait)
	answer, err := t.query.Evaluate(t.ctx, time.UnixMilli(incomplete), time.UnixMilli(w.first()-t.step), false)
	if err != nil {
		return
	}
	isComplete := !mayLack(answer.Matrix.Warnings)
	t.memory.Release(answer.Bytes)
	if !isComplete {
		return
	}
	t.mutex.Lock()
	t.incomplete = 0
	t.mutex.Unlock()
	t.recovery = recovery{}
	t.publish(event{refillFrom: incomplete}, nil)
}
