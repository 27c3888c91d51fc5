package targets

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// mostHoles is the maximum number of holes of one server.
	mostHoles = 1000
	// mostOfTarget is the maximum number of holes of one target. Beyond that, those next to each
	// other count as one.
	mostOfTarget = 10
	// mostOfServer is the maximum number of holes of the whole server, and pieceOfServer the length
	// of a new one: where else a target was scraped is asked for each of them.
	mostOfServer  = 100
	pieceOfServer = 5 * time.Minute
)

// store holds the holes of a server. Beyond its bounds, it holds longer ones, or holes of the whole
// server: never less than there are.
type store struct {
	byTarget map[string]*outages
	server   []stretch // in which more targets were down than can be told apart
	count    int       // of the holes of targets
}

// outages are the holes of one target, in order.
type outages struct {
	target Target
	list   []stretch
}

// isDown reports whether the last hole has no end yet.
func (o *outages) isDown() bool { return o.list[len(o.list)-1].to == End }

// keyOf returns what tells a target from others.
func keyOf(target Target) string { return promql.FormatLabels(target) }

// isDown reports whether a target is known to be down.
func (s *store) isDown(key string) bool {
	known := s.byTarget[key]
	return known != nil && known.isDown()
}

// down returns the targets that are known to be down, by their keys.
func (s *store) down() map[string]Target {
	list := map[string]Target{}
	for key, known := range s.byTarget {
		if known.isDown() {
			list[key] = known.target
		}
	}
	return list
}

// replace replaces what is known of a target since a time. A hole from before that ends at resumed, at
// the latest.
func (s *store) replace(target Target, since, resumed int64, found []stretch) {
	key := keyOf(target)
	var list []stretch
	if known := s.byTarget[key]; known != nil {
		s.count -= len(known.list)
		for _, each := range known.list {
			if each.from < since {
				list = append(list, stretch{each.from, min(each.to, resumed)})
			}
		}
	}
	// A hole that goes on is one with the part before.
	list = fewer(joined(append(list, found...)), mostOfTarget)
	if len(list) == 0 {
		delete(s.byTarget, key)
		return
	}
	if s.byTarget == nil {
		s.byTarget = map[string]*outages{}
	}
	s.byTarget[key] = &outages{target, list}
	s.count += len(list)
	if s.count > mostHoles {
		s.shrink()
	}
}

// addServer adds a stretch in which it is not known which targets were down. The last piece of it has
// no end yet.
func (s *store) addServer(since, until int64) {
	for from := since; from < until; from += pieceOfServer.Milliseconds() {
		s.server = append(s.server, stretch{from, min(from+pieceOfServer.Milliseconds(), until)})
	}
	s.server[len(s.server)-1].to = End
	s.server = fewer(s.server, mostOfServer)
}

// endServer ends the stretch of the whole server that has no end yet.
func (s *store) endServer(at int64) {
	if last := len(s.server) - 1; last >= 0 && s.server[last].to == End {
		s.server[last].to = at
	}
}

// shrink makes room: the holes that ended first become one of the whole server.
func (s *store) shrink() {
	type ended struct {
		key string
		stretch
	}
	var all []ended
	for key, known := range s.byTarget {
		for _, each := range known.list {
			all = append(all, ended{key, each})
		}
	}
	slices.SortFunc(all, func(a, b ended) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	for _, each := range all[:len(all)-mostHoles*9/10] {
		known := s.byTarget[each.key]
		known.list = slices.DeleteFunc(known.list, func(of stretch) bool { return of == each.stretch })
		if s.count--; len(known.list) == 0 {
			delete(s.byTarget, each.key)
		}
		s.server = append(s.server, each.stretch)
	}
	slices.SortFunc(s.server, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	s.server = fewer(joined(s.server), mostOfServer)
}

// forget drops the holes that ended before a time.
func (s *store) forget(before int64) {
	isOver := func(of stretch) bool { return of.to <= before }
	s.server = slices.DeleteFunc(s.server, isOver)
	maps.DeleteFunc(s.byTarget, func(_ string, known *outages) bool {
		all := len(known.list)
		known.list = slices.DeleteFunc(known.list, isOver)
		s.count -= all - len(known.list)
		return len(known.list) == 0
	})
}

// holes returns a copy of all holes, in the order of their ends, the latest first.
func (s *store) holes() (list []Hole) {
	for _, each := range s.server {
		list = append(list, Hole{From: each.from, To: each.to})
	}
	for _, key := range slices.Sorted(maps.Keys(s.byTarget)) {
		known := s.byTarget[key]
		for _, each := range known.list {
			list = append(list, Hole{Target: known.target, From: each.from, To: each.to})
		}
	}
	slices.SortStableFunc(list, func(a, b Hole) int { return cmp.Or(cmp.Compare(b.To, a.To), cmp.Compare(a.From, b.From)) })
	return list
}
