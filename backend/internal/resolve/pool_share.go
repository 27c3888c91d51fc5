package resolve

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

// use notes that a tier is used, and returns what has to be touched with each
// further use. A project that has as many tiers as it may gives up the one that
// it used longest ago. It returns an Error with status 503 when it uses all of
// them. The mutex is held.
func (p *tierPool) use(used *pooledTier, by tierUse) ([]*usage, error) {
	now := p.now()
	used.used.touch(now)
	if by.own || used.own {
		return []*usage{&used.used}, nil
	}
	known := used.users[by.project]
	if limit := p.config.Limits.ProjectTiers; known == nil && by.project != "" && p.count(by.project) >= limit {
		oldest, found := p.longestAgo(func(candidate *pooledTier) (time.Time, bool) {
			usage, uses := candidate.users[by.project]
			if !uses {
				return time.Time{}, false
			}
			return usage.last(), true
		})
		if now.Sub(found.users[by.project].last()) < inUseFor {
			return nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: inUseFor, Message: fmt.Sprintf(
				"the datasources of project %q use more than %d tiers at a time: let datasources share tiers, or ask the operator to raise limits.project_tiers", by.project, limit)}
		}
		if delete(found.users, by.project); len(found.users) == 0 {
			p.drop(oldest, found)
		}
		p.onDrop() // The datasources of the project take it anew with their next query.
	}
	if known == nil {
		known = &usage{}
		used.users[by.project] = known
	}
	known.touch(now)
	return []*usage{&used.used, known}, nil
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
		return candidate.used.last(), !candidate.own && len(candidate.users) > 0 && weight(candidate) == most
	})
	if found == nil {
		return nil // All of them are the gateway's own.
	}
	if !by.own && most <= counts[by.project]+1 && p.now().Sub(found.used.last()) < inUseFor {
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
