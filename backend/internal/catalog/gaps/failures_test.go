package gaps

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// failsBy reports whether a look fails if one of its requests does, because nothing else can tell.
func failsBy(request string, status int) bool {
	isList := strings.HasPrefix(request, "/api/v1/series") || strings.HasPrefix(request, "/api/v1/label/")
	isOptional := strings.Contains(request, "topk(") || strings.Contains(request, "max(timestamp(")
	return status == closed || !isList && (status != http.StatusNotFound || !isOptional)
}

// A look fails with the request, or finds its way without it. The next one finds what it would have
// found.
func TestGapDetector_ALookFailsWithItsRequests(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	const hour = time.Hour
	a := []string{"a"}
	for name, parts := range map[string][]catalogtest.Wrote{
		"a gap":           {{From: 6 * hour, To: 2 * hour, Jobs: []string{"a", "b"}}, {From: hour, To: catalogtest.Ahead, Jobs: []string{"a", "b"}}},
		"no gap, no up":   {{From: 6 * hour, To: catalogtest.Ahead, Jobs: a, Metric: "load"}},
		"target replaced": {{From: 6 * hour, To: 3 * hour, Jobs: a}, {From: 3 * hour, To: catalogtest.Ahead, Jobs: []string{"b"}}},
		"nothing new":     {{From: 6 * hour, To: hour, Jobs: a}},
		"nothing":         nil,
	} {
		world := catalogtest.MemoryOf(t, now, parts...)
		bound := now.Add(-6 * hour)
		var expected detector
		expected.look(t, asker{catalogtest.Asking(t, world)}, bound, now)
		for _, status := range []int{closed, http.StatusNotFound, http.StatusInternalServerError} {
			for number, isReached := 1, true; isReached; number++ {
				tapped := tapOf(t, world)
				tapped.fail(number, status)
				var d detector
				err := d.follow(t.Context(), tapped.asker, now)
				if err == nil {
					err = d.scan(t.Context(), tapped.asker, bound.UnixMilli(), now)
				}
				requests := tapped.requests("")
				if isReached = number <= len(requests); !isReached {
					continue
				}
				failed, about := requests[number-1], fmt.Sprintf("%s, status %d: %s", name, status, requests[number-1])
				if !failsBy(failed, status) {
					require.NoError(t, err, about)
					continue
				}
				require.Error(t, err, about)
				tapped.fail(0, 0)
				d.look(t, tapped.asker, bound, now.Add(time.Second))
				require.Equal(t, []bool{expected.complete, expected.ended}, []bool{d.complete, d.ended}, about)
				require.InDelta(t, expected.start, d.start, 1000*15, about)
			}
		}
	}
}

// A look after the first one fails with its requests, too.
func TestFollow_FailsIfNothingTells(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	tapped := tapOf(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}}))
	var d detector
	d.look(t, tapped.asker, now.Add(-time.Hour), now.Add(-time.Minute))
	for _, status := range []int{closed, http.StatusInternalServerError} {
		tapped.fail(1, status)
		require.Error(t, d.follow(t.Context(), tapped.asker, now))
		require.False(t, d.isContinued)
		tapped.fail(1, status)
		require.Error(t, d.checkStart(t.Context(), tapped.asker, d.startCheckedAt.Add(time.Minute)))
	}
}

// The error of one of several requests at once is returned, whatever the others find.
func TestCanariesAt_FailsIfTheServerIsGone(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	tapped := tapOf(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: time.Hour, To: catalogtest.Ahead, Jobs: []string{"a", "b", "c"}}))
	_, err := tapped.canariesAt(t.Context(), "", now, 0)
	require.NoError(t, err)
	for number := range tapped.requests("") {
		tapped.fail(number+1, closed)
		_, err := tapped.canariesAt(t.Context(), "", now, 0)
		require.Error(t, err)
		require.False(t, slices.ContainsFunc(tapped.requests(""), func(asked string) bool { return strings.Contains(asked, "__name__/values") }), "it does not go on")
	}
}

// Whether a server has no series, or time is up, is not the same.
func TestCanariesAt_FailsIfTimeIsUp(t *testing.T) {
	for _, path := range []string{"/api/v1/label/__name__/values", "/api/v1/series"} {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.URL.Path == path && request.FormValue("match[]") != "up{}" {
				cancel()
				<-request.Context().Done()
				return
			}
			data := catalogtest.EmptyVector
			if request.URL.Path != "/api/v1/query" {
				data = `[]`
			}
			if strings.Contains(request.URL.Path, "__name__") {
				data = `["load"]`
			}
			_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
		}))
		t.Cleanup(server.Close)
		_, err := asker{catalogtest.Asking(t, server.URL)}.canariesAt(ctx, "", time.Now(), 0)
		require.ErrorIs(t, err, context.Canceled)
	}
}
