package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// siegeAttack is one thing that hostile callers do.
type siegeAttack struct {
	// row is that of the table of faults in issue 13.
	row  int
	name string
	// what says what the attack tries.
	what string
	// run makes the attack once. It ends by itself, and with ctx.
	run func(ctx context.Context, c *siegeCaller)
}

// siegeAttacks are all attacks. Each is bounded in number and in time.
var siegeAttacks = []siegeAttack{
	{3, "nested calls", "overflow the stack with 500,000 nested calls, parentheses, signs or aggregations", nestedCalls},
	{4, "open parentheses", "keep the parser busy with 200 KB of opening parentheses", openParentheses},
	{4, "counted regexps", "compile 84 KB of selectors with .{1000}", countedRegexps},
	{4, "regexps over many names", "match a slow regular expression against 99,000 metric names", regexpsOverNames},
	{4, "large specs to check", "compile the regular expressions in a spec of 210 KB", largeSpecs},
	{5, "different regexps", "fill the caches with 30 different GETs of 3.9 KB", differentRegexps},
	{5, "different empty answers", "fill the memory of empty answers with queries of up to 4 MB", differentEmpties},
	{6, "slow readers", "hold all slots of a tier with 60 large answers that are hardly read", slowReaders},
	{6, "half-sent bodies", "hold 100 connections with bodies that do not end", halfSentBodies},
	{6, "idle connections", "hold 200 connections without a request", idleConnections},
	{7, "bodies at once", "hold 60 bodies of 4 MiB in memory at the same time", bodiesAtOnce},
	{8, "junk cookies", "pass the queue as 150 callers with made-up jwtSignature cookies", junkCookies},
	{9, "large exemplars", "join two answers of 2 MiB to query_exemplars", largeExemplars},
	{9, "large series", "join two answers of 20 MiB to series", largeSeries},
	{9, "hanging answers", "pin memory for unions with answers that hang", hangingAnswers},
	{9, "endless answers", "have answers read that do not end, or that unpack to 256 MiB", endlessAnswers},
}

const (
	sharedPath = "/proxy/globaldatasources/metrics"
	ownPath    = "/proxy/projects/" + hostileProject + "/datasources/" + hostileDatasource
	// hostileUser begins the names of the attackers.
	hostileUser = "hostile-"
	// longestAsk bounds one request of an attack, longestHold how long a
	// connection is held.
	longestAsk  = 15 * time.Second
	longestHold = 15 * time.Second
)

// hostileTally counts what came of the runs of one attack.
type hostileTally struct {
	Runs     int
	Outcomes map[string]int
}

// siegeCaller is one hostile caller. Its attacks make requests at the same time.
type siegeCaller struct {
	gateway, token string
	random         *rand.Rand // used between requests only
	client         *http.Client

	mutex   sync.Mutex
	current string
	tallies map[string]*hostileTally
}

// note counts an outcome for the attack that is under way.
func (c *siegeCaller) note(outcome string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.tallies[c.current].Outcomes[outcome]++
}

// attack makes attacks drawn from a list until ctx ends, with pauses between them:
// what is to be measured is the gateway, and not the computing of its clients.
func (c *siegeCaller) attack(ctx context.Context, list []siegeAttack) {
	for ctx.Err() == nil {
		chosen := list[c.random.IntN(len(list))]
		c.mutex.Lock()
		c.current = chosen.name
		if c.tallies[chosen.name] == nil {
			c.tallies[chosen.name] = &hostileTally{Outcomes: map[string]int{}}
		}
		c.tallies[chosen.name].Runs++
		c.mutex.Unlock()
		chosen.run(ctx, c)
		select {
		case <-ctx.Done():
		case <-time.After(500*time.Millisecond + time.Duration(c.random.IntN(1000))*time.Millisecond):
		}
	}
}

// either returns the datasource that all share, or that of the attackers.
func (c *siegeCaller) either() string { return oneOf(c.random, sharedPath, ownPath) }

func oneOf(random *rand.Rand, texts ...string) string { return texts[random.IntN(len(texts))] }

// atOnceEach runs something that many times at once, and waits for it.
func atOnceEach(times int, run func(number int)) {
	var group sync.WaitGroup
	for number := range times {
		group.Go(func() { run(number) })
	}
	group.Wait()
}

// aDayBeyondHot are the times of a request that only both tiers can answer.
func aDayBeyondHot() url.Values {
	now := time.Now()
	return url.Values{"start": {seconds(now.Add(-48 * time.Hour))}, "end": {seconds(now)}, "step": {"60"}}
}

func nestedCalls(ctx context.Context, c *siegeCaller) {
	depth := 500_000
	open := oneOf(c.random, "abs(", "(", "-", "sum(", "absent_over_time(")
	closing := ")"
	if open == "-" {
		closing = ""
	}
	query := strings.Repeat(open, depth*len("abs(")/max(len(open), len("abs(")))
	query += "up" + strings.Repeat(closing, strings.Count(query, open))
	endpoint := oneOf(c.random, "query", "query", "query", "query_range", "series", "labels", "alert_thresholds", "datasources/explain", "metrics/query", "query_exemplars", "parse_query", "format_query")
	switch endpoint {
	case "metrics/query":
		c.askJSON(ctx, sharedPath, endpoint, document{"query": query})
	case "series", "labels", "alert_thresholds":
		c.post(ctx, c.either(), endpoint, url.Values{"match[]": {query}})
	default:
		values := aDayBeyondHot()
		values.Set("query", query)
		c.post(ctx, c.either(), endpoint, values)
	}
}

func openParentheses(ctx context.Context, c *siegeCaller) {
	query := strings.Repeat(oneOf(c.random, "(", "{", "sum(", "up["), 200_000/4) + strings.Repeat("(", 100_000)
	endpoint := oneOf(c.random, "query", "datasources/explain", "metrics/query")
	if endpoint == "metrics/query" {
		c.askJSON(ctx, sharedPath, endpoint, document{"query": query})
		return
	}
	c.post(ctx, c.either(), endpoint, url.Values{"query": {query}})
}

// selectorOf returns a selector of about that many bytes whose matchers are
// regular expressions that occur nowhere else.
func selectorOf(random *rand.Rand, size int) string {
	var text strings.Builder
	text.WriteString("up{")
	for i := 0; text.Len() < size-30; i++ {
		_, _ = fmt.Fprintf(&text, `a%d=~"%x.{1000}",`, i, random.Uint32())
	}
	return strings.TrimSuffix(text.String(), ",") + "}"
}

func countedRegexps(ctx context.Context, c *siegeCaller) {
	selector := selectorOf(c.random, 84_000)
	if c.random.IntN(2) == 0 {
		c.post(ctx, c.either(), "series", url.Values{"match[]": {selector}})
		return
	}
	c.post(ctx, c.either(), "query", url.Values{"query": {selector}})
}

func regexpsOverNames(ctx context.Context, c *siegeCaller) {
	atOnceEach(2, func(number int) {
		query := fmt.Sprintf(`{__name__=~"(a?.*){200}[QZ]%d"}`, number)
		c.post(ctx, ownPath, "query", url.Values{"query": {query}})
	})
}

func largeSpecs(ctx context.Context, c *siegeCaller) {
	var endpoints []document
	for size := 0; size < 210_000; {
		pattern := fmt.Sprintf("%x.{1000}.{1000}", c.random.Uint32())
		endpoints = append(endpoints, document{"endpointPattern": pattern, "method": "GET"})
		size += len(pattern) + len(`{"endpointPattern":"","method":"GET"},`)
	}
	path := c.either()
	c.askJSON(ctx, path, "datasources/check", document{"proxy": document{"kind": "HTTPProxy", "spec": document{
		"url": "http://127.0.0.1" + path, "allowedEndpoints": endpoints,
	}}})
}

func differentRegexps(ctx context.Context, c *siegeCaller) {
	path := c.either()
	for range 30 {
		if ctx.Err() != nil {
			return
		}
		c.ask(ctx, http.MethodGet, path+"/api/v1/query?query="+url.PathEscape(selectorOf(c.random, 3_900)), nil, nil)
	}
}

func differentEmpties(ctx context.Context, c *siegeCaller) {
	size := []int{1_000, 60_000, 500_000, 4_000_000}[c.random.IntN(4)]
	for range min(24, 24_000_000/size) {
		if ctx.Err() != nil {
			return
		}
		query := fmt.Sprintf(`%s{a="%x%s"}`, answerEmpty, c.random.Uint64(), strings.Repeat("x", size))
		c.post(ctx, ownPath, "query", url.Values{"query": {query}})
	}
}

func bodiesAtOnce(ctx context.Context, c *siegeCaller) {
	head, tail := `query=`+answerEmpty+`{a="`, `"}`
	body := []byte(head + strings.Repeat("x", 4<<20-len(head)-len(tail)) + tail)
	path := c.either()
	ctx, cancel := context.WithTimeout(ctx, longestAsk)
	defer cancel()
	// The last byte of each is sent when all others are under way.
	var arriving sync.WaitGroup
	const bodies = 60
	arriving.Add(bodies)
	allArrived := make(chan struct{})
	go func() {
		arriving.Wait()
		close(allArrived)
	}()
	atOnceEach(bodies, func(int) {
		held := &heldBody{rest: body, arrived: sync.OnceFunc(arriving.Done), release: allArrived, ended: ctx.Done()}
		defer held.arrived()
		c.askWith(ctx, http.MethodPost, path+"/api/v1/query", held, int64(len(body)), formHeader)
	})
}

func junkCookies(ctx context.Context, c *siegeCaller) {
	names := make([]string, 150)
	for i := range names {
		names[i] = fmt.Sprintf("%x", c.random.Uint64())
	}
	atOnceEach(len(names), func(number int) {
		values := url.Values{"query": {answerSlow + `{a="` + names[number] + `"}`}}
		c.ask(ctx, http.MethodGet, sharedPath+"/api/v1/query?"+values.Encode(), nil, http.Header{"Cookie": {"jwtSignature=" + names[number]}})
	})
}

func largeExemplars(ctx context.Context, c *siegeCaller) {
	values := aDayBeyondHot()
	values.Set("query", answerExemplars)
	c.post(ctx, ownPath, "query_exemplars", values)
}

func largeSeries(ctx context.Context, c *siegeCaller) {
	endpoint := oneOf(c.random, "series", "series", "labels", "label/series/values")
	values := aDayBeyondHot()
	values.Set("match[]", answerLarge)
	c.ask(ctx, http.MethodGet, ownPath+"/api/v1/"+endpoint+"?"+values.Encode(), nil, nil)
}

func hangingAnswers(ctx context.Context, c *siegeCaller) {
	atOnceEach(4, func(number int) {
		values := aDayBeyondHot()
		values.Set("match[]", fmt.Sprintf("%s{number=\"%d\"}", answerHanging, number))
		c.ask(ctx, http.MethodGet, ownPath+"/api/v1/series?"+values.Encode(), nil, nil)
	})
}

func endlessAnswers(ctx context.Context, c *siegeCaller) {
	word := oneOf(c.random, answerEndless, answerBomb)
	endpoint := oneOf(c.random, "series", "query")
	values := aDayBeyondHot()
	values.Set("match[]", word)
	if endpoint == "query" {
		values = url.Values{"query": {word}}
	}
	c.ask(ctx, http.MethodGet, ownPath+"/api/v1/"+endpoint+"?"+values.Encode(), nil, nil)
}

// hostilePhase says what a process of hostile callers does.
type hostilePhase struct {
	Gateway  string
	Duration time.Duration
	Callers  int
	Seed     uint64
	// Rows are those of the attacks to draw from; empty: all.
	Rows []int
}

// attacksOf returns the attacks of some rows, or all where none is named.
func attacksOf(rows []int) []siegeAttack {
	if len(rows) == 0 {
		return siegeAttacks
	}
	var list []siegeAttack
	for _, each := range siegeAttacks {
		for _, row := range rows {
			if each.row == row {
				list = append(list, each)
			}
		}
	}
	return list
}

// run makes attacks for the duration and returns what came of them.
func (p hostilePhase) run(ctx context.Context) (map[string]*hostileTally, error) {
	list := attacksOf(p.Rows)
	if len(list) == 0 {
		return nil, fmt.Errorf("no attack belongs to the rows %v", p.Rows)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Duration)
	defer cancel()
	var group sync.WaitGroup
	callers := make([]*siegeCaller, p.Callers)
	for i := range callers {
		token, err := sessionOf(fmt.Sprintf("%s%d", hostileUser, i))
		if err != nil {
			return nil, err
		}
		callers[i] = &siegeCaller{
			gateway: p.Gateway, token: token, random: rand.New(rand.NewPCG(p.Seed, uint64(i))), //nolint:gosec // To be repeated.
			client: httpClient(), tallies: map[string]*hostileTally{},
		}
		group.Go(func() { callers[i].attack(ctx, list) })
	}
	group.Wait()
	total := map[string]*hostileTally{}
	for _, each := range callers {
		addTallies(total, each.tallies)
	}
	return total, nil
}

func addTallies(total, more map[string]*hostileTally) {
	for name, tally := range more {
		if total[name] == nil {
			total[name] = &hostileTally{Outcomes: map[string]int{}}
		}
		total[name].Runs += tally.Runs
		for outcome, count := range tally.Outcomes {
			total[name].Outcomes[outcome] += count
		}
	}
}

// runHostileCallers runs a phase that is described in JSON, and prints what came
// of its attacks in JSON.
func runHostileCallers(ctx context.Context, out io.Writer, described string) error {
	var phase hostilePhase
	if err := json.Unmarshal([]byte(described), &phase); err != nil {
		return fmt.Errorf("the description of the phase: %w", err)
	}
	tallies, err := phase.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(tallies)
}
