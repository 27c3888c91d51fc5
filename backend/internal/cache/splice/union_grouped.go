package splice

import (
	"bytes"
	"unsafe"
)

// group is what sources hold of one metric: a list.
type group struct {
	key []byte
	// list is that of the first source that has the group; empty where it has none.
	list []byte
	// more are the entries that only other sources have.
	more [][]byte
	// indexed is set once the entries of list are in the index.
	indexed bool
}

// groups joins the lists of equal groups. It finds groups and entries by hash.
type groups struct {
	acquire  Acquire
	keys     *arena
	byKey    *index
	entries  *index
	list     []group
	identity func(entry []byte) ([]byte, error)
}

// noScope is the scope of texts that belong to all groups.
const noScope = -1

func newGroups(acquire Acquire, identity func([]byte) ([]byte, error)) *groups {
	return &groups{
		acquire: acquire, keys: &arena{acquire: acquire}, byKey: newIndex(acquire), entries: newIndex(acquire), identity: identity,
	}
}

// add adds what a source holds of a group. list is a JSON list, or empty.
func (g *groups) add(key, list []byte) error {
	at, isKnown := g.byKey.find(noScope, key)
	if !isKnown {
		key, err := g.keys.keep(key)
		if err != nil {
			return err
		}
		if g.list, err = push(g.list, group{key: key, list: list}, g.acquire); err != nil {
			return err
		}
		return g.byKey.add(noScope, key, int32(len(g.list)-1)) //nolint:gosec // G115: see Join.
	}
	known := &g.list[at]
	if len(list) == 0 {
		return nil
	}
	if !known.indexed && len(known.list) > 0 {
		known.indexed = true
		err := readList(known.list, g.acquire, func(s *scanner) error {
			entry, err := s.value()
			if err != nil {
				return err
			}
			_, err = g.isNew(at, entry)
			return err
		})
		if err != nil {
			return err
		}
	}
	return readList(list, g.acquire, func(s *scanner) error {
		entry, err := s.value()
		if err != nil {
			return err
		}
		isNew, err := g.isNew(at, entry)
		if err != nil || !isNew {
			return err
		}
		// The list may be twice as long as it has to be. Written out, an entry is two
		// parts.
		known.more = append(known.more, entry)
		return g.acquire(4 * int64(unsafe.Sizeof(entry)))
	})
}

// isNew reports whether a group has no such entry yet, and notes it.
func (g *groups) isNew(at int32, entry []byte) (bool, error) {
	identity, err := g.identity(entry)
	if err != nil {
		return false, err
	}
	if _, isKnown := g.entries.find(at, identity); isKnown {
		return false, nil
	}
	if len(identity) > 0 && len(entry) > 0 && &identity[0] != &entry[0] {
		if identity, err = g.keys.keep(identity); err != nil {
			return false, err
		}
	}
	return true, g.entries.add(at, identity, 0)
}

// parts appends the entries of a group, with brackets.
func (g *group) parts(parts [][]byte) [][]byte {
	parts = append(parts, textListBegin)
	list := inner(g.list)
	if len(list) > 0 {
		parts = append(parts, list)
	}
	for i, entry := range g.more {
		if i > 0 || len(list) > 0 {
			parts = append(parts, textComma)
		}
		parts = append(parts, entry)
	}
	return append(parts, textListEnd)
}

// inner returns a list without its brackets; nothing for null.
func inner(list []byte) []byte {
	list = bytes.TrimSpace(list)
	if len(list) < 2 || list[0] != '[' {
		return nil
	}
	return bytes.TrimSpace(list[1 : len(list)-1])
}

// listValue skips a list or null and returns its JSON.
func (s *scanner) listValue() ([]byte, error) {
	if c := s.peek(); c != '[' && c != 'n' {
		return nil, malformed("expected a list at byte %d", s.position)
	}
	return s.value()
}

// UniteMetadata returns the union of what sources say of metrics, sorted by
// their names. A limit above zero is the largest number of metrics.
func UniteMetadata(sources []Source, limit int, acquire Acquire) (*Answer, error) {
	set := newLabelSet(nil, false)
	united := newGroups(acquire, func(entry []byte) ([]byte, error) {
		// Servers write the members of an entry in different orders.
		if _, key, err := set.read(&scanner{data: entry}); err == nil {
			return key, nil
		}
		return entry, nil
	})
	for i, source := range sources {
		s := &scanner{data: source.Data, acquire: acquire}
		err := s.object(func(name []byte) error {
			list, err := s.listValue()
			if err != nil {
				return err
			}
			return united.add(name, list)
		})
		if err == nil {
			err = s.end()
		}
		if err != nil {
			return nil, source.failed(i, err)
		}
	}
	sortUnlessSorted(united.list, func(a, b group) int { return bytes.Compare(a.key, b.key) })
	answer := listAnswer(len(united.list), limit, func(i int, parts [][]byte) [][]byte {
		metric := &united.list[i]
		return metric.parts(append(parts, quoted(metric.key), []byte(`:`)))
	})
	answer.open, answer.end = "{", "}"
	return answer, acquire(0)
}
