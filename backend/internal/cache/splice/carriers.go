package splice

import (
	"cmp"
	"maps"
	"slices"
)

// carriers finds the source whose injected labels a set of labels carries.
type carriers struct {
	// sets are the names that sources inject, longer lists first.
	sets   [][]string
	values *index // the source by the values of the names, in the scope of its set
	labels *labelSet
	key    []byte
}

func newCarriers(sources []Source, acquire Acquire) (*carriers, error) {
	c := &carriers{values: newIndex(acquire), labels: newLabelSet(nil, false)}
	for _, source := range sources {
		names := slices.Sorted(maps.Keys(source.Injected))
		if !slices.ContainsFunc(c.sets, func(known []string) bool { return slices.Equal(known, names) }) {
			c.sets = append(c.sets, names)
		}
	}
	slices.SortStableFunc(c.sets, func(a, b []string) int { return cmp.Compare(len(b), len(a)) })
	for i, source := range sources {
		names := slices.Sorted(maps.Keys(source.Injected))
		scope := slices.IndexFunc(c.sets, func(known []string) bool { return slices.Equal(known, names) })
		var key []byte
		for _, name := range names {
			key = appendKeyText(key, []byte(source.Injected[name]))
		}
		if err := c.values.add(int32(scope), key, int32(i)); err != nil { //nolint:gosec // G115: there are few sources.
			return nil, err
		}
	}
	return c, nil
}

// find reads an object of labels, or null, and returns the source whose labels it carries, or
// nobody. If it carries those of several, the source with the most labels counts.
func (c *carriers) find(s *scanner) (source int, err error) {
	if err := c.labels.scan(s); err != nil {
		return nobody, err
	}
	for scope, names := range c.sets {
		if !c.readValues(names) {
			continue
		}
		if source, is := c.values.find(int32(scope), c.key); is {
			return int(source), nil
		}
	}
	return nobody, nil
}

// readValues makes a key of the values that the labels at hand have for names, which are
// sorted. It returns false where one is missing.
func (c *carriers) readValues(names []string) bool {
	c.key = c.key[:0]
	for label := range c.labels.all() {
		if len(names) > 0 && string(label.name) == names[0] {
			c.key, names = appendKeyText(c.key, label.value), names[1:]
		}
	}
	return len(names) == 0
}
