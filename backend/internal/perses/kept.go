package perses

import "time"

// entry is a 200 of Perses.
type entry struct {
	datasource *Datasource
	fetched    time.Time
	// expires bounds the use of the entry by the caller's token; the zero
	// time means that there is no token.
	expires time.Time
	// neverStale is set when the token does not tell its end.
	neverStale bool
}

// keep adds an entry to the cache, and removes others until all fit.
func (c *Client) keep(key cacheKey, added entry) {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	c.cache.Remove(key)
	c.kept.Add(added.size())
	c.cache.Add(key, added)
	for c.kept.Load() > cacheBytes && c.cache.Len() > 0 {
		c.cache.RemoveOldest()
	}
}

// size returns how many bytes the entry takes, about.
func (e entry) size() int64 { return int64(specFactor * e.datasource.size) }
