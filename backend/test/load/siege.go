package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// hostileCallers is the subcommand that makes the attacks, in a process of
	// its own whose computing does not delay the honest users.
	hostileCallers = "siege-callers"
	// siegeMemory is the limit of the gateway's memory, in bytes, and
	// siegeMemoryLimit what its runtime is told, as deploy/ does with a container.
	siegeMemory      = 256 << 20
	siegeMemoryLimit = "230MiB"
	// mostSiegeMemory is where the gateway is killed, to spare the machine.
	mostSiegeMemory = 2 << 30
	honestUsers     = 20
	attackers       = 5
	// phaseLength is that of a phase where there is time for it, beforePhases the
	// number of quiet ones before the first attack.
	phaseLength  = 30 * time.Second
	beforePhases = 3
)

// siegeOptions say what a siege does.
type siegeOptions struct {
	duration time.Duration
	// rows are those of the attacks to make, separated by commas; empty: all.
	rows string
	seed uint64
	// binary is the program of the gateway; empty: it is built.
	binary string
}

// besieged is a siege that is under way.
type besieged struct {
	*world
	report  report
	options siegeOptions
	rows    []int
	gateway *stack.Server
	honest  *stack.Server
	// peak is the most memory that the gateway held, in bytes, and files the most
	// files that it had open.
	peak, files atomic.Int64

	before, quiet, hostile []siegePhase
	tallies                map[string]*hostileTally
}

// errGoalsMissed is why a siege fails that ran to its end.
var errGoalsMissed = errors.New("goals missed")

// siege lets users look at dashboards through a gateway while callers attack it,
// in turns with quiet phases. It returns an error where the gateway ended, an
// honest request failed, the memory went beyond its limit, or the honest p95 more
// than doubled.
func siege(ctx context.Context, out io.Writer, options siegeOptions) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-siege-")
	if err != nil {
		return err
	}
	b := &besieged{
		world: &world{dir: dir, progress: os.Stderr}, report: report{out: out}, options: options, tallies: map[string]*hostileTally{},
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer b.stop()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.report.progress("a siege of %s with seed %d, load average %s", options.duration, options.seed, loadAverage())
	if err := b.run(ctx); err != nil {
		return err
	}
	b.write()
	if b.report.missed > 0 {
		return fmt.Errorf("%w: %d", errGoalsMissed, b.report.missed)
	}
	return nil
}

// prepare builds and starts everything.
func (b *besieged) prepare(ctx context.Context) error {
	for text := range strings.SplitSeq(b.options.rows, ",") {
		if text == "" {
			continue
		}
		row, err := strconv.Atoi(text)
		if err != nil || len(attacksOf([]int{row})) == 0 {
			return fmt.Errorf("no attack belongs to row %q: name some of 3 to 9, separated by commas", text)
		}
		b.rows = append(b.rows, row)
	}
	b.programs = map[string]string{}
	if err := b.buildOwn(ctx); err != nil {
		return err
	}
	if b.options.binary != "" {
		path, err := filepath.Abs(b.options.binary)
		if err != nil {
			return err
		}
		b.programs["tierproxy"] = path
	}
	hostile, err := b.own(ctx, serveHostile, "-")
	if err != nil {
		return err
	}
	if b.honest, err = b.own(ctx, serveHonest, hostile.URL); err != nil {
		return err
	}
	port, err := strconv.Atoi(hostile.URL[strings.LastIndexByte(hostile.URL, ':')+1:])
	if err != nil {
		return err
	}
	b.gateway, err = b.keep(stack.Tierproxy{
		Name: "tierproxy", Dir: b.dir, LogLevel: "error", Environment: []string{"GOMEMLIMIT=" + siegeMemoryLimit},
		Config: document{
			"discovery": document{"enabled": false}, "perses": document{"url": b.honest.URL + "/perses"},
			"hot": document{"url": b.honest.URL + "/hot", "complete": true}, "cold": document{"url": b.honest.URL + "/cold", "lag": "2h"},
			"destinations": []document{{"host": "127.0.0.1", "port": port}},
		},
	}.Start(ctx, b.programs["tierproxy"]))
	return err
}

// run runs the phases: some quiet ones, then hostile and quiet ones in turns.
func (b *besieged) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go b.watch(ctx, cancel)
	pairs := max(2, int(b.options.duration/(2*phaseLength)))
	length := b.options.duration / time.Duration(2*pairs+beforePhases)
	users, err := newSiegeUsers(b.gateway.URL, b.honest.URL)
	if err != nil {
		return err
	}
	// The first questions start what the gateway does for a datasource.
	if warm := users.look(ctx, min(length, 5*time.Second)); len(warm.failures) > 0 {
		b.report.progress("while it gets warm, some requests fail: %v", warm.failures)
	}
	for number := range beforePhases {
		b.before = append(b.before, users.look(ctx, length))
		b.report.progress("before, %d of %d: %s", number+1, beforePhases, b.before[number])
	}
	for number := range pairs {
		found, err := b.attackDuring(ctx, users, number, length)
		b.hostile = append(b.hostile, found)
		b.report.progress("under attack, %d of %d: %s; %s resident at most", number+1, pairs, found, megabytes(float64(b.peak.Load())))
		if err != nil || ctx.Err() != nil {
			break
		}
		b.quiet = append(b.quiet, users.look(ctx, length))
		b.report.progress("quiet, %d of %d: %s", number+1, pairs, b.quiet[number])
	}
	if cause := context.Cause(ctx); errors.Is(cause, errGatewayEnded) {
		return nil // It is one of the goals.
	}
	return ctx.Err()
}

// errGatewayEnded is why a siege ends early.
var errGatewayEnded = errors.New("the gateway has ended")

// watch reads what the gateway holds, and ends the siege when the gateway ends.
func (b *besieged) watch(ctx context.Context, end context.CancelCauseFunc) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.gateway.Done():
			end(errGatewayEnded)
			return
		case <-ticker.C:
		}
		held, err := b.gateway.Memory()
		if err != nil {
			continue // It has just ended.
		}
		b.peak.Store(max(b.peak.Load(), held.Peak))
		if held.Resident > mostSiegeMemory {
			b.report.progress("killing the gateway, which holds %s", megabytes(float64(held.Resident)))
			b.gateway.Kill()
		}
		if files, err := b.gateway.OpenFiles(); err == nil {
			b.files.Store(max(b.files.Load(), int64(files)))
		}
	}
}

// attackDuring lets the users look while attackers attack.
func (b *besieged) attackDuring(ctx context.Context, users *siegeUsers, number int, length time.Duration) (siegePhase, error) {
	described, err := json.Marshal(hostilePhase{
		Gateway: b.gateway.URL, Duration: length, Callers: attackers, Seed: b.options.seed + uint64(number), Rows: b.rows, //nolint:gosec // Small.
	})
	if err != nil {
		return siegePhase{}, err
	}
	var out, problems bytes.Buffer
	// Its computing gives way to that of the others.
	command := exec.CommandContext(ctx, "nice", "-n", "10", b.programs["load"], hostileCallers, string(described)) //nolint:gosec // Our own program.
	command.Stdout, command.Stderr = &out, &problems
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return siegePhase{}, fmt.Errorf("start the hostile callers: %w", err)
	}
	found := users.look(ctx, length)
	if err := command.Wait(); err != nil {
		return found, fmt.Errorf("the hostile callers: %w\n%s", err, problems.String())
	}
	var tallies map[string]*hostileTally
	if err := json.Unmarshal(out.Bytes(), &tallies); err != nil {
		return found, fmt.Errorf("read what the hostile callers did: %w", err)
	}
	addTallies(b.tallies, tallies)
	return found, nil
}

// lastWords finds why a Go program ended.
var lastWords = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|runtime: .*)$`)

// ended returns why the gateway ended, or an empty text.
func (b *besieged) ended() string {
	select {
	case <-b.gateway.Done():
	default:
		return ""
	}
	text, err := os.ReadFile(b.gateway.LogFile)
	if err != nil {
		return "it ended"
	}
	if found := lastWords.FindAllString(string(text), 2); len(found) > 0 {
		return "it ended: " + strings.Join(found, "; ")
	}
	return fmt.Sprintf("it ended: %v", b.gateway.Stop())
}

// write writes the tables, and judges the goals.
func (b *besieged) write() {
	out := b.report.out
	_, _ = fmt.Fprint(out, "\n| row | attack | what it tries | runs | outcomes |\n| --- | --- | --- | --- | --- |\n")
	for _, each := range attacksOf(b.rows) {
		tally := b.tallies[each.name]
		if tally == nil {
			tally = &hostileTally{}
		}
		_, _ = fmt.Fprintf(out, "| %d | %s | %s | %d | %s |\n", each.row, each.name, each.what, tally.Runs, counts(tally.Outcomes))
	}
	_, _ = fmt.Fprint(out, "\n| honest users | requests | failed | answered by another tier | p50 | p95 | p95 of the phases | p95 of hot's answers | the same questions asked of the tiers themselves: p95 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, part := range []struct {
		name   string
		phases []siegePhase
	}{{"before", b.before}, {"under attack", b.hostile}, {"quiet, between and after", b.quiet}} {
		all := joined(part.phases)
		_, _ = fmt.Fprintf(out, "| %s | %d | %d | %d | %s | %s | %s | %s | %s |\n", part.name, all.requests, all.failed(), all.elsewhere, short(all.p(0.5)), short(all.p(0.95)),
			p95s(part.phases), short(quantileOf(all.hot, 0.95)), short(quantileOf(all.direct, 0.95)))
	}
	before, hostile, quiet := middle(b.before), middle(b.hostile), middle(b.quiet)
	ended := b.ended()
	b.report.add(row{what: "the gateway keeps running", through: ended, goal: "it does", measured: map[bool]string{true: "yes", false: "no"}[ended == ""]}, ended == "")
	ratio := func(what string, measured time.Duration) {
		times := measured.Seconds() / max(before.Seconds(), 1e-9)
		b.report.add(row{
			what: what + ", median of the phases", against: "before the first attack", direct: short(before), through: short(measured),
			goal: "≤ 2 times", measured: fmt.Sprintf("%.2f times", times),
		}, measured > 0 && times <= 2)
	}
	ratio("honest p95 under attack", hostile)
	ratio("honest p95 in the quiet phases after attacks", quiet)
	b.report.bound("honest requests that failed", "", 0, float64(joined(append(append(b.before, b.hostile...), b.quiet...)).failed()), 0, number)
	b.report.bound("resident memory of the gateway, peak", "", 0, float64(b.peak.Load()), siegeMemory, megabytes)
	b.report.note("open files of the gateway, peak", "", number(float64(b.files.Load())), "")
	b.report.write(out)
	for name, phases := range map[string][]siegePhase{"before": b.before, "under attack": b.hostile, "quiet": b.quiet} {
		if all := joined(phases); all.failed() > 0 {
			_, _ = fmt.Fprintf(out, "honest requests that failed, %s: %s\n", name, counts(all.failures))
		}
	}
}
