package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
)

const (
	// liveStreams follow the panels of a dashboard for the whole of a soak, each with this window and step.
	liveStreams = 40
	liveRange   = 5 * time.Minute
	liveStep    = 5 * time.Second
)

// following are the live streams of a soak.
type following struct {
	streams []*livestream.Stream
	running errgroup.Group
	stop    context.CancelFunc
}

// follow starts the live streams. Close ends them.
func (s *soaking) follow(ctx context.Context) *following {
	f := &following{}
	ctx, f.stop = context.WithCancel(ctx)
	client := httpClient()
	client.Timeout = 0
	for i := range liveStreams {
		stream := &livestream.Stream{
			Values: url.Values{"query": {panels[i%len(panels)]}, "range": {liveRange.String()}, "step": {liveStep.String()}},
			Range:  liveRange, Client: client, Base: func(int) string { return s.gateway.URL },
		}
		f.streams = append(f.streams, stream)
		f.running.Go(func() error { return stream.Run(ctx) })
	}
	return f
}

// close ends the streams. It returns how the gateway broke the contract of live queries.
func (f *following) close() error {
	f.stop()
	return f.running.Wait()
}

// compare waits until each stream has what a tier answers for its window, and returns how they differ. All
// samples are in both tiers from the beginning, so it does not matter which of them is asked.
func (f *following) compare(ctx context.Context, tier string) (summary string, err error) {
	var points, connections, appends int
	last := make([]error, len(f.streams))
	for deadline := time.Now().Add(mostSettling); ; {
		points, connections, appends = 0, 0, 0
		for i, stream := range f.streams {
			equal, problem := compareStream(ctx, stream, tier)
			seen := stream.Seen()
			points, connections, appends = points+equal, connections+seen.Connections, appends+seen.Appends
			if last[i] = problem; problem == nil && seen.Holes > 0 {
				last[i] = fmt.Errorf("%s has %d holes", stream.Values.Get("query"), seen.Holes)
			}
		}
		err = errors.Join(last...)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Second)
	}
	if appends < len(f.streams) {
		err = errors.Join(err, fmt.Errorf("%d live streams had %d appends: the soak was too short to show anything", len(f.streams), appends))
	}
	return fmt.Sprintf("%d live streams over %d connections, %d appends; %d samples equal to those of a tier", len(f.streams), connections, appends, points), err
}

// compareStream counts the samples that a stream and a tier have alike.
func compareStream(ctx context.Context, stream *livestream.Stream, tier string) (points int, err error) {
	state := stream.State()
	if state.Last == 0 {
		return 0, fmt.Errorf("%s has no snapshot: %v", stream.Values.Get("query"), state.Seen)
	}
	status, text, _, err := get(ctx, tier+"/api/v1/query_range?"+url.Values{
		"query": stream.Values["query"], "step": stream.Values["step"],
		"start": {seconds(time.UnixMilli(state.First))}, "end": {seconds(time.UnixMilli(state.Last))},
	}.Encode())
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("the tier answers with status %s: %w", strconv.Itoa(status), err)
	}
	var answer struct{ Data any }
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, err
	}
	points, problem := livestream.Difference(answer.Data, state.Matrix)
	if problem != "" {
		return 0, fmt.Errorf("the live stream of %s differs: %s", stream.Values.Get("query"), problem)
	}
	return points, nil
}
