package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

func (g *served) eventually(t *testing.T, series string, value float64) {
	t.Helper()
	require.Eventually(t, func() bool { return g.metric(t, series) == value }, 10*time.Second, 5*time.Millisecond, "%s is not %g", series, value)
}

// holding lets the requests of a tier wait until the channel is closed.
func holding(tier *faketier.Tier, release <-chan struct{}, answer http.HandlerFunc) (left *atomic.Int64) {
	left = &atomic.Int64{}
	tier.Handle(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			answer(w, r)
		case <-r.Context().Done():
			left.Add(1)
		}
	})
	return left
}

// one is a range query that is like no other.
func one(number int) string {
	now := time.Now().Unix()
	return fmt.Sprintf("/api/v1/query_range?query=up&start=%d&end=%d&step=15&number=%d", now-300, now, number)
}

func TestLimits_OverloadIsAnsweredQuickly(t *testing.T) {
	g := newGateway(t, func(c *config.Config) { c.Limits.Concurrent, c.Limits.Queue = 1, 3 })
	release := make(chan struct{})
	left := holding(g.hot, release, faketier.Success)
	ctx, goAway := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+one(i), http.NoBody)
			if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
				_ = response.Body.Close()
			}
		})
	}
	g.eventually(t, `tierproxy_tier_queries_in_flight{tier="hot"}`, 1)
	g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, 3)

	// It does not wait: those before it are still there.
	response, body := g.ask(t, http.MethodGet, one(6), "")
	require.InDelta(t, 3, g.metric(t, `tierproxy_tier_queries_queued{tier="hot"}`), 0)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	body = regexp.MustCompile(`,"requestId":"[0-9a-f]+"`).ReplaceAllString(body, "")
	require.JSONEq(t, `{"status":"error","errorType":"unavailable","error":"the hot tier has too many queries already: try again in 1s"}`, body)
	require.Equal(t, "hot", response.Header.Get("X-Tier"))
	require.Empty(t, g.cold.Requests(), "the load is not passed on to the other tier")
	require.InDelta(t, 1, g.metric(t, `tierproxy_tier_queries_rejected_total{reason="queue-full",tier="hot"}`), 0)

	// Programs take the same way.
	_, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
	var queryError *datasource.QueryError
	require.ErrorAs(t, err, &queryError)
	require.Equal(t, http.StatusServiceUnavailable, queryError.Status)
	require.Equal(t, time.Second, queryError.RetryAfter)

	// The tier does not count as down for that, and its health is known.
	require.True(t, g.manager.Health().Tiers["hot"].Available)

	// Who goes leaves the queue, and the tier is told.
	goAway()
	group.Wait()
	g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, 0)
	g.eventually(t, `tierproxy_tier_queries_in_flight{tier="hot"}`, 0)
	require.Eventually(t, func() bool { return left.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.Len(t, g.hot.Requests(), 1, "those who waited never reached it")
	close(release)
	response, _ = g.ask(t, http.MethodGet, one(7), "")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// waitingForAnother returns how many requests have joined the call of another
// one and wait for its answer, which no metric tells.
func waitingForAnother() int {
	stacks := make([]byte, 4<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "admission.(*coalescer).follow(")
}

func TestSharing_IdenticalQueriesShareTheAnswerNotTheDecision(t *testing.T) {
	g := newGateway(t, nil)
	release := make(chan struct{})
	holding(g.hot, release, faketier.Success)
	asked := one(1)
	type got struct {
		reason, body string
		status       int
	}
	answers := make(chan got, 3)
	for _, choice := range []string{"auto", "hot", "auto"} {
		go func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+asked, http.NoBody)
			request.Header.Set("X-Tier-Choice", choice)
			// A forced tier is asked with the encoding of the client; otherwise
			// tierproxy may have to read the answer, and asks for none.
			request.Header.Set("Accept-Encoding", "identity")
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				answers <- got{}
				return
			}
			text, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			answers <- got{response.Header.Get("X-Tier-Reason"), string(text), response.StatusCode}
		}()
	}
	require.Eventually(t, func() bool { return waitingForAnother() == 2 && len(g.hot.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	close(release)
	reasons := map[string]int{}
	for range 3 {
		answer := <-answers
		require.Equal(t, http.StatusOK, answer.status)
		require.Equal(t, faketier.Vector("1"), answer.body)
		reasons[answer.reason]++
	}
	require.Equal(t, map[string]int{"below-threshold": 2, "forced": 1}, reasons)
	require.Len(t, g.hot.Requests(), 1)
	require.InDelta(t, 2, g.metric(t, `tierproxy_tier_answers_shared_total{tier="hot"}`), 0)
}

func TestHandler_CompressedAnswersStayCompressed(t *testing.T) {
	g := newGateway(t, func(c *config.Config) { c.Hot.Complete = true })
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write([]byte(faketier.Vector("1")))
	require.NoError(t, writer.Close())
	for encoding, body := range map[string][]byte{"gzip": packed.Bytes(), "zstd": []byte("\x28\xb5\x2f\xfd not looked into"), "": []byte(faketier.Vector("1"))} {
		g.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
				w.Header().Set("Vary", "Accept-Encoding")
			}
			_, _ = w.Write(body)
		})
		response, text := g.ask(t, http.MethodGet, one(1), "", "Accept-Encoding", "zstd, gzip;q=0.5")
		require.Equal(t, encoding, response.Header.Get("Content-Encoding"))
		require.Equal(t, string(body), text)
		requests := g.hot.Requests()
		require.Equal(t, "zstd, gzip;q=0.5", requests[len(requests)-1].Header.Get("Accept-Encoding"))
	}
}

// TestMemory_DoesNotGrowWithTheAnswer streams an answer of 1 GiB. With the race
// detector it streams less and leaves out the resident memory.
func TestMemory_DoesNotGrowWithTheAnswer(t *testing.T) {
	const most = 32 << 20
	total := 1 << 30
	if raced {
		total = 64 << 20
	}
	for name, change := range map[string]func(*config.Config){
		"untouched":    func(c *config.Config) { c.Hot.Complete = true },
		"with warning": func(c *config.Config) { c.Cold.Lag = config.Duration(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, func(c *config.Config) {
				c.Query.Timeout = config.Duration(5 * time.Minute)
				change(c)
			})
			piece := []byte(strings.Repeat(`[1764115200,"0.123456789"],`, 1000))
			tier, ask := g.hot, one(1)
			if name == "with warning" {
				// A forced tier outside of its coverage answers with a warning, which is
				// woven into the answer.
				tier = g.cold
			}
			tier.Handle(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[`)
				for sent := 0; sent < total; sent += len(piece) {
					if _, err := w.Write(piece); err != nil {
						return
					}
				}
				_, _ = io.WriteString(w, `[0,"0"]]}]}}`)
			})
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+ask, http.NoBody)
			require.NoError(t, err)
			request.Header.Set("Accept-Encoding", "identity")
			if tier == g.cold {
				request.Header.Set("X-Tier-Choice", "cold")
			}
			before := memoryNow(t)
			response, err := http.DefaultTransport.RoundTrip(request)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			var (
				read     int64
				heap     uint64
				resident int64
				buffer   = make([]byte, 64<<10)
				tail     []byte
			)
			for next := int64(0); ; {
				n, err := response.Body.Read(buffer)
				read += int64(n)
				tail = append(tail, buffer[max(0, n-400):n]...)
				tail = tail[max(0, len(tail)-400):]
				if read >= next {
					now := memoryNow(t)
					heap, resident = max(heap, now.heap), max(resident, now.resident)
					next += int64(total) / 64
				}
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
			}
			require.Greater(t, read, int64(total))
			require.Equal(t, tier == g.cold, bytes.Contains(tail, []byte(`"warnings"`)), "%s", tail)
			require.Less(t, int64(heap)-int64(before.heap), int64(most), "heap in use")
			if !raced {
				require.Less(t, resident-before.resident, int64(most), "resident memory")
			}
		})
	}
}

type memory struct {
	heap     uint64
	resident int64
}

func memoryNow(t *testing.T) memory {
	t.Helper()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	held, err := stack.MemoryOf(os.Getpid())
	require.NoError(t, err)
	return memory{stats.HeapInuse, held.Resident}
}

// TestAllocations_DoNotGrowWithTheAnswer compares small answers with large ones.
func TestAllocations_DoNotGrowWithTheAnswer(t *testing.T) {
	var size atomic.Int64
	g := newGateway(t, func(c *config.Config) { c.Hot.Complete = true })
	whole := []byte("{" + strings.Repeat("x", 32<<20))
	g.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size.Load()))
		_, _ = w.Write(whole[:size.Load()])
	})
	buffer := make([]byte, 64<<10)
	allocated := func(bytes int64) uint64 {
		size.Store(bytes)
		ask := func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+one(1), http.NoBody)
			require.NoError(t, err)
			response, err := http.DefaultTransport.RoundTrip(request)
			require.NoError(t, err)
			read, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, buffer)
			require.NoError(t, err)
			require.Equal(t, bytes, read)
			require.NoError(t, response.Body.Close())
		}
		ask()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			ask()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 10
	}
	small, large := allocated(1<<10), allocated(32<<20)
	// Client and tier are in the same process; the pool may lose a buffer to the
	// garbage collector.
	require.Less(t, large, small+(256<<10), "a 32 MB answer allocates %d bytes, a small one %d", large, small)
}

func TestTurns_CallersTakeTurnsAtTheTier(t *testing.T) {
	fake := newPersesOfUsers(t, true)
	g := newGateway(t, func(c *config.Config) {
		c.Perses.URL = fake.URL
		c.Limits.Concurrent, c.Limits.Queue = 1, 50
	})
	release := make(chan struct{}, 100)
	var (
		mutex sync.Mutex
		order []string
	)
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		order = append(order, r.URL.Query().Get("who"))
		mutex.Unlock()
		<-release
		faketier.Success(w, r)
	})
	var group sync.WaitGroup
	ask := func(who string, number int) {
		group.Go(func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/proxy/globaldatasources/metrics"+one(number)+"&who="+who, http.NoBody)
			request.Header.Set("Authorization", "Bearer "+who)
			response, err := http.DefaultTransport.RoundTrip(request)
			if err == nil {
				_ = response.Body.Close()
			}
		})
	}
	for i := range 20 {
		ask("flood", i)
	}
	g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, 19)
	ask("other", 100)
	ask("other", 101)
	g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, 21)
	for range 30 {
		release <- struct{}{}
	}
	group.Wait()
	mutex.Lock()
	defer mutex.Unlock()
	require.Len(t, order, 22)
	require.Contains(t, order[:3], "other", "%v", order)
	require.Equal(t, 2, strings.Count(strings.Join(order[:6], " "), "other"), "%v", order)
	require.EqualValues(t, 2, fake.lookups.Load(), "each of them was looked up once")
}
