package evidence

import (
	"context"
	"encoding/json"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// tiersStored is the maximum number of tiers whose evidence an Store keeps, and
	// namesStored that of the names of each.
	tiersStored, namesStored = 128, 1_000
	// loadTimeout is how long a look for names waits for shared evidence.
	loadTimeout = 50 * time.Millisecond
)

// Store keeps evidence of metric names while the configuration is reloaded. It is safe
// for concurrent use.
type Store struct {
	// Load and Save, if not nil, share the evidence with other gateways. Load returns nil if there
	// is none. Save does not wait.
	Load func(ctx context.Context, key promql.Key) []byte
	Save func(key promql.Key, text []byte)

	kept *lru.Cache[promql.Key, []byte]
}

// NewStore returns an empty store that shares nothing.
func NewStore() *Store {
	kept, _ := lru.New[promql.Key, []byte](tiersStored) // It fails only for a size below one.
	return &Store{kept: kept}
}

// SharedBy returns a store with the same evidence that shares it with other gateways.
func (s *Store) SharedBy(load func(ctx context.Context, key promql.Key) []byte, save func(key promql.Key, text []byte)) *Store {
	return &Store{Load: load, Save: save, kept: s.kept}
}

// storedName is the evidence of one name in a store. Times are in milliseconds since the Unix
// epoch, and the window in nanoseconds.
type storedName struct {
	Group   Group  `json:"g,omitempty"`
	Name    string `json:"n"`
	Present bool   `json:"p,omitempty"`
	Window  int64  `json:"w"`
	Whole   int64  `json:"t"`
	Recent  int64  `json:"r"`
	Certain int64  `json:"c"`
}

// load adds the evidence of the store that is newer.
func (x *Index) load(ctx context.Context) {
	store, key := x.options.Store, x.options.Key
	if store == nil {
		return
	}
	var texts [][]byte
	if kept, isKept := store.kept.Get(key); isKept && !x.isLoaded.Swap(true) {
		texts = append(texts, kept)
	}
	if store.Load != nil {
		ctx, cancel := context.WithTimeout(ctx, loadTimeout)
		defer cancel()
		texts = append(texts, store.Load(ctx, key))
	}
	x.mutex.Lock()
	defer x.mutex.Unlock()
	for _, text := range texts {
		var names []storedName
		if json.Unmarshal(text, &names) == nil { // There may be none.
			for _, stored := range names[:min(len(names), namesStored)] {
				x.merge(stored, time.Now())
			}
		}
	}
}

// merge adds evidence of one name if it is newer. The mutex is held.
func (x *Index) merge(stored storedName, now time.Time) {
	at := func(milliseconds int64) time.Time { return time.UnixMilli(min(milliseconds, now.UnixMilli())) }
	key := nameKey{stored.Group, stored.Name}
	state, isHeld := x.states.Peek(key)
	if !isHeld {
		state = &nameState{}
		x.states.Add(key, state)
	}
	if recent := at(stored.Recent); !state.known || recent.After(state.recent) {
		state.known, state.present, state.window = true, stored.Present, time.Duration(stored.Window)
		state.whole, state.recent, state.certain = at(stored.Whole), recent, at(stored.Certain)
	}
}

// save puts the evidence that counts into the store.
func (x *Index) save(now time.Time) {
	store, key := x.options.Store, x.options.Key
	if store == nil {
		return
	}
	x.mutex.Lock()
	var names []storedName
	keys := x.states.Keys() // The last ones were used last.
	for _, key := range keys[max(0, len(keys)-namesStored):] {
		if state, _ := x.states.Peek(key); state.presence(0, now, inUse) != tier.Unknown {
			names = append(names, storedName{
				key.group, key.name, state.present, int64(state.window), state.whole.UnixMilli(), state.recent.UnixMilli(), state.certain.UnixMilli(),
			})
		}
	}
	x.mutex.Unlock()
	if len(names) == 0 {
		return
	}
	text, _ := json.Marshal(names) // It cannot fail.
	store.kept.Add(key, text)
	if store.Save != nil {
		store.Save(key, text)
	}
}
