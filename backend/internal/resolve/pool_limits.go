package resolve

import (
	"fmt"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// maxTiers is the maximum number of tiers in the pool, the gateway's own included: at most
	// countedTiers of them. Further ones come on top.
	maxTiers     = 256
	countedTiers = 2
	// inUseFor is how long a tier counts as in use after a query. It is longer than the
	// refresh interval of most dashboards.
	inUseFor = 30 * time.Second
	// projectProbes is the maximum number of concurrent probes for one project, and nameBytes
	// the memory for the metric names of its tiers.
	projectProbes = 4
	nameBytes     = 16 << 20
	// globalShare is how many times as much as a project global datasources get.
	globalShare = 4
)

// use records the use of a tier, and returns the usages to touch at each further use. If the
// project has reached its limit, it loses its least recently used tier. use returns an Error
// with status 503 if all of them are in use. The mutex is held.
func (p *tierPool) use(used *pooledTier, by tierUse) ([]*usage, error) {
	now := p.now()
	used.used.touch(now)
	if by.isGateway || used.isGateway {
		return []*usage{&used.used}, nil
	}
	projectUsage := used.users[by.project]
	if limit := p.config.Limits.ProjectTiers; projectUsage == nil && by.project != "" && p.counts()[by.project] >= limit {
		at, oldest := p.leastRecentlyUsed(func(candidate *pooledTier) (time.Time, bool) {
			usage, uses := candidate.users[by.project]
			return usage.last(), uses
		})
		if now.Sub(oldest.users[by.project].last()) < inUseFor {
			return nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: inUseFor, Message: fmt.Sprintf(
				"the datasources of project %q use more than %d tiers at a time: let datasources share tiers, or ask the operator to raise limits.project_tiers", by.project, limit)}
		}
		if delete(oldest.users, by.project); len(oldest.users) == 0 {
			p.drop(at, oldest)
		}
		p.onDrop() // The next query of a datasource of the project gets the tier again.
	}
	if projectUsage == nil {
		projectUsage = &usage{}
		used.users[by.project] = projectUsage
	}
	projectUsage.touch(now)
	return []*usage{&used.used, projectUsage}, nil
}

// makeRoom drops a tier if the pool is full: the least recently used tier of the projects with
// the most tiers. It returns an Error with status 503 if that tier is in use and its project
// has no more tiers than the caller's. The mutex is held.
func (p *tierPool) makeRoom(by tierUse) error {
	own := 0
	for _, candidate := range p.tiers {
		if len(candidate.users) == 0 {
			own++
		}
	}
	if len(p.tiers)-max(own-countedTiers, 0) < maxTiers {
		return nil
	}
	counts := p.counts()
	// If several projects use a tier, the project with the fewest tiers protects it.
	weight := func(candidate *pooledTier) int {
		fewest := maxTiers
		for project := range candidate.users {
			fewest = min(fewest, counts[project])
		}
		return fewest
	}
	most := 0
	for _, candidate := range p.tiers {
		if !candidate.isGateway && len(candidate.users) > 0 {
			most = max(most, weight(candidate))
		}
	}
	at, oldest := p.leastRecentlyUsed(func(candidate *pooledTier) (time.Time, bool) {
		return candidate.used.last(), !candidate.isGateway && len(candidate.users) > 0 && weight(candidate) == most
	})
	if oldest == nil {
		return nil // All tiers are the gateway's own.
	}
	if !by.isGateway && most <= counts[by.project]+1 && p.now().Sub(oldest.used.last()) < inUseFor {
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: inUseFor, Message: fmt.Sprintf(
			"datasources use more than %d tiers at a time: let datasources share tiers", maxTiers)}
	}
	p.drop(at, oldest)
	return nil
}

// counts returns the number of tiers of each project. The mutex is held.
func (p *tierPool) counts() map[string]int {
	counts := map[string]int{}
	for _, candidate := range p.tiers {
		for project := range candidate.users {
			counts[project]++
		}
	}
	return counts
}

// leastRecentlyUsed returns the candidate with the earliest last use, or nil without a
// candidate. lastUse returns the last use of a tier, and whether the tier is a candidate. The
// mutex is held.
func (p *tierPool) leastRecentlyUsed(lastUse func(*pooledTier) (time.Time, bool)) (at destination, oldest *pooledTier) {
	var earliest time.Time
	for key, tier := range p.tiers {
		if last, isCandidate := lastUse(tier); isCandidate && (oldest == nil || last.Before(earliest)) {
			at, oldest, earliest = key, tier, last
		}
	}
	return at, oldest
}

// pacerOf returns the pacer of a server. The gateway's own tiers do not share it with others,
// which may have failures of their own. The mutex is held.
func (p *tierPool) pacerOf(client *upstream.Client, isGateway bool) *ownrequest.Pacer {
	for _, candidate := range p.tiers {
		if candidate.pacer != nil && candidate.server == client.Server() && candidate.isGateway == isGateway {
			return candidate.pacer
		}
	}
	return ownrequest.NewPacer()
}

// probingOf returns the probe budget of a project. The mutex is held.
func (p *tierPool) probingOf(project string) *ownrequest.Budget {
	for _, candidate := range p.tiers {
		if candidate.payer == project && candidate.probing != nil {
			return candidate.probing
		}
	}
	if project == "" {
		return ownrequest.NewBudget(globalShare*projectProbes, globalShare*nameBytes)
	}
	return ownrequest.NewBudget(projectProbes, nameBytes)
}
