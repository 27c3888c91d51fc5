package main

import (
	"context"
	"time"
)

// phase is what was measured in a stretch of time.
type phase struct {
	what string
	took time.Duration
	// spent is the CPU time of each process, by name.
	spent map[string]time.Duration
	// requests are the numbers of requests, by what they were.
	requests map[string]float64
}

// tiers returns the CPU time of the tiers together.
func (p phase) tiers() time.Duration { return p.spent["store"] + p.spent["query"] + p.spent["hot"] }

// perSecond returns the CPU time of the tiers for each second of a phase.
func (p phase) perSecond() float64 { return p.tiers().Seconds() / p.took.Seconds() }

// percent returns the CPU time of a process in percent of one core.
func (p phase) percent(name string) float64 { return 100 * p.spent[name].Seconds() / p.took.Seconds() }

// during measures a phase, which is what do does.
func (w *world) during(ctx context.Context, what string, do func() error) (phase, error) {
	w.say("%s", what)
	found := phase{what: what}
	before, requests, err := w.counters(ctx)
	if err != nil {
		return found, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return found, err
	}
	found.took = time.Since(began)
	if found.spent, found.requests, err = w.counters(ctx); err != nil {
		return found, err
	}
	for name := range found.spent {
		found.spent[name] -= before[name]
	}
	for what := range found.requests {
		found.requests[what] -= requests[what]
	}
	return found, nil
}

// counters returns the CPU time of every process and the numbers of requests so far.
func (w *world) counters(ctx context.Context) (map[string]time.Duration, map[string]float64, error) {
	spent := map[string]time.Duration{}
	for _, server := range w.servers() {
		time, err := server.CPU()
		if err != nil {
			return nil, nil, err
		}
		spent[server.name] = time
	}
	requests, err := w.requests(ctx)
	return spent, requests, err
}

// idle waits for the time of a phase.
func (w *world) idle(ctx context.Context) func() error {
	return func() error {
		select {
		case <-time.After(w.options.duration):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// measure measures all phases.
func (w *world) measure(ctx context.Context) (found results, err error) {
	const datasource = datasources - 1 // One without a tenant.
	found.options, found.panels = w.options, w.panels
	phases := []struct {
		to *phase
		// what is done, after what is done first.
		what  string
		do    func() error
		first func() error
	}{
		{to: &found.alone, what: "idle, without gateways", do: w.idle(ctx)},
		{
			to: &found.unasked, what: "idle, nothing was asked yet", do: w.idle(ctx),
			first: func() error { return w.startGateways(ctx) },
		},
		{
			to: &found.learning, what: "looking at every datasource of every gateway",
			do: func() error {
				if found.learned, err = w.learn(ctx, w.panels.through(w.datasource(0, datasource))); err != nil {
					return err
				}
				return w.lookAtAll(ctx)
			},
		},
		{to: &found.idle, what: "idle, every datasource was looked at", do: w.idle(ctx)},
		{
			to: &found.refreshing, what: "a dashboard refreshes",
			do: func() error {
				found.answered, err = w.refresh(ctx, w.panels.through(w.datasource(0, datasource)))
				return err
			},
		},
		{
			to: &found.direct, what: "the same without gateways, at the tiers that answered",
			do: func() error {
				_, err := w.refresh(ctx, w.panels.directly(found.answered, w.hot.URL, w.query.URL))
				return err
			},
			first: func() error { return w.endGateways(&found) },
		},
	}
	for _, phase := range phases {
		if phase.first != nil {
			if err := phase.first(); err != nil {
				return found, err
			}
		}
		if *phase.to, err = w.during(ctx, phase.what, phase.do); err != nil {
			return found, err
		}
	}
	return found, nil
}

// endGateways measures the memory of all processes and stops the gateways.
func (w *world) endGateways(found *results) (err error) {
	for _, server := range w.servers() {
		memory, err := server.Memory()
		if err != nil {
			return err
		}
		found.memory = append(found.memory, held{server.name, memory})
	}
	w.stopGateways()
	return nil
}

// learned is how hot came to be used.
type learned struct {
	// took is the time from the first look to the one in which hot answered the last of
	// the panels that it answered at all.
	took time.Duration
	// looks is how many looks that took, first how many panels hot answered in the first
	// one, most how many at most, and expected how many it can answer.
	looks, first, most, expected int
}

// learn looks at a dashboard every second until hot answers what it can.
func (w *world) learn(ctx context.Context, questions []question) (found learned, err error) {
	found.expected = w.panels.expected()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	began := time.Now()
	for looks := 1; time.Since(began) < patience; looks++ {
		asked := time.Since(began)
		answered, err := w.look(ctx, questions)
		if err != nil {
			return found, err
		}
		byHot := count(answered, "hot")
		if looks == 1 {
			found.first = byHot
		}
		if byHot > found.most {
			found.most, found.looks, found.took = byHot, looks, asked
		}
		if byHot >= w.panels.expected() {
			return found, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return found, ctx.Err()
		}
	}
	return found, nil
}

// lookAtAll looks at every datasource of every gateway, or at those that it gets to
// before it runs out of patience.
func (w *world) lookAtAll(ctx context.Context) error {
	began := time.Now()
	for number := range datasources {
		for gateway := range w.gateways {
			if time.Since(began) > patience {
				w.say("only the first %d datasources were looked at within %s", number, patience)
				return nil
			}
			if _, err := w.look(ctx, w.panels.through(w.datasource(gateway, number))); err != nil {
				return err
			}
		}
	}
	return nil
}
