package admission_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// held is a fake tier that answers when it is told to.
type held struct {
	*faketier.Tier
	tier    *catalog.Tier
	calls   *admission.Controller
	meters  *admission.Meters
	release chan struct{}
	// arrived gets a value for each request, left for each whose caller has gone.
	arrived, left chan struct{}
}

func newHeld(t *testing.T, limits admission.Limits, answer http.HandlerFunc) *held {
	t.Helper()
	h := &held{Tier: faketier.New(), release: make(chan struct{}), arrived: make(chan struct{}, 100), left: make(chan struct{}, 100)}
	t.Cleanup(h.Close)
	h.Handle(func(w http.ResponseWriter, r *http.Request) {
		h.arrived <- struct{}{}
		select {
		case <-h.release:
			answer(w, r)
		case <-r.Context().Done():
			h.left <- struct{}{}
		}
	})
	base, err := url.Parse(h.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 50})
	require.NoError(t, err)
	gauge := func() prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts{Name: "any"}) }
	h.meters = &admission.Meters{InFlight: gauge(), Queued: gauge(), Waited: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "any"}), Shared: gauge(), Rejected: map[string]prometheus.Counter{}}
	for _, reason := range admission.Rejections() {
		h.meters.Rejected[reason] = gauge()
	}
	h.calls = admission.NewController(limits, h.meters)
	h.tier = catalog.NewTier(catalog.TierOptions{Name: tier.Cold, Client: client, ProbeInterval: time.Hour, Calls: h.calls})
	t.Cleanup(h.tier.Close)
	return h
}

var sharing = admission.Limits{Concurrent: 10, Queue: 10, Wait: 5 * time.Second, SharedBytes: 1 << 20, SharedMemory: admission.NewBudget[string](16<<20, 0).Of("all")}

func panelRequest(t *testing.T, change func(*http.Request)) *promapi.Request {
	t.Helper()
	incoming, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/query_range?query=up&start=1&end=2&step=1", http.NoBody)
	require.NoError(t, err)
	if change != nil {
		change(incoming)
	}
	path := incoming.URL.Path
	endpoint, err := promapi.MatchEndpoint(path)
	require.NoError(t, err)
	request, err := promapi.ReadRequest(incoming, endpoint.Endpoint, path, time.Now())
	require.NoError(t, err)
	return request
}

type result struct {
	status int
	body   string
	err    error
}

// ask asks in the background, with options where there are some.
func (h *held) ask(ctx context.Context, request *promapi.Request, options ...*catalog.CallOptions) <-chan result {
	results := make(chan result, 1)
	go func() {
		response, err := h.tier.Do(ctx, request, append(options, nil)[0])
		if err != nil {
			results <- result{err: err}
			return
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		results <- result{response.StatusCode, string(text), err}
	}()
	return results
}

func (h *held) waitFor(t *testing.T, requests int) {
	t.Helper()
	for range requests {
		select {
		case <-h.arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("the request did not reach the tier")
		}
	}
}

// idle checks that nothing is left over.
func (h *held) idle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return testutil.ToFloat64(h.meters.InFlight) == 0 && testutil.ToFloat64(h.meters.Queued) == 0 && h.calls.Idle()
	}, 10*time.Second, time.Millisecond)
}

// requireReleased waits until no shared answer takes memory. A caller that is
// cancelled gives it back from a goroutine of its own.
func requireReleased(t *testing.T, memory *admission.BudgetShare) {
	t.Helper()
	require.Eventually(t, func() bool { return memory.Held() == 0 }, 10*time.Second, time.Millisecond)
}

// joined waits until that many requests wait for the answer to another one.
func (h *held) joined(t *testing.T, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return h.calls.Joined() == count }, 10*time.Second, time.Millisecond)
}

func TestCoalescer_IdenticalQueriesAreAskedOnce(t *testing.T) {
	h := newHeld(t, sharing, faketier.Success)
	results := []<-chan result{h.ask(t.Context(), panelRequest(t, nil))}
	h.waitFor(t, 1)
	for range 20 {
		// Neither a trace nor the name of a program makes it another question.
		results = append(results, h.ask(t.Context(), panelRequest(t, func(r *http.Request) {
			r.Header.Set("Traceparent", fmt.Sprintf("00-%032d-%016d-01", time.Now().UnixNano(), 1))
			r.Header.Set("User-Agent", "another")
		})))
	}
	h.joined(t, 20)
	close(h.release)
	for _, each := range results {
		require.Equal(t, result{200, faketier.Vector("1"), nil}, <-each)
	}
	require.Len(t, h.Requests(), 1)
	require.InDelta(t, 20, testutil.ToFloat64(h.meters.Shared), 0)
	h.idle(t)
	// The next one is asked anew.
	require.Equal(t, 200, (<-h.ask(t.Context(), panelRequest(t, nil))).status)
	require.Len(t, h.Requests(), 2)
}

func TestCoalescer_DifferentQueriesAreAskedEach(t *testing.T) {
	confined := panelRequest(t, nil)
	confined = confined.Only(url.Values{"query": {`up{namespace="shop"}`}, "start": {"1"}, "end": {"2"}, "step": {"1"}})
	different := map[string]*promapi.Request{
		"the same":  panelRequest(t, nil),
		"parameter": panelRequest(t, func(r *http.Request) { r.URL.RawQuery += "&dedup=false" }),
		"encoding":  panelRequest(t, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") }),
		"accept":    panelRequest(t, func(r *http.Request) { r.Header.Set("Accept", "application/x-protobuf") }),
		"namespace": confined,
		"POST": panelRequest(t, func(r *http.Request) {
			r.Method, r.Body, r.URL.RawQuery = http.MethodPost, io.NopCloser(strings.NewReader(r.URL.RawQuery)), ""
		}),
		"another POST": panelRequest(t, func(r *http.Request) {
			r.Method, r.Body, r.URL.RawQuery = http.MethodPost, io.NopCloser(strings.NewReader("query=down&start=1&end=2&step=1")), ""
		}),
		"path":       panelRequest(t, func(r *http.Request) { r.URL.Path = "/api/v1/labels" }),
		"label":      panelRequest(t, func(r *http.Request) { r.URL.Path = "/api/v1/label/job/values" }),
		"now":        panelRequest(t, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/query", "query=up" }),
		"again now":  panelRequest(t, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/query", "query=up" }),
		"alerts":     panelRequest(t, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/alerts", "" }),
		"alerts too": panelRequest(t, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/alerts", "" }),
	}
	limits := sharing
	limits.Concurrent = 50
	h := newHeld(t, limits, faketier.Success)
	var results []<-chan result
	for _, request := range different {
		results = append(results, h.ask(t.Context(), request))
	}
	h.waitFor(t, len(different))
	require.Zero(t, h.calls.Joined())
	close(h.release)
	for _, each := range results {
		require.Equal(t, 200, (<-each).status)
	}
	h.idle(t)
}

func TestCoalescer_LargeAnswerIsNotShared(t *testing.T) {
	large := strings.Repeat("x", 3<<20)
	for name, hasLength := range map[string]bool{"with a length": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			h := newHeld(t, sharing, func(w http.ResponseWriter, _ *http.Request) {
				if hasLength {
					w.Header().Set("Content-Length", fmt.Sprint(len(large)))
				}
				_, _ = io.WriteString(w, large)
			})
			results := []<-chan result{h.ask(t.Context(), panelRequest(t, nil))}
			h.waitFor(t, 1)
			for range 3 {
				results = append(results, h.ask(t.Context(), panelRequest(t, nil)))
			}
			h.joined(t, 3)
			close(h.release)
			for _, each := range results {
				got := <-each
				require.NoError(t, got.err)
				require.Len(t, got.body, len(large))
			}
			require.Len(t, h.Requests(), 4)
			require.Zero(t, testutil.ToFloat64(h.meters.Shared))
			h.idle(t)
		})
	}
}

func TestCoalescer_MemoryIsBounded(t *testing.T) {
	limits := sharing
	limits.SharedMemory = admission.NewBudget[string](100<<10, 0).Of("all")
	answer := strings.Repeat("x", 80<<10)
	h := newHeld(t, limits, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
	// The first pair is answered, and one of them does not read.
	slow := make(chan *http.Response, 1)
	go func() {
		response, _ := h.tier.Do(context.Background(), panelRequest(t, nil), nil)
		slow <- response
	}()
	h.waitFor(t, 1)
	quick := h.ask(t.Context(), panelRequest(t, nil))
	h.joined(t, 1)
	h.release <- struct{}{}
	require.Len(t, (<-quick).body, len(answer))
	unread := <-slow
	// There is no room for another one that is held.
	another := func(r *http.Request) { r.URL.RawQuery += "&another=1" }
	results := []<-chan result{h.ask(t.Context(), panelRequest(t, another))}
	h.waitFor(t, 1)
	results = append(results, h.ask(t.Context(), panelRequest(t, another)))
	h.joined(t, 1)
	close(h.release)
	for _, each := range results {
		require.Len(t, (<-each).body, len(answer))
	}
	require.Len(t, h.Requests(), 3)
	text, err := io.ReadAll(unread.Body)
	require.NoError(t, err)
	require.Len(t, text, len(answer))
	require.NoError(t, unread.Body.Close())
	h.idle(t)
	requireReleased(t, limits.SharedMemory)
}

func TestCoalescer_BrokenAnswerIsNotShared(t *testing.T) {
	var once sync.Once
	h := newHeld(t, sharing, func(w http.ResponseWriter, r *http.Request) {
		broken := false
		once.Do(func() { broken = true })
		if broken {
			faketier.CutOff(w, r)
		}
		faketier.Success(w, r)
	})
	first := h.ask(t.Context(), panelRequest(t, nil))
	h.waitFor(t, 1)
	others := []<-chan result{h.ask(t.Context(), panelRequest(t, nil)), h.ask(t.Context(), panelRequest(t, nil))}
	h.joined(t, 2)
	h.release <- struct{}{}
	require.ErrorIs(t, (<-first).err, io.ErrUnexpectedEOF)
	h.waitFor(t, 1)
	close(h.release)
	for _, each := range others {
		require.Equal(t, result{200, faketier.Vector("1"), nil}, <-each)
	}
	h.idle(t)
}

// A large answer goes out to who asked first as soon as it is known to be large,
// and others do not wait for its end.
func TestCoalescer_LargeAnswerIsStreamed(t *testing.T) {
	rest := make(chan struct{})
	finish := sync.OnceFunc(func() { close(rest) })
	large := strings.Repeat("x", sharing.SharedBytes+1)
	h := newHeld(t, sharing, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
		_ = http.NewResponseController(w).Flush()
		<-rest
		_, _ = io.WriteString(w, " and last")
	})
	t.Cleanup(finish)
	one := h.begin(context.Background(), t)
	h.waitFor(t, 1)
	other := h.begin(context.Background(), t)
	h.joined(t, 1)
	close(h.release)
	responses := []*http.Response{<-one, <-other}
	for _, response := range responses {
		text := make([]byte, len(large))
		_, err := io.ReadFull(response.Body, text)
		require.NoError(t, err)
		require.Equal(t, large, string(text))
	}
	finish()
	for _, response := range responses {
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, " and last", string(text))
		require.NoError(t, response.Body.Close())
	}
	require.Len(t, h.Requests(), 2)
	h.idle(t)
	requireReleased(t, sharing.SharedMemory)
}

func TestController_OverloadedTierSaysSo(t *testing.T) {
	limits := sharing
	limits.Concurrent, limits.Queue = 1, 1
	h := newHeld(t, limits, faketier.Success)
	request := func(number int) *promapi.Request {
		return panelRequest(t, func(r *http.Request) { r.URL.RawQuery += fmt.Sprint("&number=", number) })
	}
	one := h.ask(t.Context(), request(1))
	h.waitFor(t, 1)
	two := h.ask(t.Context(), request(2))
	require.Eventually(t, func() bool { return testutil.ToFloat64(h.meters.Queued) == 1 }, 10*time.Second, time.Millisecond)
	// It does not wait: those before it are still there.
	var overload *admission.OverloadError
	require.ErrorAs(t, (<-h.ask(t.Context(), request(3))).err, &overload)
	require.InDelta(t, 1, testutil.ToFloat64(h.meters.Queued), 0)
	require.InDelta(t, 1, testutil.ToFloat64(h.meters.Rejected[admission.RejectedFull]), 0)
	// A probe does not wait for queries.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.tier.Run(ctx); close(done) }()
	h.tier.Wait(t.Context())
	require.True(t, h.tier.Status().Available)
	cancel()
	<-done
	close(h.release)
	require.Equal(t, 200, (<-one).status)
	require.Equal(t, 200, (<-two).status)
	h.waitFor(t, 1)
	h.idle(t)

	// Who waits for a call that is not made is not told that the tier was slow.
	h.release = make(chan struct{})
	one = h.ask(t.Context(), request(1))
	h.waitFor(t, 1)
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	got := <-h.ask(short, request(2))
	require.ErrorAs(t, got.err, &overload)
	require.ErrorIs(t, got.err, context.DeadlineExceeded)
	close(h.release)
	<-one
	h.idle(t)
}

// TestCoalescer_ManyAskAtOnce lets many ask the same few things, and some of them go.
func TestCoalescer_ManyAskAtOnce(t *testing.T) {
	h := newHeld(t, sharing, func(w http.ResponseWriter, r *http.Request) {
		size := 1 << 10
		if strings.Contains(r.URL.RawQuery, "number=0") {
			size = 2 << 20
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("number")+strings.Repeat("x", size))
	})
	close(h.release)
	go func() {
		for range h.arrived {
		}
	}()
	var group sync.WaitGroup
	for i := range 600 {
		request := panelRequest(t, func(r *http.Request) { r.URL.RawQuery += fmt.Sprint("&number=", i%5) })
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+i%50)*5*time.Millisecond)
			defer cancel()
			response, err := h.tier.Do(ctx, request, nil)
			if err != nil {
				return
			}
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			if err == nil && (string(text[:1]) != fmt.Sprint(i%5) || len(text) < 1<<10) {
				t.Error("an answer to another question")
			}
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	h.idle(t)
	requireReleased(t, sharing.SharedMemory)
}
