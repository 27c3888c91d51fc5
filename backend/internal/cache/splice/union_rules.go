package splice

import (
	"bytes"
	"slices"
)

// tierField is the member of a group of rules, and of an alert, that says which
// tier it comes from. Clients of Prometheus ignore members that they do not
// know.
const tierField = "tier"

// tiered is a group of rules or an alert.
type tiered struct {
	raw    []byte
	source int
	// both is set where another source has it, too.
	both bool
}

// UniteRules returns the groups of rules of two tiers, those of the first one
// first, with their tier in the member "tier". A group that both have, as a
// Thanos has the rules of its Prometheus, is there once, as the first one has
// it, with both tiers.
func UniteRules(sources []Source, acquire Acquire) (*Answer, error) {
	var rules [][]byte // of the group at hand
	return uniteTiered("groups", sources, acquire, func(group, key []byte) ([]byte, error) {
		s := &scanner{data: group, acquire: acquire}
		rules = rules[:0]
		var name []byte
		err := s.object(func(member []byte) (err error) {
			switch string(member) {
			case "name":
				name, err = s.value()
			case "rules":
				err = s.list(func() error {
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
		sortUnlessSorted(rules, bytes.Compare) // Thanos has another order.
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
// with their tier in the member "tier". An alert that both have is there
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
	return uniteTiered("alerts", sources, acquire, func(alert, key []byte) ([]byte, error) {
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
	}, sets)
}

// uniteTiered joins the lists that stand in a member of the data of two tiers.
// identify appends what identifies an element to a text. sets, if not nil,
// are the labels that the elements of each source get.
func uniteTiered(field string, sources []Source, acquire Acquire, identify func(element, key []byte) ([]byte, error), sets []*labelSet) (*Answer, error) {
	var (
		list []tiered
		key  []byte
	)
	keys, known := &arena{acquire: acquire}, newIndex(acquire)
	for i, source := range sources {
		s := &scanner{data: source.Data, acquire: acquire}
		add := func() error {
			raw, err := s.value()
			if err != nil {
				return err
			}
			if raw[0] != '{' {
				return malformed("an element of %s is not an object", field)
			}
			if key, err = identify(raw, key[:0]); err != nil {
				return err
			}
			if at, isKnown := known.find(noScope, key); isKnown && i > 0 && list[at].source == 0 {
				list[at].both = true
				return nil
			}
			if list, err = push(list, tiered{raw: raw, source: i}, acquire); err != nil || i > 0 {
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
				return s.list(add)
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
		if sets != nil {
			return tierParts(element.raw, tier, sets[element.source], parts)
		}
		return tierParts(element.raw, tier, nil, parts)
	}}
	return answer, acquire(0)
}

// tierParts appends an element with its tier, and with its labels as the set has them,
// if that is not nil. The tier comes last, and so takes the place of one that the
// element has itself.
func tierParts(raw []byte, tier string, set *labelSet, parts [][]byte) [][]byte {
	begin, end := 0, 0 // of the labels
	if set != nil {
		s := &scanner{data: raw}
		_ = s.object(func(name []byte) error { // It was read before.
			at := s.here()
			err := s.skip()
			if string(name) == "labels" {
				begin, end = at, s.position
			}
			return err
		})
	}
	rest := bytes.TrimSpace(raw[:len(raw)-1])
	if end > 0 {
		parts = set.parts(raw[begin:end], append(parts, raw[:begin]))
		rest = rest[end:]
	}
	parts = append(parts, rest)
	if !bytes.HasSuffix(rest, textObjectBegin) {
		parts = append(parts, textComma)
	}
	return append(parts, []byte(`"`+tierField+`":"`+tier+`"}`))
}
