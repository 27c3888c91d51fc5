package admission_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// begin asks in the background and returns where the answer arrives, unread.
func (h *held) begin(ctx context.Context, t *testing.T) <-chan *http.Response {
	t.Helper()
	request := panelRequest(t, nil)
	started := make(chan *http.Response, 1)
	go func() {
		response, err := h.tier.Do(ctx, request, nil)
		if err != nil {
			t.Error(err)
		}
		started <- response
	}()
	return started
}

// halves answers in two parts, the second one when rest is closed.
func halves(rest <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-rest:
			_, _ = io.WriteString(w, " and last")
		case <-r.Context().Done():
		}
	}
}

func TestDo_ReadingEndsWithTheContext(t *testing.T) {
	h := newHeld(t, sharing, halves(nil))
	ctx, leave := context.WithCancel(t.Context())
	started := h.begin(ctx, t)
	h.waitFor(t, 1)
	close(h.release)
	response := <-started
	_, err := io.ReadFull(response.Body, make([]byte, 5))
	require.NoError(t, err)
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(response.Body)
		read <- err
	}()
	leave()
	select {
	case err = <-read:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		t.Fatal("it reads on although nobody wants to know")
	}
	require.NoError(t, response.Body.Close())
	h.idle(t)
}

// One who has joined gets the whole answer, although the one who made the call
// goes while it comes in.
func TestDo_LeavingWhileTheAnswerComesIn(t *testing.T) {
	for name, test := range map[string]struct {
		options  *catalog.CallOptions
		requests int
	}{
		"the call goes on":          {&catalog.CallOptions{DetachOnCancel: true}, 1},
		"the other asks for itself": {nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			rest := make(chan struct{})
			h := newHeld(t, sharing, halves(rest))
			ctx, leave := context.WithCancel(t.Context())
			one := h.ask(ctx, panelRequest(t, nil), test.options)
			h.waitFor(t, 1)
			other := h.ask(t.Context(), panelRequest(t, nil))
			h.joined(t, 1)
			h.release <- struct{}{}
			leave()
			if test.requests > 1 {
				h.waitFor(t, 1)
				h.release <- struct{}{}
			}
			close(rest)
			require.Equal(t, result{200, "first and last", nil}, <-other)
			require.ErrorIs(t, (<-one).err, context.Canceled)
			require.Len(t, h.Requests(), test.requests)
			h.idle(t)
			requireReleased(t, sharing.SharedMemory)
		})
	}
}

func TestDo_EachHasAHeaderOfItsOwn(t *testing.T) {
	h := newHeld(t, sharing, faketier.Success)
	one := h.begin(t.Context(), t)
	h.waitFor(t, 1)
	other := h.begin(t.Context(), t)
	h.joined(t, 1)
	close(h.release)
	first, second := <-one, <-other
	first.Header.Set("Content-Type", "changed")
	require.Equal(t, "application/json", second.Header.Get("Content-Type"))
	require.NoError(t, first.Body.Close())
	require.NoError(t, second.Body.Close())
	h.idle(t)
}

// Whoever goes while the tier works on the answer has not met an overloaded tier.
func TestDo_LeavingACallThatWasMadeIsNoOverload(t *testing.T) {
	h := newHeld(t, sharing, faketier.Success)
	ctx, leave := context.WithCancel(t.Context())
	one := h.ask(ctx, panelRequest(t, nil))
	h.waitFor(t, 1)
	other := h.ask(ctx, panelRequest(t, nil))
	h.joined(t, 1)
	leave()
	for _, each := range []<-chan result{one, other} {
		err := (<-each).err
		require.ErrorIs(t, err, context.Canceled)
		var overload *admission.OverloadError
		require.NotErrorAs(t, err, &overload)
	}
	h.idle(t)
}

// A reader that hangs in a write to its own client does not hold a slot for longer
// than its query may take.
func TestDo_TheSlotIsFreeWhenTheContextEnds(t *testing.T) {
	h := newHeld(t, sharing, faketier.Success)
	close(h.release)
	ctx, leave := context.WithCancel(t.Context())
	request := panelRequest(t, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/query", "query=up" })
	response, err := h.tier.Do(ctx, request, nil)
	require.NoError(t, err)
	require.False(t, h.calls.Idle())
	leave()
	h.idle(t)
	require.NoError(t, response.Body.Close())
	h.idle(t)
}
