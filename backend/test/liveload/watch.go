package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// watched is what the gateways have used. It is safe for concurrent use.
type watched struct {
	mutex sync.Mutex
	// total is what all processes of a gateway have used so far, last what the present one has.
	total, last [2]usage
	resident    [2][]int64 // memory in bytes since the last mark
	marks       map[string]mark
	// disturbedUntil is when the last restart is forgotten. calm are the queries outside of such
	// times, and calmTime how long those were.
	disturbedUntil time.Time
	calm           [2]float64
	calmTime       [2]time.Duration
	looked         [2]time.Time
}

// mark is what gateways had used until a moment, and the memory that they held since the one before.
type mark struct {
	used         [2]usage
	median, peak [2]int64
}

// usage grows while a process runs.
type usage struct {
	queries, resumes, dropped float64
	cpu                       time.Duration
}

// The moments that are compared.
const (
	markFew    = "one subscriber for each query"
	markAll    = "all subscribers are there"
	markSteady = "the first restart"
	markEnd    = "end"
)

// mark notes what was used until now.
func (w *watched) mark(name string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.marks == nil {
		w.marks = map[string]mark{}
	}
	made := mark{used: w.total}
	for i, resident := range w.resident {
		if len(resident) > 0 {
			slices.Sort(resident)
			made.median[i], made.peak[i] = resident[len(resident)/2], resident[len(resident)-1]
		}
	}
	w.marks[name], w.resident = made, [2][]int64{}
}

// add adds what a gateway has used when it was looked at.
func (w *watched) add(gateway int, now usage, resident int64) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	last, total := w.last[gateway], &w.total[gateway]
	if now.cpu < last.cpu {
		last = usage{} // It has restarted.
	}
	if at := time.Now(); at.After(w.disturbedUntil) && !w.looked[gateway].IsZero() && w.marks[markAll].used != [2]usage{} {
		w.calm[gateway] += now.queries - last.queries
		w.calmTime[gateway] += at.Sub(w.looked[gateway])
	}
	w.looked[gateway] = time.Now()
	total.queries += now.queries - last.queries
	total.resumes += now.resumes - last.resumes
	total.dropped += now.dropped - last.dropped
	total.cpu += now.cpu - last.cpu
	w.last[gateway] = now
	w.resident[gateway] = append(w.resident[gateway], resident)
}

// disturb says until when a restart may make a difference.
func (w *watched) disturb(until time.Time) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.disturbedUntil = until
}

// watch looks at the gateways until the context ends.
func (l *load) watch(ctx context.Context) error {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for i, gateway := range l.gateways {
			now, err := usageOf(ctx, gateway)
			memory, memoryErr := gateway.Memory()
			if err == nil && memoryErr == nil { // It may be restarting.
				l.watched.add(i, now, memory.Resident)
			}
		}
	}
}

// sample is one of the metrics that are read.
var sample = regexp.MustCompile(`(?m)^tierproxy_(queries|live_resumes|live_dropped)_total(?:\{.*\})? (\S+)$`)

// usageOf returns what a gateway has used.
func usageOf(ctx context.Context, gateway *stack.Server) (found usage, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway.URL+"/metrics", http.NoBody)
	if err != nil {
		return found, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return found, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return found, fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	for _, match := range sample.FindAllStringSubmatch(string(text), -1) {
		number, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return found, err
		}
		switch match[1] {
		case "queries":
			found.queries += number
		case "live_resumes":
			found.resumes += number
		default:
			found.dropped += number
		}
	}
	found.cpu, err = gateway.CPU()
	return found, err
}
