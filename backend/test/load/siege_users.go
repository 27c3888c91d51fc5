package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// siegeRefresh is how often an honest user refreshes the dashboard.
const siegeRefresh = 2500 * time.Millisecond

// siegePhase is what honest users saw during a phase.
type siegePhase struct {
	requests int
	failures map[string]int
	// elsewhere counts the answers that came from another tier than usual, which
	// the gateway gives while it takes a tier to be down.
	elsewhere int
	// latencies are those of all answers, hot those of the answers of hot, and
	// direct those of the tiers themselves. They are sorted.
	latencies, hot, direct []time.Duration
}

func (p siegePhase) failed() int {
	total := 0
	for _, count := range p.failures {
		total += count
	}
	return total
}

func (p siegePhase) p(share float64) time.Duration { return quantileOf(p.latencies, share) }

// String says how the phase was.
func (p siegePhase) String() string {
	text := fmt.Sprintf("%d honest requests, p50 %s, p95 %s (tiers themselves %s)", p.requests, short(p.p(0.5)), short(p.p(0.95)), short(quantileOf(p.direct, 0.95)))
	if p.elsewhere > 0 {
		text += fmt.Sprintf(", %d answered by another tier", p.elsewhere)
	}
	if len(p.failures) > 0 {
		text += ", failed: " + counts(p.failures)
	}
	return text
}

// quantileOf returns the value that a share of a sorted list stays below.
func quantileOf(sorted []time.Duration, share float64) time.Duration {
	return measured{latencies: sorted}.quantile(share)
}

// joined puts phases together.
func joined(phases []siegePhase) siegePhase {
	all := siegePhase{failures: map[string]int{}}
	for _, each := range phases {
		all.requests += each.requests
		all.elsewhere += each.elsewhere
		for failure, count := range each.failures {
			all.failures[failure] += count
		}
		all.latencies = append(all.latencies, each.latencies...)
		all.hot = append(all.hot, each.hot...)
		all.direct = append(all.direct, each.direct...)
	}
	slices.Sort(all.latencies)
	slices.Sort(all.hot)
	slices.Sort(all.direct)
	return all
}

// middle returns the median of the phases' p95.
func middle(phases []siegePhase) time.Duration {
	if len(phases) == 0 {
		return 0
	}
	list := make([]time.Duration, 0, len(phases))
	for _, each := range phases {
		list = append(list, each.p(0.95))
	}
	slices.Sort(list)
	// Of an even number, the mean of both in the middle.
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

func p95s(phases []siegePhase) string {
	var list []string
	for _, each := range phases {
		list = append(list, short(each.p(0.95)))
	}
	return strings.Join(list, ", ")
}

// counts lists what was counted, the most frequent first.
func counts(of map[string]int) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		if of[a] != of[b] {
			return of[b] - of[a]
		}
		return strings.Compare(a, b)
	})
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf("%d × %s", of[name], name))
	}
	return strings.Join(list, ", ")
}

// siegeUser is one honest user, with a session and a browser.
type siegeUser struct {
	name, token string
	client      *http.Client
}

// siegeUsers are the honest users.
type siegeUsers struct {
	gateway, tiers string
	users          []siegeUser

	mutex sync.Mutex
	phase siegePhase
}

func newSiegeUsers(gateway, tiers string) (*siegeUsers, error) {
	all := &siegeUsers{gateway: gateway, tiers: tiers}
	for i := range honestUsers {
		user := siegeUser{name: fmt.Sprintf("user-%02d", i), client: httpClient()}
		var err error
		if user.token, err = sessionOf(user.name); err != nil {
			return nil, err
		}
		all.users = append(all.users, user)
	}
	return all, nil
}

// look lets every user refresh a dashboard again and again, for a time, whether
// earlier requests were answered or not. It waits for the last answers.
func (u *siegeUsers) look(ctx context.Context, duration time.Duration) siegePhase {
	u.phase = siegePhase{failures: map[string]int{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	end := time.After(duration)
	ended := make(chan struct{})
	go func() {
		select {
		case <-end:
		case <-ctx.Done():
		}
		close(ended)
	}()
	for _, user := range u.users {
		group.Go(func() {
			pause := rand.N(siegeRefresh) //nolint:gosec // Not a secret. They do not refresh at the same time.
			for {
				select {
				case <-ended:
					return
				case <-time.After(pause):
				}
				pause = siegeRefresh
				for _, panel := range siegePanels() {
					group.Go(func() { u.ask(ctx, user, panel) })
				}
			}
		})
	}
	group.Wait()
	found := u.phase
	slices.Sort(found.latencies)
	slices.Sort(found.hot)
	slices.Sort(found.direct)
	return found
}

// siegePanel is a question of a dashboard.
type siegePanel struct {
	endpoint, parameter string
	values              url.Values
	// tier is the one that answers, number that of the panel, which comes back in
	// the answer.
	tier   string
	number int
}

// siegePanels are the panels of a dashboard: mostly of the last minutes, one of
// days ago, and a variable that both tiers have values for.
func siegePanels() []siegePanel {
	now := time.Now()
	between := func(from, to time.Duration, step string) url.Values {
		return url.Values{"start": {seconds(now.Add(-from))}, "end": {seconds(now.Add(-to))}, "step": {step}}
	}
	panels := []siegePanel{
		{"query_range", "query", between(5*time.Minute, 0, "15"), "hot", 0},
		{"query_range", "query", between(5*time.Minute, 0, "15"), "hot", 0},
		{"query_range", "query", between(5*time.Minute, 0, "15"), "hot", 0},
		{"query", "query", url.Values{}, "hot", 0},
		{"query_range", "query", between(72*time.Hour, 48*time.Hour, "600"), "cold", 0},
		{"label/panel/values", "match[]", between(48*time.Hour, 0, "60"), "hot,cold", 0},
	}
	for i := range panels {
		panels[i].number = i
	}
	return panels
}

// ask asks for a panel, and one in four times a tier itself, so that what the
// machine adds can be told from what the gateway adds.
func (u *siegeUsers) ask(ctx context.Context, user siegeUser, panel siegePanel) {
	selector := fmt.Sprintf(`http_requests_total{user="%s",panel="%d"}`, user.name, panel.number)
	values := panel.values
	values.Set(panel.parameter, selector)
	if panel.parameter == "query" {
		values.Set("query", "sum by (user, panel) (rate("+selector+"[5m]))")
	}
	ending := "/api/v1/" + panel.endpoint + "?" + values.Encode()
	began := time.Now()
	tier, err := u.answered(ctx, user, panel, u.gateway+sharedPath+ending)
	took := time.Since(began)
	var direct time.Duration
	if rand.IntN(4) == 0 { //nolint:gosec // Not a secret.
		at, _, _ := strings.Cut(panel.tier, ",")
		began = time.Now()
		if _, directError := u.answered(ctx, user, panel, u.tiers+"/"+at+ending); directError == nil {
			direct = time.Since(began)
		}
	}
	if ctx.Err() != nil {
		return // The siege is over.
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.phase.requests++
	if err != nil {
		u.phase.failures[err.Error()]++
		return
	}
	if tier != panel.tier {
		u.phase.elsewhere++
	}
	u.phase.latencies = append(u.phase.latencies, took)
	if panel.tier == "hot" {
		u.phase.hot = append(u.phase.hot, took)
	}
	if direct > 0 {
		u.phase.direct = append(u.phase.direct, direct)
	}
}

// answered makes one request, and returns the tier that answered. It returns an
// error where the answer is not that to the question of this user.
func (u *siegeUsers) answered(ctx context.Context, user siegeUser, panel siegePanel, target string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+user.token)
	response, err := user.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("no answer: %s", failureOf(ctx, err))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("status %d, cut off", response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %.160s", response.StatusCode, messageOf(body))
	}
	expected := fmt.Sprintf(`"user":"%s","panel":"%d"`, user.name, panel.number)
	if panel.parameter != "query" {
		expected = fmt.Sprintf(`"panel %d of %s"`, panel.number, user.name)
	}
	if !bytes.Contains(body, []byte(expected)) {
		return "", fmt.Errorf("an answer to another question: %.160s", body)
	}
	return response.Header.Get("X-Tier"), nil
}

// messageOf returns the message of an error, without the id of its request.
func messageOf(body []byte) string {
	var answer struct{ Error string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return string(body)
	}
	return answer.Error
}
