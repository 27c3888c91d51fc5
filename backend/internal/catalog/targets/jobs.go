package targets

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// mostMetrics is the maximum number of metrics of which the jobs are kept.
	mostMetrics = 2000
	// MostJobs is the maximum number of jobs that expose a metric. Beyond that, any job may.
	MostJobs = 100
	// jobsKnownFor is how long the jobs of a metric count as known.
	jobsKnownFor = 5 * time.Minute
)

// Jobs knows which jobs of a server expose a metric. It is safe for concurrent use.
type Jobs struct {
	mutex   sync.Mutex
	metrics *simplelru.LRU[string, *metricJobs]
	pending []*metricJobs
	wake    chan struct{} // receives when a metric is pending
}

// metricJobs are the jobs of one metric. The mutex of Jobs guards it.
type metricJobs struct {
	metric           string
	jobs             []string // nil for any
	askedAt, knownAt time.Time
	waiting          chan struct{} // closed after the next answer; nil if none is pending
}

// NewJobs returns a Jobs that knows no metric: see Run.
func NewJobs() *Jobs {
	// It fails only for a size below one.
	metrics, _ := simplelru.NewLRU[string, *metricJobs](mostMetrics, nil)
	return &Jobs{metrics: metrics, wake: make(chan struct{}, 1)}
}

// MayExpose reports whether a job exposes a metric. If that is not known, it may, and waiting is closed
// after the next answer. It is nil after a failure.
func (j *Jobs) MayExpose(job, metric string, now time.Time) (mayExpose bool, waiting <-chan struct{}) {
	if metric == "up" {
		return true, nil
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	known, ok := j.metrics.Get(metric)
	if !ok {
		known = &metricJobs{metric: metric}
		j.metrics.Add(metric, known)
	}
	if now.Sub(known.knownAt) < jobsKnownFor {
		return known.jobs == nil || slices.Contains(known.jobs, job), nil
	}
	if known.waiting == nil {
		if now.Sub(known.askedAt) < failedFor || len(j.pending) >= mostPending {
			return true, nil
		}
		known.waiting = make(chan struct{})
		j.pending = append(j.pending, known)
		select {
		case j.wake <- struct{}{}:
		default: // It is awake.
		}
	}
	return true, known.waiting
}

// Run asks for the jobs of metrics until ctx ends. ask returns at most a number of values of the label
// job of the series of a metric.
func (j *Jobs) Run(ctx context.Context, ask func(ctx context.Context, metric string, limit int) ([]string, error)) {
	for {
		next := j.take()
		if next == nil {
			select {
			case <-ctx.Done():
				return
			case <-j.wake:
			}
			continue
		}
		jobs, err := ask(ctx, next.metric, MostJobs+1)
		j.finish(next, jobs, err)
	}
}

func (j *Jobs) take() *metricJobs {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if len(j.pending) == 0 {
		return nil
	}
	next := j.pending[0]
	j.pending = j.pending[1:]
	return next
}

func (j *Jobs) finish(of *metricJobs, jobs []string, err error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	of.askedAt = time.Now()
	if err == nil {
		of.jobs, of.knownAt = append([]string{}, jobs...), of.askedAt
		if len(jobs) > MostJobs {
			of.jobs = nil
		}
	}
	close(of.waiting)
	of.waiting = nil
}
