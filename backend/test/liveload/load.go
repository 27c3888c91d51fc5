package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
)

const (
	// beforeOthers is how long one subscriber for each query is alone: then the memory that a
	// stream takes can be told from that of its query.
	beforeOthers = 8 * time.Second
	// settles is how long it takes until every subscriber is there, and mostSettling how long until
	// everything has been evaluated again in the end.
	settles, mostSettling = 10 * time.Second, 3 * time.Minute
	// explained is how long after a restart delays are put down to it.
	explained = 15 * time.Second
)

// load is a load that is under way.
type load struct {
	*world

	streams []*livestream.Stream
	serving *errgroup.Group
	watched watched

	mutex    sync.Mutex
	delays   []delay
	restarts []restart
}

// delay is how long after its step an append came.
type delay struct {
	at    time.Time // when it came
	after time.Duration
}

// restart is a time during which a server restarted.
type restart struct {
	what     string
	from, to time.Time
}

// run follows the queries, and returns what it found.
func (l *load) run(ctx context.Context) (*findings, error) {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	l.serving, following = errgroup.WithContext(following)
	feeding, stopFeeding := context.WithCancel(following)
	defer stopFeeding()
	l.serving.Go(func() error { return l.feed(feeding) })
	if err := l.awaitGateways(ctx); err != nil {
		return nil, err
	}
	l.serving.Go(func() error { return l.watch(following) })
	l.subscribe(following, min(l.queries, l.subscribers))
	sleep(following, beforeOthers)
	l.watched.mark(markFew)
	l.subscribe(following, l.subscribers)
	sleep(following, settles)
	l.watched.mark(markAll)
	l.say("%d subscribers follow %d queries for %s", l.subscribers, l.queries, l.duration)
	began := time.Now()
	if err := l.restartAll(following, began); err != nil {
		return nil, errors.Join(err, l.failure(following))
	}
	sleep(following, time.Until(began.Add(l.duration)))
	l.watched.mark(markEnd)
	stopFeeding()
	l.say("compare %d streams", len(l.streams))
	found, err := l.compare(following)
	if err := errors.Join(err, l.failure(following)); err != nil {
		return nil, err
	}
	cancel()
	return found, l.serving.Wait()
}

// failure returns why the load has ended early, or nil.
func (l *load) failure(following context.Context) error {
	if following.Err() == nil {
		return nil
	}
	return l.serving.Wait()
}

func sleep(ctx context.Context, duration time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(duration):
	}
}

// awaitGateways waits until hot answers through both gateways.
func (l *load) awaitGateways(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, gateway := range l.gateways {
		for {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway.URL+"/api/v1/query?query=sum(up)", http.NoBody)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				_ = response.Body.Close()
				if response.Header.Get("X-Tier") == "hot" {
					break
				}
			}
			if ctx.Err() != nil {
				return fmt.Errorf("hot does not answer through %s: %w", gateway.URL, errors.Join(err, ctx.Err()))
			}
			sleep(ctx, 200*time.Millisecond)
		}
	}
	return nil
}

// subscribe starts streams until there are so many. They begin at either gateway, and connect again
// to any.
func (l *load) subscribe(ctx context.Context, count int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	bases := [2]string{l.gateways[0].URL, l.gateways[1].URL}
	for number := len(l.streams); number < count; number++ {
		values, length := l.subscription(number)
		offset := number/l.queries + number // A query has subscribers at both.
		stream := &livestream.Stream{
			Values: values, Range: length, Client: client, OnAppend: l.note,
			Base: func(attempts int) string {
				if attempts == 0 {
					return bases[offset%2]
				}
				return bases[rand.IntN(2)] //nolint:gosec // Not a secret.
			},
		}
		l.streams = append(l.streams, stream)
		l.serving.Go(func() error {
			if err := stream.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", values, err)
			}
			return nil
		})
		if number%20 == 0 {
			sleep(ctx, 10*time.Millisecond) // People do not come all at once.
		}
	}
}

func (l *load) note(after time.Duration, isFirst bool) {
	if isFirst {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.delays = append(l.delays, delay{time.Now(), after})
}

// restartAll restarts hot, cold and a gateway, one after the other, once in each five minutes.
func (l *load) restartAll(ctx context.Context, began time.Time) error {
	rounds := max(1, int(l.duration/(5*time.Minute)))
	pause := l.duration / time.Duration(3*rounds+1)
	var number atomic.Int64
	for round := range rounds {
		for _, each := range []struct {
			what string
			do   func(context.Context) error
		}{
			{"hot", l.restartHot}, {"cold", l.restartCold}, {"a gateway", func(ctx context.Context) error { return l.restartGateway(ctx, round%2 == 1) }},
		} {
			sleep(ctx, time.Until(began.Add(time.Duration(number.Add(1))*pause)))
			if ctx.Err() != nil {
				return nil //nolint:nilerr // It ends with the load, which says why.
			}
			if len(l.restarts) == 0 {
				l.watched.mark(markSteady)
			}
			made := restart{what: each.what, from: time.Now()}
			l.watched.disturb(made.from.Add(l.duration))
			if err := each.do(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("restart %s: %w", each.what, err)
			}
			made.to = time.Now()
			l.watched.disturb(made.to.Add(explained))
			l.say("restarted %s in %s", each.what, made.to.Sub(made.from).Round(time.Millisecond))
			l.mutex.Lock()
			l.restarts = append(l.restarts, made)
			l.mutex.Unlock()
		}
	}
	return nil
}

// isExplained reports whether a restart explains a delay.
func (l *load) isExplained(each delay) bool {
	for _, made := range l.restarts {
		if each.at.After(made.from) && each.at.Before(made.to.Add(explained)) {
			return true
		}
	}
	return false
}
