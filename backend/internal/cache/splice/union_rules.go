package splice

import (
	"bytes"
	"slices"
)

// tierField is the member of a group of rules, and of an alert, that says which
// tier it comes from. Clients of Prometheus ignore members that they do not
// know.
const tierField = "tier"

// told is a group of rules or an alert.
type told struct {
	raw    []byte
	source int32
	// both is set where another source has it, too.
	both bool
}

// UniteRules returns the groups of rules of two tiers, those of the first one
// first, each with its tier in the member "tier". A group that both have, as a
// Thanos has the rules of its Prometheus, is there once, as the first one has
// it, with both tiers.
func UniteRules(sources []Source, acquire Acquire) (*Answer, error) {
	var rules [][]byte // of the group at hand
	return uniteTold("groups", sources, acquire, func(group, key []byte) ([]byte, error) {
		s := &scanner{data: group}
		rules = rules[:0]
		var name []byte
		err := s.object(func(member []byte) (err error) {
			switch string(member) {
			case "name":
				name, err = s.value()
			case "rules":
				err = s.elements(acquire, func() error {
					rule, err := s.rule()
					if err == nil {
						rules, err = push(rules, rule, acquire)
					}
					if err == nil {
						err = acquire(int64(len(rule)))
					}
					return err
				})
			default:
				err = s.skip()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		sortUnlessSorted(rules, bytes.Compare) // Thanos has an order of its own.
		key = append(key, name...)
		for _, rule := range rules {
			key = append(append(key, 1), rule...)
		}
		return key, nil
	}, nil)
}

// rule reads a rule and returns what identifies it.
func (s *scanner) rule() ([]byte, error) {
	var parts [3][]byte
	err := s.object(func(member []byte) error {
		at := slices.Index([]string{"type", "name", "query"}, string(member))
		if at < 0 || s.peek() != '"' {
			return s.skip()
		}
		raw, err := s.string()
		if err == nil {
			parts[at], err = unquoted(raw)
		}
		return err
	})
	return bytes.Join(parts[:], []byte{0}), err
}

// UniteAlerts returns the alerts of two tiers, those of the first one first,
// each with its tier in the member "tier". An alert that both have is there
// once. A label that an alert has itself is kept where one with its name is
// injected.
func UniteAlerts(sources []Source, acquire Acquire) (*Answer, error) {
	all := map[string]string{}
	for _, source := range sources {
		for name, value := range source.Injected {
			all[name] = value // The alerts of every source are compared with them.
		}
	}
	keys := newLabelSet(all, false)
	sets := make([]*labelSet, len(sources))
	for i, source := range sources {
		sets[i] = newLabelSet(source.Injected, false)
	}
	return uniteTold("alerts", sources, acquire, func(alert, key []byte) ([]byte, error) {
		s := &scanner{data: alert}
		labels := []byte(nil)
		err := s.object(func(member []byte) (err error) {
			if string(member) != "labels" {
				return s.skip()
			}
			_, labels, err = keys.read(s)
			return err
		})
		return append(key, labels...), err
	}, func(source int) *labelSet { return sets[source] })
}

// uniteTold joins the lists that stand in a member of the data of two tiers.
// identify appends what identifies an element to a text. labels, if not nil,
// returns the labels that the elements of a source get.
func uniteTold(field string, sources []Source, acquire Acquire, identify func(element, key []byte) ([]byte, error), labels func(source int) *labelSet) (*Answer, error) {
	var (
		list []told
		key  []byte
	)
	keys, known := &arena{acquire: acquire}, newIndex(acquire)
	for i, source := range sources {
		s := &scanner{data: source.Data}
		add := func() error {
			raw, err := s.value()
			if err != nil {
				return err
			}
			if raw[0] != '{' {
				return malformed("an element of %s is not an object", field)
			}
			if err := fewMembers(raw); err != nil {
				return err
			}
			if key, err = identify(raw, key[:0]); err != nil {
				return err
			}
			at, found := known.find(noScope, key)
			if found && i > 0 && list[at].source == 0 {
				list[at].both = true
				return nil
			}
			if list, err = push(list, told{raw: raw, source: int32(i)}, acquire); err != nil || i > 0 { //nolint:gosec // G115: there are two sources.
				return err
			}
			kept, err := keys.keep(key)
			if err != nil {
				return err
			}
			return known.add(noScope, kept, int32(len(list)-1)) //nolint:gosec // G115: see Join.
		}
		err := s.object(func(name []byte) error {
			if string(name) == field {
				return s.elements(acquire, add)
			}
			return s.skip()
		})
		if err == nil {
			err = s.end()
		}
		if err != nil {
			return nil, source.failed(err)
		}
	}
	answer := &Answer{open: `{"` + field + `":[`, end: `]}`, count: len(list), element: func(i int, parts [][]byte) [][]byte {
		element := &list[i]
		tier := sources[element.source].Tier
		if element.both {
			tier = sources[0].Tier + "," + sources[1].Tier
		}
		var set *labelSet
		if labels != nil {
			set = labels(int(element.source))
		}
		return tierParts(element.raw, tier, set, parts)
	}}
	return answer, acquire(0)
}

// tierParts appends an element with its tier, and with its labels as the set
// has them, if that is not nil.
func tierParts(raw []byte, tier string, set *labelSet, parts [][]byte) [][]byte {
	parts = append(parts, textObjectBegin)
	s := &scanner{data: raw}
	_ = s.object(func(name []byte) error { // It was read before.
		value, err := s.value()
		if string(name) == tierField {
			return err
		}
		parts = append(parts, quoted(name), []byte(`:`))
		if set != nil && string(name) == "labels" {
			parts = set.parts(value, parts)
		} else {
			parts = append(parts, value)
		}
		parts = append(parts, textComma)
		return err
	})
	return append(parts, []byte(`"`+tierField+`":"`+tier+`"}`))
}

// fewMembers returns an error for an object with more members than are written
// out at a time.
func fewMembers(raw []byte) error {
	s := &scanner{data: raw}
	count := 0
	return s.object(func([]byte) error {
		if count++; count > mostLabels {
			return malformed("an object has more than %d members", mostLabels)
		}
		return s.skip()
	})
}
