package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// target is where a scenario sends its requests, and the processes whose
// computing counts for it.
type target struct {
	// name is that of the way, for people.
	name string
	// base goes in front of /api/v1.
	base      string
	processes map[string]*stack.Server
}

// measured is what one run found.
type measured struct {
	requests  int
	failures  map[string]int // by status or error
	latencies []time.Duration
	// cpu is the computing of each process, by its name; client that of this one.
	cpu      map[string]time.Duration
	duration time.Duration
}

// quantile returns the latency that a share of the requests stayed below.
func (m measured) quantile(share float64) time.Duration {
	if len(m.latencies) == 0 {
		return 0
	}
	return m.latencies[min(int(share*float64(len(m.latencies))), len(m.latencies)-1)]
}

// cpuOf is the computing of the named processes for one request; of all servers
// where none is named.
func (m measured) cpuOf(names ...string) time.Duration {
	var total time.Duration
	for name, used := range m.cpu {
		if name != client && (len(names) == 0 || slices.Contains(names, name)) {
			total += used
		}
	}
	return total / time.Duration(max(m.requests, 1))
}

// err tells of requests that were not answered as they should be.
func (m measured) err() error {
	if len(m.failures) == 0 {
		return nil
	}
	return fmt.Errorf("of %d requests some failed: %v", m.requests, m.failures)
}

// client is the name of this process among those whose computing is read.
const client = "client"

// httpClient keeps its connections, and trusts every certificate: those of the
// servers here are made up.
func httpClient() *http.Client {
	return &http.Client{
		Timeout: 40 * time.Second,
		Transport: &http.Transport{
			MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // See above.
		},
	}
}

// request makes the next request of a scenario.
type request func(base string) (vegeta.Target, error)

// attack sends requests at a fixed rate for a time, whether they are answered or
// not, and reads what the processes compute meanwhile.
func attack(ctx context.Context, to target, next request, perSecond float64, duration time.Duration) (measured, error) {
	users := httpClient()
	defer users.CloseIdleConnections()
	// An attacker is good for one attack.
	attacker := func() *vegeta.Attacker {
		return vegeta.NewAttacker(vegeta.Client(users), vegeta.MaxBody(0), vegeta.Workers(20), vegeta.MaxWorkers(2000))
	}
	targeter := func(made *vegeta.Target) (err error) {
		*made, err = next(to.base)
		return err
	}
	rate := vegeta.Rate{Freq: int(perSecond * 60), Per: time.Minute}
	// Connections and caches are warm, as they are for a dashboard that stays open.
	for range attacker().Attack(targeter, rate, min(duration/4, 2*time.Second), "") {
	}
	found := measured{failures: map[string]int{}, duration: duration}
	before, err := readCPU(to)
	if err != nil {
		return found, err
	}
	measuring := attacker()
	results := measuring.Attack(targeter, rate, duration, "")
	for results != nil {
		select {
		case result, more := <-results:
			if !more {
				results = nil
				continue
			}
			found.add(result)
		case <-ctx.Done():
			measuring.Stop()
			return found, ctx.Err()
		}
	}
	if wanted := perSecond * duration.Seconds(); float64(found.requests) < leastHeld(duration)*wanted {
		return found, fmt.Errorf("%d requests were made where there should have been %.0f: the machine is too slow for the rate", found.requests, wanted)
	}
	return found, found.finish(to, before)
}

// leastHeld is the share of the requests that has to be made in time. In a short
// run a moment in which nothing runs is much of it.
func leastHeld(duration time.Duration) float64 {
	if duration < 2*time.Second {
		return 0.5
	}
	return 0.9
}

func (m *measured) add(result *vegeta.Result) {
	m.requests++
	if result.Code != http.StatusOK || result.Error != "" {
		m.failures[fmt.Sprintf("%d %s", result.Code, result.Error)]++
		return
	}
	m.latencies = append(m.latencies, result.Latency)
}

func (m *measured) finish(to target, before map[string]time.Duration) error {
	slices.Sort(m.latencies)
	after, err := readCPU(to)
	m.cpu = map[string]time.Duration{}
	for name, used := range after {
		m.cpu[name] = used - before[name]
	}
	return err
}

func readCPU(to target) (map[string]time.Duration, error) {
	found := map[string]time.Duration{}
	var mistakes []error
	read := func(name string, pid int) {
		used, err := stack.CPU(pid)
		found[name] = used
		mistakes = append(mistakes, err)
	}
	read(client, os.Getpid())
	for name, process := range to.processes {
		read(name, process.PID())
	}
	return found, errors.Join(mistakes...)
}

// saturate lets clients ask one request after the other, for a time.
func saturate(ctx context.Context, to target, next request, clients int, duration time.Duration) (measured, error) {
	users := httpClient()
	defer users.CloseIdleConnections()
	found := measured{failures: map[string]int{}, duration: duration}
	before, err := readCPU(to)
	if err != nil {
		return found, err
	}
	attacker := vegeta.NewAttacker(vegeta.Client(users), vegeta.MaxBody(0), vegeta.Workers(uint64(clients)), vegeta.MaxWorkers(uint64(clients))) //nolint:gosec // A few.
	targeter := func(made *vegeta.Target) (err error) {
		*made, err = next(to.base)
		return err
	}
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	// A rate of zero: as fast as the workers are answered.
	for result := range attacker.Attack(targeter, vegeta.Rate{}, duration, "") {
		found.add(result)
	}
	return found, errors.Join(ctx.Err(), found.finish(to, before))
}
