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
	before, err := w.requests(ctx)
	if err != nil {
		return found, err
	}
	if err := w.spend(&found, do); err != nil {
		return found, err
	}
	found.requests, err = w.requests(ctx)
	for what := range found.requests {
		found.requests[what] -= before[what]
	}
	return found, err
}

// spend adds what do takes to a phase: the time, and the CPU time of every process.
func (w *world) spend(to *phase, do func() error) error {
	before, err := w.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	to.took += time.Since(began)
	after, err := w.cpu()
	if to.spent == nil {
		to.spent = map[string]time.Duration{}
	}
	for name := range after {
		to.spent[name] += after[name] - before[name]
	}
	return err
}

// cpu returns the CPU time of every process so far.
func (w *world) cpu() (map[string]time.Duration, error) {
	spent := map[string]time.Duration{}
	for _, server := range w.servers() {
		time, err := server.CPU()
		if err != nil {
			return nil, err
		}
		spent[server.name] = time
	}
	return spent, nil
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
	if err := w.compare(ctx, &found, w.panels.through(w.datasource(0, datasource))); err != nil {
		return found, err
	}
	return found, w.measureMemory(&found)
}

// compare refreshes the dashboard through a gateway and, half an interval later, asks the same of the tiers
// that answered. The gateways are suspended meanwhile: whatever they ask belongs to the refresh. What
// the tiers do by themselves is in both.
func (w *world) compare(ctx context.Context, found *results, questions []question) error {
	looks := max(2, int(2*w.options.duration/refreshInterval))
	half := w.options.duration / time.Duration(looks)
	refreshes := func() (err error) {
		found.answered, err = w.lookFor(ctx, half, questions)
		return err
	}
	directly := func() error {
		_, err := w.lookFor(ctx, half, w.panels.directly(found.answered, w.hot.URL, w.query.URL))
		return err
	}
	found.direct.what = "the same without gateways, at the tiers that answered"
	both, err := w.during(ctx, "a dashboard refreshes", func() error {
		for range looks {
			if err := w.spend(&found.refreshing, refreshes); err != nil {
				return err
			}
			err := w.withoutGateways(func() error { return w.spend(&found.direct, directly) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	found.refreshing.what, found.refreshing.requests = both.what, both.requests
	return err
}

// lookFor asks all questions, waits until so much time has passed since it began, and returns which
// tiers answered.
func (w *world) lookFor(ctx context.Context, long time.Duration, questions []question) ([]string, error) {
	passed := time.After(long)
	answered, err := w.look(ctx, questions)
	if err != nil {
		return nil, err
	}
	select {
	case <-passed:
	case <-ctx.Done():
	}
	return answered, ctx.Err()
}

// measureMemory measures the memory of all processes.
func (w *world) measureMemory(found *results) error {
	for _, server := range w.servers() {
		memory, err := server.Memory()
		if err != nil {
			return err
		}
		found.memory = append(found.memory, held{server.name, memory})
	}
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
