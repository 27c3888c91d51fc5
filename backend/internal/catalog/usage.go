package catalog

import (
	"fmt"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// unusedAfter is how long hot may answer no query before that counts as a problem.
const unusedAfter = 10 * time.Minute

// usage follows whether hot answers queries.
type usage struct {
	mutex   sync.Mutex
	hot     time.Time // the last query that hot answered
	since   time.Time // the first one after that
	queries int
	why     string
}

// Planned records which tier a query goes to, and why.
func (c *Catalog) Planned(to tier.Name, why string) {
	c.usage.mutex.Lock()
	defer c.usage.mutex.Unlock()
	if to != tier.Cold {
		c.usage.hot, c.usage.queries = time.Now(), 0
		return
	}
	if c.usage.queries == 0 {
		c.usage.since = time.Now()
	}
	c.usage.queries++
	c.usage.why = why
}

// HotUnused says that hot has answered no query for ten minutes, although there were some, and
// why the last one went to cold. Otherwise it returns the zero Note. isUsed is set if hot has
// answered a query in the last ten minutes.
//
// Of a hot tier whose series differ from those in cold, it says that at once.
func (c *Catalog) HotUnused(now time.Time) (why tier.Note, isUsed bool) {
	if why, isAll := c.Snapshot().Evidence.Unused(); why != (tier.Note{}) {
		text := "hot answers no queries that may read some of its sources: "
		if isAll {
			text = "hot answers no queries: "
		}
		return tier.Note{Detail: text + why.Detail, Public: text + why.Public}, false
	}
	c.usage.mutex.Lock()
	defer c.usage.mutex.Unlock()
	if c.usage.queries == 0 || now.Sub(c.usage.since) < unusedAfter {
		return tier.Note{}, now.Sub(c.usage.hot) < unusedAfter
	}
	text := fmt.Sprintf("hot has answered none of %d queries since %s", c.usage.queries, c.usage.since.UTC().Format(time.RFC3339))
	return tier.Note{Detail: text + "; the last one went to cold because " + c.usage.why, Public: text}, false
}

// EvidenceMissing says for how many of the metric names that queries read evidence is missing,
// and why. It returns an empty text if there is evidence of all.
func (c *Catalog) EvidenceMissing(now time.Time) string {
	learned := c.Snapshot()
	if learned.Evidence == nil || learned.Evidence.Declared || learned.groupOfOthers() == "" {
		return ""
	}
	for _, of := range []struct {
		name  tier.Name
		stats evidence.Stats
	}{
		{tier.Cold, c.cold.names.Stats(learned.groupOfOthers(), now)}, {tier.Hot, c.hot.names.Stats("", now)},
	} {
		if of.stats.Missing > 0 && of.stats.Error != "" {
			return fmt.Sprintf("evidence about %d of %d metric names in use is missing since %s: %s %s",
				of.stats.Missing, of.stats.InUse, of.stats.Since.UTC().Format(time.RFC3339), of.name, of.stats.Error)
		}
	}
	return ""
}
