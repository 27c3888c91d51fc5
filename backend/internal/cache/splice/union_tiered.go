package splice

import "bytes"

// The members of a group of rules, and of an alert, that say which tier and which source it
// comes from. Clients of Prometheus ignore members that they do not know.
const (
	tierField   = "tier"
	sourceField = "source"
)

// tiered is a group of rules or an alert.
type tiered struct {
	raw    []byte
	source int
	// both is set where cold has it, too.
	both bool
	// dropped is set where hot has it, too.
	dropped bool
}

// tieredUnion joins lists whose elements say which tier they come from. The sources of hot
// come first.
type tieredUnion struct {
	field   string // the member of the data that is the list
	sources []Source
	acquire Acquire
	// hot is how many sources the first tier has.
	hot int
	// isSeveral is set where the first tier consists of several sources, even if only one of
	// them is part of the union.
	isSeveral bool

	list  []tiered
	keys  *arena
	known *index // the elements of hot by what identifies them
}

func newTieredUnion(field string, sources []Source, acquire Acquire) *tieredUnion {
	u := &tieredUnion{field: field, sources: sources, acquire: acquire, keys: &arena{acquire: acquire}, known: newIndex(acquire)}
	for _, source := range sources {
		if source.Tier != sources[0].Tier {
			break
		}
		u.hot++
		u.isSeveral = u.isSeveral || source.Name != ""
	}
	u.isSeveral = u.isSeveral || u.hot > 1
	return u
}

// read reads the lists of all sources, and calls add for each element.
func (u *tieredUnion) read(add func(source int, element []byte) error) error {
	for i, source := range u.sources {
		s := &scanner{data: source.Data, acquire: u.acquire}
		err := s.object(func(name []byte) error {
			if string(name) != u.field {
				return s.skip()
			}
			return s.list(func() error {
				raw, err := s.value()
				if err != nil {
					return err
				}
				if raw[0] != '{' {
					return malformed("an element of %s is not an object", u.field)
				}
				return add(i, raw)
			})
		})
		if err == nil {
			err = s.end()
		}
		if err != nil {
			return source.failed(i, err)
		}
	}
	return nil
}

// push appends an element of a source.
func (u *tieredUnion) push(source int, raw []byte) (err error) {
	u.list, err = push(u.list, tiered{raw: raw, source: source}, u.acquire)
	return err
}

// addKnown appends an element of hot, which isKnown finds.
func (u *tieredUnion) addKnown(source int, raw []byte, scope int32, key []byte) error {
	if err := u.push(source, raw); err != nil {
		return err
	}
	key, err := u.keys.keep(key)
	if err != nil {
		return err
	}
	return u.known.add(scope, key, int32(len(u.list)-1)) //nolint:gosec // G115: see Join.
}

// isKnown reports whether hot has an element of cold, and notes that both have it.
func (u *tieredUnion) isKnown(scope int32, key []byte) bool {
	at, is := u.known.find(scope, key)
	if is {
		u.list[at].both = true
	}
	return is
}

// answer returns the union. sets, if not nil, are the labels that the elements of each source
// get.
func (u *tieredUnion) answer(sets []*labelSet) *Answer {
	own, both := make([][]byte, len(u.sources)), make([][]byte, len(u.sources))
	for i, source := range u.sources {
		own[i] = tierMembers(source.Tier, source.Name)
		both[i] = tierMembers(source.Tier+","+u.sources[len(u.sources)-1].Tier, source.Name)
	}
	return &Answer{open: `{"` + u.field + `":[`, end: `]}`, count: len(u.list), element: func(i int, parts [][]byte) [][]byte {
		element := &u.list[i]
		members := own[element.source]
		if element.both {
			members = both[element.source]
		}
		if sets != nil {
			return tierParts(element.raw, members, sets[element.source], parts)
		}
		return tierParts(element.raw, members, nil, parts)
	}}
}

// tierMembers returns the members that say where an element comes from, and the end of the
// element.
func tierMembers(tier, source string) []byte {
	members := []byte(`"` + tierField + `":"` + tier + `"`)
	if source != "" {
		members = append(append(members, `,"`+sourceField+`":`...), quoted([]byte(source))...)
	}
	return append(members, '}')
}

// tierParts appends an element with the members of its tier, and with its labels as the set
// has them, if that is not nil. The members come last, and so take the place of those that
// the element has itself.
func tierParts(raw, members []byte, set *labelSet, parts [][]byte) [][]byte {
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
	return append(parts, members)
}
