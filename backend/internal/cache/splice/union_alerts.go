package splice

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// UniteAlerts returns the alerts of the sources in their order. Each alert has its tier in the
// member "tier" and the name of its source, if it has one, in the member "source". A label
// that an alert has itself is kept where one with its name is injected.
//
// An alert that both tiers have is there once, as hot has it, with both tiers. Those of two
// sources of hot are never the same. A Thanos lists the alerts of the servers behind it
// without their external labels: as many equal ones as servers have it. Where hot has several
// sources, each of these is that of one source: the one where it became active at the same
// time, or else the first one that is left.
func UniteAlerts(sources []Source, acquire Acquire) (*Answer, error) {
	u := newTieredUnion("alerts", sources, acquire)
	sets, keys := make([]*labelSet, len(sources)), make([]*labelSet, len(sources))
	all := map[string]string{}
	for i, source := range sources {
		sets[i] = newLabelSet(source.Injected, false)
		maps.Copy(all, source.Injected)
		keys[i] = sets[i]
	}
	if !u.isSeveral {
		// All alerts of cold count as those of the only source of hot.
		for i := range keys {
			keys[i] = newLabelSet(all, false)
		}
	}
	pairs := &alertPairs{tieredUnion: u, own: newLabelSet(nil, false)}
	err := u.read(func(source int, alert []byte) error {
		labels, key, activeAt, err := readAlert(&scanner{data: alert, acquire: acquire}, keys[source])
		switch {
		case err != nil:
			return err
		case source < u.hot:
			err = u.addKnown(source, alert, noScope, key)
		case u.isKnown(noScope, key):
			return nil
		default:
			err = u.push(source, alert)
		}
		if err != nil || !u.isSeveral {
			return err
		}
		return pairs.add(labels, activeAt)
	})
	if err != nil {
		return nil, err
	}
	pairs.match(func(a, b pairedAlert) int {
		return cmp.Or(bytes.Compare(a.key, b.key), bytes.Compare(a.activeAt, b.activeAt))
	})
	pairs.match(func(a, b pairedAlert) int { return bytes.Compare(a.key, b.key) })
	u.list = slices.DeleteFunc(u.list, func(alert tiered) bool { return alert.dropped })
	return u.answer(sets), acquire(0)
}

// readAlert returns the JSON of the labels of an alert, their canonical form, which is valid
// until the next call, and the JSON of the time when it became active.
func readAlert(s *scanner, set *labelSet) (labels, key, activeAt []byte, err error) {
	labels = textNull
	err = s.object(func(member []byte) (err error) {
		switch string(member) {
		case "labels":
			labels, key, err = set.read(s)
		case "activeAt":
			activeAt, err = s.value()
		default:
			err = s.skip()
		}
		return err
	})
	return labels, key, activeAt, err
}

// alertPairs finds which alerts of cold, which have no external labels, are those of hot.
type alertPairs struct {
	*tieredUnion

	own  *labelSet
	list []pairedAlert
}

// pairedAlert is an alert of either tier.
type pairedAlert struct {
	key      []byte // its labels without external ones
	activeAt []byte
	at       int32 // among all alerts
}

// add adds the alert that was added to the union last.
func (p *alertPairs) add(labels, activeAt []byte) error {
	_, key, err := p.own.read(&scanner{data: labels})
	if err == nil {
		key, err = p.keys.keep(key)
	}
	if err == nil {
		made := pairedAlert{key: key, activeAt: activeAt, at: int32(len(p.tieredUnion.list) - 1)} //nolint:gosec // G115: see Join.
		p.list, err = push(p.list, made, p.acquire)
	}
	return err
}

// match pairs alerts of hot and cold that compare finds equal, in their order, and drops those
// of cold.
func (p *alertPairs) match(compare func(a, b pairedAlert) int) {
	slices.SortFunc(p.list, func(a, b pairedAlert) int { return cmp.Or(compare(a, b), cmp.Compare(a.at, b.at)) })
	next := 0 // the alert of hot that the next one of cold is paired with
	for i := range p.list {
		if compare(p.list[next], p.list[i]) != 0 {
			next = i
		}
		if alert := p.alert(i); alert.source < p.hot || alert.dropped {
			continue
		}
		for next < i && p.alert(next).both {
			next++
		}
		if hot := p.alert(next); hot.source < p.hot {
			hot.both, p.alert(i).dropped = true, true
		}
	}
}

func (p *alertPairs) alert(i int) *tiered { return &p.tieredUnion.list[p.list[i].at] }
