package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// explained is how long after a tier is up again a failure is put down to
	// that: the gateway asks every second whether it is.
	explained = 3 * time.Second
	// settling is how long everything takes to calm down, and the most that it
	// may take at the end.
	settling     = 5 * time.Second
	mostSettling = 30 * time.Second
)

// outage is a time during which a tier was down.
type outage struct {
	tier     string
	from, to time.Time // to is the zero time while it lasts
}

// outages are those of a soak. They are safe for concurrent use.
type outages struct {
	mutex sync.Mutex
	list  []outage
}

func (o *outages) begin(tier string) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.list = append(o.list, outage{tier: tier, from: time.Now()})
}

func (o *outages) end() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.list[len(o.list)-1].to = time.Now()
}

// explain reports whether a tier was down at some time between the beginning of a
// request and its end, or shortly before.
func (o *outages) explain(from, to time.Time) bool {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for _, each := range o.list {
		if each.from.Before(to) && (each.to.IsZero() || each.to.Add(explained).After(from)) {
			return true
		}
	}
	return false
}

// restarting is a Prometheus that is killed and started again on the same port.
type restarting struct {
	name    string
	port    int
	current *stack.Server
}

// soaking is a soak that is under way.
type soaking struct {
	*world
	report  report
	tiers   []*restarting
	gateway *stack.Server
	outages outages
}

// held is what the gateway holds.
type held struct {
	goroutines, descriptors float64
	memory                  stack.Memory
}

// soak asks a gateway at a fixed rate, and follows live queries, while its tiers are killed and started at
// random. It returns an error unless goroutines, file descriptors and memory are flat at the end, every failure
// is explained by a tier that was down, and every live stream has what a tier answers.
func soak(ctx context.Context, out io.Writer, duration time.Duration, rate float64) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-soak-")
	if err != nil {
		return err
	}
	s := &soaking{world: &world{dir: dir, progress: os.Stderr}, report: report{out: out}}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer s.stop()
	if err := s.prepare(ctx, duration); err != nil {
		return err
	}
	s.report.progress("%s at %.0f requests a second, load average %s", duration, rate, loadAverage())

	followed := s.follow(ctx)
	defer func() { err = errors.Join(err, followed.close()) }()
	// What is held once everything has been used counts as the beginning.
	warm := min(duration/10, time.Minute)
	if _, err := s.ask(ctx, warm, rate); err != nil {
		return err
	}
	before, err := s.settled(ctx, nil)
	if err != nil {
		return err
	}
	s.report.progress("at the beginning: %s", before)
	results, err := s.askWhileTiersRestart(ctx, duration-warm, rate)
	if err != nil {
		return err
	}
	after, err := s.settled(ctx, &before)
	if err != nil {
		return err
	}
	s.report.progress("at the end: %s", after)
	summary, err := followed.compare(ctx, s.tiers[0].current.URL)
	s.report.progress("%s", summary)
	return errors.Join(err, s.judge(results, before, after))
}

// prepare starts two tiers, either of which holds what is asked for, and the
// gateway.
func (s *soaking) prepare(ctx context.Context, duration time.Duration) error {
	if err := s.buildFor(ctx, []string{"prometheus"}, max(future, duration+time.Hour)); err != nil {
		return err
	}
	if err := os.CopyFS(s.path("cold"), os.DirFS(s.path("hot"))); err != nil {
		return err
	}
	for _, name := range []string{"hot", "cold"} {
		port, err := stack.FreePort()
		if err != nil {
			return err
		}
		tier := &restarting{name: name, port: port}
		if err := s.startTier(ctx, tier); err != nil {
			return err
		}
		s.tiers = append(s.tiers, tier)
	}
	var err error
	s.gateway, err = s.tierproxy(ctx, "tierproxy", document{
		"hot": document{"url": s.tiers[0].current.URL, "complete": true}, "cold": document{"url": s.tiers[1].current.URL},
		"probe": document{"interval": "1s"},
	})
	return err
}

func (s *soaking) startTier(ctx context.Context, tier *restarting) (err error) {
	tier.current, err = s.prometheus(ctx, tier.name, func(p *stack.Prometheus) { p.Port = tier.port })
	return err
}

// outcome is one request of a soak.
type outcome struct {
	from, to time.Time
	status   uint16
	problem  string
}

// ask asks for panels of the last minutes and, now and then, of the last hours.
func (s *soaking) ask(ctx context.Context, duration time.Duration, rate float64) ([]outcome, error) {
	users := httpClient()
	defer users.CloseIdleConnections()
	attacker := vegeta.NewAttacker(vegeta.Client(users), vegeta.MaxBody(0), vegeta.Workers(20), vegeta.MaxWorkers(2000))
	panel := dashboards(func() window {
		if rand.IntN(20) == 0 { //nolint:gosec // Not a secret.
			return lastHour
		}
		return lastMinutes
	})
	targeter := func(made *vegeta.Target) (err error) {
		*made, err = panel(s.gateway.URL)
		return err
	}
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	var found []outcome
	for result := range attacker.Attack(targeter, vegeta.Rate{Freq: int(rate * 60), Per: time.Minute}, duration, "") {
		found = append(found, outcome{result.Timestamp, result.Timestamp.Add(result.Latency), result.Code, result.Error})
	}
	return found, ctx.Err()
}

// askWhileTiersRestart kills one tier at a time.
func (s *soaking) askWhileTiersRestart(ctx context.Context, duration time.Duration, rate float64) ([]outcome, error) {
	restarting, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- s.restart(restarting, min(5*time.Second, duration/10), min(25*time.Second, duration/4))
	}()
	results, err := s.ask(ctx, duration, rate)
	stop()
	return results, errors.Join(err, <-ended)
}

// restart restarts a tier after every pause, which is drawn between two bounds.
func (s *soaking) restart(ctx context.Context, shortest, longest time.Duration) error {
	between := func(least, most time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(least + rand.N(most-least)): //nolint:gosec // Not a secret.
			return true
		}
	}
	for between(shortest, longest) {
		tier := s.tiers[rand.IntN(len(s.tiers))] //nolint:gosec // Not a secret.
		s.outages.begin(tier.name)
		if rand.IntN(2) == 0 { //nolint:gosec // Not a secret.
			tier.current.Kill()
		} else if err := tier.current.Stop(); err != nil {
			return err
		}
		between(0, 5*time.Second)
		// It is started even when the soak is over.
		if err := s.startTier(context.WithoutCancel(ctx), tier); err != nil {
			return fmt.Errorf("start %s again: %w", tier.name, err)
		}
		s.outages.end()
	}
	return nil
}

// metricLine is a sample of the gateway's own metrics.
var metricLine = regexp.MustCompile(`(?m)^(go_goroutines|process_open_fds) (\S+)$`)

func (s *soaking) held(ctx context.Context) (held, error) {
	status, text, _, err := get(ctx, s.gateway.URL+"/metrics")
	if err != nil || status != http.StatusOK {
		return held{}, fmt.Errorf("read the metrics of the gateway: status %d: %w", status, err)
	}
	var found held
	for _, match := range metricLine.FindAllStringSubmatch(string(text), -1) {
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return found, err
		}
		if match[1] == "go_goroutines" {
			found.goroutines = value
		} else {
			found.descriptors = value
		}
	}
	found.memory, err = s.gateway.Memory()
	return found, err
}

// settled waits until the gateway has calmed down and, at the end, holds no more
// than before, and returns what it holds then.
func (s *soaking) settled(ctx context.Context, before *held) (held, error) {
	started := time.Now()
	for {
		select {
		case <-ctx.Done():
			return held{}, ctx.Err()
		case <-time.After(settling):
		}
		now, err := s.held(ctx)
		if err != nil || before == nil || before.flat(now) == nil || time.Since(started) > mostSettling {
			return now, err
		}
	}
}

// String lists what is held.
func (h held) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f file descriptors, %s resident, %s at most", h.goroutines, h.descriptors,
		megabytes(float64(h.memory.Resident)), megabytes(float64(h.memory.Peak)))
}

// flat returns what has grown.
func (h held) flat(after held) error {
	// Idle connections to the tiers come and go, with two goroutines each.
	const connections = 10
	var mistakes []error
	if after.goroutines > h.goroutines+2*connections {
		mistakes = append(mistakes, fmt.Errorf("goroutines have grown from %.0f to %.0f", h.goroutines, after.goroutines))
	}
	if after.descriptors > h.descriptors+connections {
		mistakes = append(mistakes, fmt.Errorf("file descriptors have grown from %.0f to %.0f", h.descriptors, after.descriptors))
	}
	if after.memory.Resident > h.memory.Resident+16<<20 {
		mistakes = append(mistakes, fmt.Errorf("resident memory has grown from %s to %s", megabytes(float64(h.memory.Resident)), megabytes(float64(after.memory.Resident))))
	}
	return errors.Join(mistakes...)
}

func (s *soaking) judge(results []outcome, before, after held) error {
	var failed, unexplained int
	statuses := map[string]int{}
	var examples []string
	for _, each := range results {
		if each.status == http.StatusOK && each.problem == "" {
			continue
		}
		failed++
		statuses[fmt.Sprintf("%d %s", each.status, each.problem)]++
		if !s.outages.explain(each.from, each.to) {
			unexplained++
			if len(examples) < 5 {
				examples = append(examples, fmt.Sprintf("%s: %d %s", each.from.UTC().Format(time.TimeOnly), each.status, each.problem))
			}
		}
	}
	s.report.progress("%d requests, %d of them not answered with 200 (%v), %d of those while no tier was down; %d restarts", len(results), failed, statuses, unexplained, len(s.outages.list))
	mistakes := []error{before.flat(after)}
	if unexplained > 0 {
		mistakes = append(mistakes, fmt.Errorf("%d failures are not explained by a tier that was down: %v", unexplained, examples))
	}
	if len(s.outages.list) == 0 {
		mistakes = append(mistakes, errors.New("no tier was restarted: the soak was too short to show anything"))
	}
	return errors.Join(mistakes...)
}
