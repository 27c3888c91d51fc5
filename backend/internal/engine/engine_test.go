package engine

import (
	"context"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// stackContext records the functions of Engine on the deepest stack that looks up
// one of its values.
type stackContext struct {
	context.Context //nolint:containedctx // It is a context itself.
	deepest         []string
}

var methodOfEngine = regexp.MustCompile(`/engine\.\(\*Engine\)\.(\w+)`)

// Value records the stack.
func (c *stackContext) Value(key any) any {
	callers := make([]uintptr, 200)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	var names []string
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if found := methodOfEngine.FindStringSubmatch(frame.Function); found != nil && !slices.Contains(names, found[1]) {
			names = append(names, found[1])
		}
	}
	if len(names) > len(c.deepest) {
		slices.Reverse(names)
		c.deepest = names
	}
	return c.Context.Value(key)
}

func TestDo_PassesTheStepsInTheirOrder(t *testing.T) {
	p := newTiers(t)
	ctx := &stackContext{Context: t.Context()}
	response, err := do(ctx, p.query(t, up))
	require.NoError(t, err)
	_ = body(t, response)
	require.Equal(t, []string{
		"Do", "withinDeadline", "finish", "fallBack", "decode", "keepWhole", "retryOnInconclusive", "askInMetricsQL", "ask",
	}, ctx.deepest, "one tier answers it as a whole")

	engine, query := p.query(t, up).made()
	plan, err := engine.Plan(t.Context(), query)
	require.NoError(t, err)
	ctx = &stackContext{Context: t.Context()}
	response, err = engine.handle(ctx, plan.attempt(plan.Decision))
	require.NoError(t, err)
	_ = body(t, response)
	require.Equal(t, []string{
		"withinDeadline", "finish", "assemble", "unite", "fallBack", "decode", "keepWhole", "retryOnInconclusive", "askInMetricsQL", "ask",
	}, ctx.deepest)
}
