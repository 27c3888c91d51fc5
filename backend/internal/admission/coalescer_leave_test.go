package admission_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// detached is for the call of a client whose leaving nobody waits for.
var detached = &catalog.CallOptions{DetachOnCancel: true}

func TestCoalescer_CallLivesWhileSomeoneWaits(t *testing.T) {
	h := newHeld(t, sharing, faketier.Success)
	first, leave := context.WithCancel(t.Context())
	second, leaveToo := context.WithCancel(t.Context())
	one := h.ask(first, panelRequest(t, nil), detached)
	h.waitFor(t, 1)
	other := h.ask(second, panelRequest(t, nil), detached)
	h.joined(t, 1)
	leave()
	third := h.ask(t.Context(), panelRequest(t, nil), detached)
	h.joined(t, 2)
	require.Empty(t, h.left)
	h.release <- struct{}{}
	require.Equal(t, 200, (<-other).status)
	require.Equal(t, 200, (<-third).status)
	require.ErrorIs(t, (<-one).err, context.Canceled)
	require.Len(t, h.Requests(), 1)
	h.idle(t)

	first, leave = context.WithCancel(t.Context())
	one = h.ask(first, panelRequest(t, nil), detached)
	h.waitFor(t, 1)
	other = h.ask(second, panelRequest(t, nil), detached)
	h.joined(t, 1)
	leave()
	leaveToo()
	<-one
	<-other
	h.abandoned(t)
	h.idle(t)
}

// abandoned waits until the tier sees that a call was ended.
func (h *held) abandoned(t *testing.T) {
	t.Helper()
	select {
	case <-h.left:
	case <-time.After(10 * time.Second):
		t.Fatal("the call goes on although nobody waits for it")
	}
}

func TestCoalescer_CallerThatMayNotWaitReturnsAtOnce(t *testing.T) {
	errNextTier := errors.New("the next tier is asked")
	for name, options := range map[string]*catalog.CallOptions{
		"its time is over":         detached,
		"it was cancelled":         nil,
		"somebody else is asked":   detached,
		"nobody has joined it yet": detached,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHeld(t, sharing, faketier.Success)
			first, leave := context.WithCancelCause(t.Context())
			one := h.ask(first, panelRequest(t, nil), options)
			h.waitFor(t, 1)
			var other <-chan result
			if name != "nobody has joined it yet" {
				other = h.ask(t.Context(), panelRequest(t, nil), detached)
				h.joined(t, 1)
			}
			switch name {
			case "its time is over":
				leave(context.DeadlineExceeded)
			case "somebody else is asked":
				leave(errNextTier)
			default:
				leave(nil)
			}
			require.ErrorIs(t, (<-one).err, context.Canceled)
			h.abandoned(t)
			if other != nil {
				h.waitFor(t, 1)
				h.release <- struct{}{}
				require.Equal(t, 200, (<-other).status, "it asks for itself")
				require.Len(t, h.Requests(), 2)
			}
			h.idle(t)
		})
	}
}
