package datasource

import (
	"fmt"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// poolLimit bounds the tiers that are probed at a time.
	poolLimit = 256
	// inUseFor is how long a tier counts as being used after a query: longer than
	// most dashboards take until they refresh.
	inUseFor = 30 * time.Second
	// probesAtOnce is how many tiers of one project are probed at a time, and
	// nameBytes how much memory the metric names take that are held of its tiers.
	probesAtOnce = 4
	nameBytes    = 16 << 20
	// globalShare is how many times as much global datasources get.
	globalShare = 4
)

// use notes that a tier is used. A project that has as many tiers as it may
// gives up the one that it used longest ago. It returns an Error with status
// 503 when it uses all of them. The mutex is held.
func (p *tierPool) use(used *pooledTier, by tierUse) error {
	now := p.now()
	used.lastUsed = now
	if by.own || used.own {
		return nil
	}
	_, known := used.users[by.project]
	if limit := p.config.Limits.ProjectTiers; !known && by.project != "" && p.count(by.project) >= limit {
		oldest, found := p.longestAgo(func(candidate *pooledTier) (time.Time, bool) {
			last, uses := candidate.users[by.project]
			return last, uses
		})
		if now.Sub(found.users[by.project]) < inUseFor {
			return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: inUseFor, Message: fmt.Sprintf(
				"the datasources of project %q use more than %d tiers at a time: let datasources share tiers, or ask the operator to raise limits.project_tiers", by.project, limit)}
		}
		if delete(found.users, by.project); len(found.users) == 0 {
			p.drop(oldest, found)
		}
	}
	used.users[by.project] = now
	return nil
}

// makeRoom drops a tier when the pool is full: the one that was used longest
// ago of the projects that have most. It returns an Error with status 503 when
// that would be one that is in use, and nobody has more than who asks. The
// mutex is held.
func (p *tierPool) makeRoom(by tierUse) error {
	if len(p.tiers) < poolLimit {
		return nil
	}
	counts := map[string]int{}
	for _, candidate := range p.tiers {
		for project := range candidate.users {
			counts[project]++
		}
	}
	// A tier that several projects use is as safe as that of the one with fewest.
	weight := func(candidate *pooledTier) int {
		least := poolLimit
		for project := range candidate.users {
			least = min(least, counts[project])
		}
		return least
	}
	most := 0
	for _, candidate := range p.tiers {
		if !candidate.own && len(candidate.users) > 0 {
			most = max(most, weight(candidate))
		}
	}
	oldest, found := p.longestAgo(func(candidate *pooledTier) (time.Time, bool) {
		return candidate.lastUsed, !candidate.own && len(candidate.users) > 0 && weight(candidate) == most
	})
	if found == nil {
		return nil // All of them are the gateway's own.
	}
	if !by.own && most <= counts[by.project]+1 && p.now().Sub(found.lastUsed) < inUseFor {
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: inUseFor, Message: fmt.Sprintf(
			"datasources use more than %d tiers at a time: let datasources share tiers", poolLimit)}
	}
	p.drop(oldest, found)
	return nil
}

// count returns how many tiers a project has. The mutex is held.
func (p *tierPool) count(project string) int {
	count := 0
	for _, candidate := range p.tiers {
		if _, uses := candidate.users[project]; uses {
			count++
		}
	}
	return count
}

// longestAgo returns the tier with the earliest time of those that have one;
// nil where there is none. The mutex is held.
func (p *tierPool) longestAgo(timeOf func(*pooledTier) (time.Time, bool)) (oldest destination, found *pooledTier) {
	var earliest time.Time
	for at, candidate := range p.tiers {
		if last, counts := timeOf(candidate); counts && (found == nil || last.Before(earliest)) {
			oldest, found, earliest = at, candidate, last
		}
	}
	return oldest, found
}

// probingOf returns what bounds the probes of a project's tiers. The mutex is
// held.
func (p *tierPool) probingOf(project string) *catalog.ProbeBudget {
	for _, candidate := range p.tiers {
		if candidate.payer == project && candidate.probing != nil {
			return candidate.probing
		}
	}
	if project == "" {
		return catalog.NewProbeBudget(globalShare*probesAtOnce, globalShare*nameBytes)
	}
	return catalog.NewProbeBudget(probesAtOnce, nameBytes)
}
