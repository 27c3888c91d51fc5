package live_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// newHub returns a hub and a world whose memory is bounded to a number of bytes.
func newHub(bytes int64, change func(*live.Options)) (*live.Hub, *world) {
	memory := admission.NewByteBudget(bytes)
	options := live.Options{Streams: 100, StreamsPerCaller: 100, Freshness: freshness, Memory: memory}
	if change != nil {
		change(&options)
	}
	return live.New(options), &world{series: 3, memory: memory}
}

// follow applies updates until a time. pause is how long the client takes for each.
func follow(t *testing.T, stream *live.Stream, c *client, until time.Time, pause time.Duration) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), until)
	defer cancel()
	for {
		update, err := stream.Next(ctx)
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return
		}
		time.Sleep(pause)
		c.apply(t, update)
	}
}

func subscribe(t *testing.T, hub *live.Hub, query live.Query, resumeAfter int64) *live.Stream {
	t.Helper()
	stream, err := hub.Subscribe(1, query, resumeAfter)
	require.NoError(t, err)
	return stream
}

func TestStream_SnapshotThenNewSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(1<<20, nil)
		defer hub.Drain()
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0)
		defer stream.Close()
		c := newClient(time.Hour)
		follow(t, stream, c, time.Now().Add(10*time.Minute), 0)
		require.Equal(t, 1, c.snapshots)
		require.InDelta(t, 40, c.appends, 1)
		require.Zero(t, c.repeated)
		require.WithinDuration(t, time.Now(), time.UnixMilli(c.last), 16*time.Second)
		c.requireEqual(t, w, 15*time.Second)
	})
}

func TestStream_SubscribersShareOneEvaluationForEachStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		const subscribers = 50
		done := make(chan *client)
		for i := range subscribers {
			length := time.Hour + time.Duration(i%2)*time.Hour
			go func() {
				stream := subscribe(t, hub, w.query(15*time.Second, length), 0)
				defer stream.Close()
				c := newClient(length)
				follow(t, stream, c, time.Now().Add(10*time.Minute), 0)
				done <- c
			}()
		}
		for range subscribers {
			c := <-done
			c.requireEqual(t, w, 15*time.Second)
		}
		// One for each of 40 steps, the first one, and one for the older steps of each range.
		require.InDelta(t, 43, w.evaluations.Load(), 2)
	})
}

// Steps whose samples arrive later are sent again, those that have not changed are not.
func TestStream_LateSamplesAreSentAgain(t *testing.T) {
	for _, step := range []time.Duration{2 * time.Second, 15 * time.Second, time.Minute, 7 * time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, w := newHub(8<<20, nil)
				defer hub.Drain()
				w.lateness, w.quietFrom = freshness-time.Minute, time.Now().Add(20*time.Minute)
				stream := subscribe(t, hub, w.query(step, 30*time.Minute), 0)
				defer stream.Close()
				c := newClient(30 * time.Minute)
				follow(t, stream, c, time.Now().Add(31*time.Minute), 0)
				require.Equal(t, 1, c.snapshots)
				require.Zero(t, c.repeated)
				c.requireEqual(t, w, step)
			})
		})
	}
}

func TestStream_ResumesAfterItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resumed := 0
		hub, w := newHub(8<<20, func(o *live.Options) { o.OnResumed = func() { resumed++ } })
		defer hub.Drain()
		w.lateness, w.quietFrom = freshness-time.Minute, time.Now().Add(40*time.Minute)
		c := newClient(time.Hour)
		for range 10 {
			stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), c.id)
			follow(t, stream, c, time.Now().Add(5*time.Minute), 0)
			stream.Close()
			c.keepSettled()
			time.Sleep(time.Minute)
		}
		require.Equal(t, 9, resumed)
		require.Equal(t, 1, c.snapshots, "each but the first one resumes")
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), c.id)
		defer stream.Close()
		follow(t, stream, c, time.Now().Add(time.Minute), 0)
		c.requireEqual(t, w, 15*time.Second)
	})
}

// A client whose id tells nothing about its window gets a snapshot.
func TestStream_UnusableIDGetsASnapshot(t *testing.T) {
	for name, age := range map[string]time.Duration{"older than the window": 2 * time.Hour, "in the future": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, w := newHub(8<<20, nil)
				defer hub.Drain()
				stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), time.Now().Add(-age).UnixMilli())
				defer stream.Close()
				c := newClient(time.Hour)
				follow(t, stream, c, time.Now().Add(time.Minute), 0)
				require.Equal(t, 1, c.snapshots)
				c.requireEqual(t, w, 15*time.Second)
			})
		})
	}
}

func TestStream_SlowSubscriberGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := 0
		hub, w := newHub(8<<20, func(o *live.Options) { o.OnDropped = func() { dropped++ } })
		defer hub.Drain()
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0)
		defer stream.Close()
		c := newClient(time.Hour)
		follow(t, stream, c, time.Now().Add(time.Hour), 6*time.Minute)
		follow(t, stream, c, time.Now().Add(time.Minute), 0)
		require.Greater(t, dropped, 2)
		require.Equal(t, dropped+1, c.snapshots)
		c.requireEqual(t, w, 15*time.Second)
	})
}

func TestStream_ErrorsDoNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		now := time.Now()
		w.down = []interval{{now, now.Add(time.Minute)}, {now.Add(10 * time.Minute), now.Add(40 * time.Minute)}}
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0)
		defer stream.Close()
		c := newClient(time.Hour)
		follow(t, stream, c, now.Add(50*time.Second), 0)
		require.Positive(t, c.failures)
		require.Zero(t, c.snapshots)
		follow(t, stream, c, now.Add(45*time.Minute), 0)
		require.Less(t, c.failures, 31*60/5+20, "it is tried again after 5 s at most")
		c.requireEqual(t, w, 15*time.Second)
	})
}

// While a tier is down, answers lack a series, and say so. Once it is up, the steps are sent again,
// however old they are.
func TestStream_IncompleteStepsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		now := time.Now()
		w.lacking = []interval{{now, now.Add(3 * time.Minute)}, {now.Add(20 * time.Minute), now.Add(100 * time.Minute)}}
		var clients []*client
		done := make(chan bool)
		for _, length := range []time.Duration{5 * time.Minute, time.Hour, 3 * time.Hour} {
			c := newClient(length)
			clients = append(clients, c)
			go func() {
				stream := subscribe(t, hub, w.query(time.Minute, length), 0)
				defer stream.Close()
				follow(t, stream, c, now.Add(105*time.Minute), 0)
				done <- true
			}()
		}
		for range clients {
			<-done
		}
		for _, c := range clients {
			require.Equal(t, 1, c.snapshots)
			c.requireEqual(t, w, time.Minute)
		}
		require.Less(t, w.evaluations.Load(), int64(105+30))
	})
}

// What arrives late is not sent an hour later only.
func TestStream_LateSamplesOfALongStepAreSentSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		w.series, w.lateness, w.quietFrom = 20, freshness-time.Minute, time.Now().Add(time.Hour*24)
		stream := subscribe(t, hub, w.query(time.Hour, 5*time.Hour), 0)
		defer stream.Close()
		c := newClient(5 * time.Hour)
		follow(t, stream, c, time.Now().Add(3*time.Hour+12*time.Minute), 0)
		require.Equal(t, 1, c.snapshots)
		c.requireEqual(t, w, time.Hour)
		// Ten checks of each of three steps, and the snapshot.
		require.Less(t, w.evaluations.Load(), int64(50))
	})
}

// The value of each step depends on the window.
func TestStream_WholeWindowIsEvaluated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		w.lateness, w.quietFrom = 50*time.Minute, time.Now().Add(time.Hour)
		w.dependsOnStart = true
		query := w.query(15*time.Second, 20*time.Minute)
		query.IsWhole = true
		stream := subscribe(t, hub, query, 0)
		defer stream.Close()
		c := newClient(20 * time.Minute)
		follow(t, stream, c, time.Now().Add(2*time.Hour), 0)
		require.Equal(t, 1, c.snapshots)
		c.requireEqual(t, w, 15*time.Second)
	})
}

// A server of another query language takes over: no step of it stands beside one of before.
func TestStream_AnswersApartReplaceTheWindow(t *testing.T) {
	for name, test := range map[string]struct {
		after          time.Duration
		dependsOnStart bool
	}{
		"from the beginning": {0, false}, "while it is followed": {33 * time.Minute, false}, "its values depend on the start": {0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, w := newHub(8<<20, nil)
				defer hub.Drain()
				w.apartFrom, w.dependsOnStart = time.Now().Add(test.after), test.dependsOnStart
				short, c := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0), newClient(time.Hour)
				defer short.Close()
				follow(t, short, c, time.Now().Add(time.Hour), 0)
				c.requireEqual(t, w, 15*time.Second)
				// It lacks steps of the window.
				long, other := subscribe(t, hub, w.query(15*time.Second, 2*time.Hour), 0), newClient(2*time.Hour)
				defer long.Close()
				follow(t, long, other, time.Now().Add(time.Millisecond), 0)
				other.requireEqual(t, w, 15*time.Second)
				follow(t, long, other, time.Now().Add(time.Minute), 0)
				other.requireEqual(t, w, 15*time.Second)
				follow(t, short, c, time.Now().Add(time.Minute), 0)
				follow(t, long, other, time.Now().Add(time.Second), 0)
				follow(t, short, c, time.Now().Add(time.Millisecond), 0)
				for name, samples := range c.samples {
					for at, value := range samples {
						require.Equal(t, other.samples[name][at], value, "both have the same answer")
					}
				}
			})
		})
	}
}

func TestStream_SwitchSendsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0)
		defer stream.Close()
		c := newClient(time.Hour)
		follow(t, stream, c, time.Now().Add(5*time.Minute), 0)
		other := &world{series: 5, memory: w.memory}
		query := other.query(15*time.Second, time.Hour)
		query.Key = "another"
		stream.Switch(query)
		follow(t, stream, c, time.Now().Add(5*time.Minute), 0)
		require.Equal(t, 2, c.snapshots)
		c.requireEqual(t, other, 15*time.Second)
	})
}

func TestHub_LimitsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := 0
		hub, w := newHub(8<<20, func(o *live.Options) {
			o.Streams, o.StreamsPerCaller, o.OnStreams = 3, 2, func(change int) { open += change }
		})
		defer hub.Drain()
		var streams []*live.Stream
		for _, caller := range []uint64{1, 1, 2} {
			stream, err := hub.Subscribe(caller, w.query(time.Minute, time.Hour), 0)
			require.NoError(t, err)
			streams = append(streams, stream)
		}
		require.Equal(t, 3, open)
		_, err := hub.Subscribe(3, w.query(time.Minute, time.Hour), 0)
		require.ErrorContains(t, err, "live.max_streams")
		require.Positive(t, promapi.AsError(err).RetryAfter)
		streams[2].Close()
		streams[2].Close()
		_, err = hub.Subscribe(1, w.query(time.Minute, time.Hour), 0)
		require.ErrorContains(t, err, "live.max_streams_per_caller")
		stream, err := hub.Subscribe(3, w.query(time.Minute, time.Hour), 0)
		require.NoError(t, err)
		for _, stream := range append(streams, stream) {
			stream.Close()
		}
		require.Zero(t, open)
	})
}

// After the last subscriber and some time, nothing is evaluated, and no memory is in use.
func TestHub_TopicWithoutSubscribersEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		defer hub.Drain()
		for range 20 {
			stream := subscribe(t, hub, w.query(2*time.Second, time.Duration(1+rand.N(60))*time.Minute), 0)
			follow(t, stream, newClient(time.Hour), time.Now().Add(time.Minute), time.Duration(rand.N(40))*time.Second)
			stream.Close()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		evaluations := w.evaluations.Load()
		used, _ := w.memory.Used()
		require.Zero(t, used)
		time.Sleep(time.Hour)
		require.Equal(t, evaluations, w.evaluations.Load())
	})
}

func TestHub_DrainEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(8<<20, nil)
		stream := subscribe(t, hub, w.query(15*time.Second, time.Hour), 0)
		follow(t, stream, newClient(time.Hour), time.Now().Add(time.Minute), 0)
		another := subscribe(t, hub, w.query(15*time.Second, 2*time.Hour), 0)
		update, err := another.Next(t.Context())
		require.NoError(t, err)
		update.Release()
		another.Close()
		hub.Drain()
		_, err = stream.Next(t.Context())
		require.ErrorIs(t, err, live.ErrShutdown)
		stream.Close()
		_, err = hub.Subscribe(1, w.query(15*time.Second, time.Hour), 0)
		require.ErrorContains(t, err, "stopping")
		used, _ := w.memory.Used()
		require.Zero(t, used)
	})
}

// What does not fit into the memory is an error, and works once it fits.
func TestStream_MemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, w := newHub(60<<10, nil)
		defer hub.Drain()
		w.series = 5
		large := w.query(15*time.Second, 20*time.Hour)
		stream := subscribe(t, hub, large, 0)
		c := newClient(100 * time.Hour)
		follow(t, stream, c, time.Now().Add(2*time.Minute), 0)
		require.Zero(t, c.snapshots)
		require.Positive(t, c.failures)
		require.Less(t, c.failures, 20)
		stream.Close()
		small := subscribe(t, hub, w.query(15*time.Second, 5*time.Minute), 0)
		defer small.Close()
		c = newClient(5 * time.Minute)
		follow(t, small, c, time.Now().Add(2*time.Minute), 0)
		c.requireEqual(t, w, 15*time.Second)
	})
}
