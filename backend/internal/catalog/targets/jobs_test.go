package targets

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJobs_ExposeAMetric(t *testing.T) {
	j := NewJobs()
	failure := errors.New("it does not answer")
	ask := func(_ context.Context, metric string, limit int) (jobs []string, err error) {
		switch metric {
		case "fails":
			return nil, failure
		case "many":
			for i := range limit {
				jobs = append(jobs, fmt.Sprintf("job-%d", i))
			}
			return jobs, nil
		case "none":
			return nil, nil
		}
		return []string{"node", "db"}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); j.Run(ctx, ask) }()
	defer func() { cancel(); <-ended }()
	now := time.Now()
	for metric, expected := range map[string]bool{"some": false, "fails": true, "many": true, "none": false} {
		mayExpose, waiting := j.MayExpose("web", metric, now)
		require.True(t, mayExpose, "it is not known yet")
		<-waiting
		mayExpose, waiting = j.MayExpose("web", metric, now)
		require.Equal(t, expected, mayExpose, metric)
		require.Nil(t, waiting)
	}
	mayExpose, _ := j.MayExpose("db", "some", now)
	require.True(t, mayExpose)
	mayExpose, waiting := j.MayExpose("web", "up", now)
	require.True(t, mayExpose, "each target has one")
	require.Nil(t, waiting)
	mayExpose, waiting = j.MayExpose("web", "some", now.Add(2*jobsKnownFor))
	require.True(t, mayExpose, "it may expose it by now")
	require.NotNil(t, waiting)
}
