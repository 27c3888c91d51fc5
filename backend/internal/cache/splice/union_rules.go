package splice

import (
	"bytes"
	"cmp"
	"slices"
)

// UniteRules returns the groups of rules of the sources in their order. Each group has its
// tier in the member "tier" and the name of its source, if it has one, in the member
// "source". The labels that a source injects are not added to rules: they identify the source.
//
// A group that both tiers have is there once, as hot has it, with both tiers. Two sources of
// hot may load the same files, so equal groups of theirs stay apart. A Thanos lists the rules
// of the servers behind it with their external labels, and joins groups of the same file and
// name. So a group of cold is compared rule by rule with the source whose labels the rules
// carry, and keeps those rules that no group of hot has.
func UniteRules(sources []Source, acquire Acquire) (*Answer, error) {
	u := newTieredUnion("groups", sources, acquire)
	r := &ruleGroups{tieredUnion: u}
	if u.isSeveral {
		var err error
		if r.carriers, err = newCarriers(sources[:u.hot], acquire); err != nil {
			return nil, err
		}
	}
	if err := u.read(r.add); err != nil {
		return nil, err
	}
	return u.answer(nil), acquire(0)
}

// ruleGroups unites groups of rules.
type ruleGroups struct {
	*tieredUnion

	// carriers finds the source that a rule of cold belongs to; nil where all belong to the
	// only source of hot.
	carriers *carriers
	// These are of the group at hand: the JSON of its name, its rules, and where their list
	// begins and ends.
	name       []byte
	rules      []rule
	begin, end int
	key        []byte
}

// rule is one rule of a group.
type rule struct {
	raw      []byte // its JSON
	position int    // among the rules of its group
	identity []byte
	source   int // whose labels it carries, or nobody
}

// nobody is the source of a rule that carries the labels of none.
const nobody = -1

// add adds a group of a source.
func (r *ruleGroups) add(source int, group []byte) error {
	if err := r.readGroup(source, group); err != nil {
		return err
	}
	if source < r.hot {
		return r.addKnown(source, group, int32(source), r.keyOf(r.rules)) //nolint:gosec // G115: there are few sources.
	}
	rest, err := r.unknown(group)
	if err != nil || rest == nil {
		return err
	}
	return r.push(source, rest)
}

// readGroup reads a group.
func (r *ruleGroups) readGroup(source int, group []byte) error {
	s := &scanner{data: group, acquire: r.acquire}
	r.name, r.rules = nil, r.rules[:0]
	return s.object(func(member []byte) (err error) {
		switch string(member) {
		case "name":
			r.name, err = s.value()
		case "rules":
			r.rules, r.begin = r.rules[:0], s.here()
			err = s.list(func() error {
				made, err := r.readRule(s, source)
				if err == nil {
					r.rules, err = push(r.rules, made, r.acquire)
				}
				if err == nil {
					err = r.acquire(int64(len(made.identity)))
				}
				return err
			})
			r.end = s.position
		default:
			err = s.skip()
		}
		return err
	})
}

// readRule reads a rule of a source.
func (r *ruleGroups) readRule(s *scanner, source int) (rule, error) {
	made := rule{position: len(r.rules), source: nobody}
	var parts [3][]byte
	start := s.here()
	err := s.object(func(member []byte) (err error) {
		at := slices.Index([]string{"type", "name", "query"}, string(member))
		switch {
		case at >= 0 && s.peek() == '"':
			var raw []byte
			if raw, err = s.string(); err == nil {
				parts[at], err = unquoted(raw)
			}
		case source >= r.hot && r.carriers != nil && string(member) == "labels":
			made.source, err = r.carriers.find(s)
		default:
			err = s.skip()
		}
		return err
	})
	made.raw, made.identity = s.data[start:s.position], bytes.Join(parts[:], []byte{0})
	return made, err
}

// keyOf sorts rules of the group at hand, and returns what identifies a group of them.
func (r *ruleGroups) keyOf(rules []rule) []byte {
	sortUnlessSorted(rules, func(a, b rule) int { return bytes.Compare(a.identity, b.identity) }) // Thanos has another order.
	r.key = append(r.key[:0], r.name...)
	for _, rule := range rules {
		r.key = append(append(r.key, 1), rule.identity...)
	}
	return r.key
}

// unknown returns the group of cold at hand without the rules that hot has, too; nil where
// none is left.
func (r *ruleGroups) unknown(group []byte) ([]byte, error) {
	if r.carriers == nil {
		if r.isKnown(0, r.keyOf(r.rules)) {
			return nil, nil
		}
		return group, nil
	}
	slices.SortStableFunc(r.rules, func(a, b rule) int { return cmp.Compare(a.source, b.source) })
	rest := r.rules[:0]
	for from := r.rules; len(from) > 0; {
		source := from[0].source
		n := 1
		for n < len(from) && from[n].source == source {
			n++
		}
		if source == nobody || !r.isKnown(int32(source), r.keyOf(from[:n])) { //nolint:gosec // G115: there are few sources.
			rest = append(rest, from[:n]...)
		}
		from = from[n:]
	}
	switch {
	case len(r.rules) == len(rest):
		return group, nil
	case len(rest) == 0:
		return nil, nil
	}
	return r.without(group, rest)
}

// without returns the group at hand with the rest of its rules.
func (r *ruleGroups) without(group []byte, rest []rule) ([]byte, error) {
	if err := r.acquire(int64(len(group))); err != nil {
		return nil, err
	}
	slices.SortFunc(rest, func(a, b rule) int { return cmp.Compare(a.position, b.position) })
	made := append(make([]byte, 0, len(group)), group[:r.begin]...)
	made = append(made, '[')
	for i, rule := range rest {
		if i > 0 {
			made = append(made, ',')
		}
		made = append(made, rule.raw...)
	}
	made = append(made, ']')
	return append(made, group[r.end:]...), nil
}
