package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// crowd sends many requests at once and counts the answers by status.
type crowd struct {
	t        *testing.T
	group    sync.WaitGroup
	sent     atomic.Int64
	answered atomic.Int64
	mutex    sync.Mutex
	statuses map[int]int
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{t: t, statuses: map[int]int{}}
	t.Cleanup(c.group.Wait)
	return c
}

// ask sends one request in the background.
func (c *crowd) ask(request *http.Request) {
	c.sent.Add(1)
	c.group.Go(func() {
		status := 0
		if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			status = response.StatusCode
		}
		c.mutex.Lock()
		c.statuses[status]++
		c.mutex.Unlock()
		c.answered.Add(1)
	})
}

// settled waits until each request of the crowds is answered, or is counted by
// one of the gauges. There are no others.
func (g *served) settled(t *testing.T, gauges []string, crowds ...*crowd) {
	t.Helper()
	require.Eventually(t, func() bool {
		var sent, answered int64
		for _, each := range crowds {
			sent, answered = sent+each.sent.Load(), answered+each.answered.Load()
		}
		counted := float64(answered)
		for _, each := range gauges {
			counted += g.metric(t, each)
		}
		return counted >= float64(sent)
	}, 20*time.Second, 5*time.Millisecond)
}

func (c *crowd) count(status int) int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.statuses[status]
}

// atHot are the gauges of queries that hot answers or that wait for it, and
// inGateway is that of all queries.
var (
	atHot     = []string{`tierproxy_tier_queries_in_flight{tier="hot"}`, `tierproxy_tier_queries_queued{tier="hot"}`}
	inGateway = []string{"tierproxy_queries_in_flight"}
)

func newRequest(t *testing.T, target string, header ...string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	return request
}

// turnsGateway has a hot tier that holds each query until it may go, and notes
// who asked.
type turnsGateway struct {
	*served
	release chan struct{}
	mutex   sync.Mutex
	order   []string
}

func newTurnsGateway(t *testing.T, authenticates bool, concurrent, queue int) *turnsGateway {
	t.Helper()
	perses := newPersesOfUsers(t, authenticates)
	g := &turnsGateway{release: make(chan struct{}, 1000)}
	g.served = newGateway(t, func(c *config.Config) {
		c.Perses.URL = perses.URL
		c.Limits.Concurrent, c.Limits.Queue = concurrent, queue
		c.Limits.QueueWait = config.Duration(20 * time.Second)
	})
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		g.mutex.Lock()
		g.order = append(g.order, r.URL.Query().Get("who"))
		g.mutex.Unlock()
		select {
		case <-g.release:
			faketier.Success(w, r)
		case <-r.Context().Done():
		}
	})
	return g
}

// query is a request of somebody to a global datasource, unlike all others.
func (g *turnsGateway) query(t *testing.T, name, who string, number int, header ...string) *http.Request {
	t.Helper()
	return newRequest(t, g.URL+"/proxy/globaldatasources/"+name+one(number)+"&who="+who, header...)
}

// places returns at which places, from 1 on, the queries of somebody reached the tier.
func (g *turnsGateway) places(who string) (places []int) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for i, each := range g.order {
		if each == who {
			places = append(places, i+1)
		}
	}
	return places
}

// An attacker varies something that Perses does not look at. The queue is full
// of its requests, and still the next turn is another caller's.
func TestTurns_WhatPersesIgnoresMakesNoCallers(t *testing.T) {
	for name, test := range map[string]struct {
		authenticates bool
		attacker      func(number int) []string
		victim        []string
	}{
		"half a session beside a token": {
			true,
			func(number int) []string {
				return []string{"Authorization", "Bearer mallory", "Cookie", fmt.Sprintf("jwtSignature=junk%d", number)}
			},
			[]string{"Authorization", "Bearer alice"},
		},
		"a token beside a session": {
			true,
			func(number int) []string {
				return []string{"Authorization", fmt.Sprintf("Bearer junk%d", number), "Cookie", "jwtPayload=mallory; jwtSignature=x"}
			},
			[]string{"Authorization", "Bearer alice"},
		},
		"a signature written in several ways": {
			true,
			func(number int) []string {
				return []string{"Cookie", fmt.Sprintf("jwtPayload=mallory; jwtSignature=%d", number)}
			},
			[]string{"Cookie", "jwtPayload=alice; jwtSignature=x"},
		},
		"an impersonation": {
			true,
			func(number int) []string {
				return []string{"Authorization", "Bearer mallory", "Impersonate-User", fmt.Sprintf("junk%d", number)}
			},
			[]string{"Authorization", "Bearer alice"},
		},
		"any session where Perses has no authentication": {
			false,
			func(number int) []string {
				return []string{"Cookie", fmt.Sprintf("jwtPayload=a.%d; jwtSignature=b", number), "X-Forwarded-For", "192.0.2.66"}
			},
			[]string{"X-Forwarded-For", "192.0.2.1"},
		},
		"an address before the one that Perses adds": {
			false,
			func(number int) []string {
				return []string{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 192.0.2.66", number)}
			},
			[]string{"X-Forwarded-For", "192.0.2.66, 192.0.2.1"},
		},
		"the addresses of a host in a network of IPv6": {
			false,
			func(number int) []string { return []string{"X-Forwarded-For", fmt.Sprintf("2001:db8::%x", number+1)} },
			[]string{"X-Forwarded-For", "2001:db8:0:1::1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			const queue = 20
			g := newTurnsGateway(t, test.authenticates, 1, queue)
			attackers, victims := newCrowd(t), newCrowd(t)
			for i := range 2 * queue {
				attackers.ask(g.query(t, "metrics", "mallory", i, test.attacker(i)...))
			}
			g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, queue)
			g.settled(t, atHot, attackers)
			for i := range 3 {
				victims.ask(g.query(t, "metrics", "alice", 1000+i, test.victim...))
			}
			g.settled(t, atHot, attackers, victims)
			for range 3 * queue {
				g.release <- struct{}{}
			}
			victims.group.Wait()
			require.Equal(t, 3, victims.count(http.StatusOK), "%v", victims.statuses)
			// The first place was taken before the victim came; then they take turns.
			require.Len(t, g.places("alice"), 3)
			for i, place := range g.places("alice") {
				require.LessOrEqual(t, place, 2*(i+1)+1)
			}
		})
	}
}

// Many users of one datasource wait. Somebody asks another one at the same tier.
func TestTurns_DatasourcesTakeTurns(t *testing.T) {
	const queue = 20
	g := newTurnsGateway(t, true, 1, queue)
	crowded, quiet := newCrowd(t), newCrowd(t)
	for i := range queue + 5 {
		crowded.ask(g.query(t, "crowded", "crowd", i, "Authorization", fmt.Sprintf("Bearer user%d", i)))
	}
	g.eventually(t, `tierproxy_tier_queries_queued{tier="hot"}`, queue)
	g.settled(t, atHot, crowded)
	for i := range 3 {
		quiet.ask(g.query(t, "quiet", "alice", 1000+i, "Authorization", "Bearer alice"))
	}
	g.settled(t, atHot, crowded, quiet)
	for range 2 * queue {
		g.release <- struct{}{}
	}
	quiet.group.Wait()
	require.Equal(t, 3, quiet.count(http.StatusOK), "%v", quiet.statuses)
	require.Len(t, g.places("alice"), 3)
	for i, place := range g.places("alice") {
		require.LessOrEqual(t, place, 2*(i+1)+1)
	}
}

// The queries of one caller hang until their deadline. Another caller is answered
// meanwhile.
func TestTurns_HangingQueriesOfOneCallerLeaveSlots(t *testing.T) {
	g := newTurnsGateway(t, true, 12, 100)
	hanging := newCrowd(t)
	for i := range 50 {
		hanging.ask(g.query(t, "metrics", "mallory", i, "Authorization", "Bearer mallory"))
	}
	g.settled(t, atHot, hanging)
	slots := g.metric(t, `tierproxy_tier_queries_in_flight{tier="hot"}`)
	require.GreaterOrEqual(t, slots, 6.0, "one caller alone has at least half of the slots")
	require.Eventually(t, func() bool { return float64(len(g.places("mallory"))) == slots }, 20*time.Second, time.Millisecond, "they are at the tier")
	g.hot.Handle(faketier.Success)
	for i := range 20 {
		request := g.query(t, "metrics", "alice", 1000+i, "Authorization", "Bearer alice")
		response, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	// Those of the other caller still hang.
	g.eventually(t, `tierproxy_tier_queries_in_flight{tier="hot"}`, slots)
	for range 100 {
		g.release <- struct{}{}
	}
	hanging.group.Wait()
	require.Equal(t, 50, hanging.count(http.StatusOK), "%v", hanging.statuses)
}

// One caller asks the same query many times while it hangs. Others who ask it too
// still share its answer.
func TestTurns_JoinedRequestsOfOneCallerLeavePlaces(t *testing.T) {
	g := newTurnsGateway(t, true, 4, 10) // 40 requests may wait for another one's answer.
	target := g.URL + "/proxy/globaldatasources/metrics" + one(1)
	joined, others := newCrowd(t), newCrowd(t)
	for range 100 {
		joined.ask(newRequest(t, target, "Authorization", "Bearer mallory"))
	}
	g.settled(t, inGateway, joined)
	require.Eventually(t, func() bool { return joined.answered.Load() >= 100-1-40 }, 20*time.Second, 5*time.Millisecond)
	for i := range 10 {
		others.ask(newRequest(t, target, "Authorization", fmt.Sprintf("Bearer user%d", i)))
	}
	g.settled(t, inGateway, joined, others)
	require.Zero(t, others.answered.Load(), "none is turned away")
	for range 100 {
		g.release <- struct{}{}
	}
	others.group.Wait()
	require.Equal(t, 10, others.count(http.StatusOK), "%v", others.statuses)
}
