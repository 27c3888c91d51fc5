package splice

import (
	"bufio"
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"iter"
	"maps"
	"slices"
)

// StreamedSource is the answer of one source of a tier in a union that is read while it is
// written.
type StreamedSource struct {
	// Tier is the name of the tier.
	Tier string
	// Name is the name of the source: see Source.
	Name string
	// Body is its answer, which must not be compressed.
	Body io.Reader
	// Injected are labels that are added to its series.
	Injected map[string]string
}

// streamedUnion is what the unions of both kinds have in common.
type streamedUnion struct {
	out            *streamWriter
	limit, written int
	warnings       [][]string // by source
	infos          []string
	// own are the warnings of the union itself.
	own []string
	// failed are the errors of sources.
	failed []error
}

// writeUnion writes an answer whose elements elements writes. truncated is the warning for
// one that limit, if above zero, cuts.
func writeUnion(out *streamWriter, sources, limit int, truncated string, elements func(u *streamedUnion) error) error {
	u := &streamedUnion{out: out, limit: limit, warnings: make([][]string, sources), failed: make([]error, sources)}
	if err := out.write([]byte(`{"status":"success","data":[`)); err != nil {
		return err
	}
	if err := elements(u); err != nil {
		return err
	}
	if !slices.Contains(u.failed, nil) {
		return errors.Join(u.failed...)
	}
	if limit > 0 && u.written > limit {
		u.own = append(u.own, truncated)
	}
	warnings := u.own
	for _, ofSource := range u.warnings {
		warnings = union(warnings, ofSource)
	}
	parts := annotations(`,"warnings":`, warnings, [][]byte{textListEnd})
	return out.write(append(annotations(`,"infos":`, u.infos, parts), textObjectEnd)...)
}

// add writes an element, unless the limit has been reached.
func (u *streamedUnion) add(parts ...[]byte) error {
	if u.written++; u.limit > 0 && u.written > u.limit {
		return nil
	}
	if u.written > 1 {
		if err := u.out.write(textComma); err != nil {
			return err
		}
	}
	return u.out.write(parts...)
}

// warn adds a warning of the union once.
func (u *streamedUnion) warn(warning string) { u.own = union(u.own, []string{warning}) }

// ended notes how a source has ended. It returns errors of writing.
func (u *streamedUnion) ended(i int, source StreamedSource, envelope *Envelope, err error) error {
	if errors.Is(err, errStopped) {
		return err
	}
	if envelope != nil {
		u.warnings[i], u.infos = envelope.Warnings, union(u.infos, envelope.Infos)
	}
	if u.failed[i] = err; err != nil {
		u.warn(MissingWarning(source.Tier, source.Name))
	}
	return nil
}

// StreamSeries returns the union of lists of series, in the order in which they come: those
// of the first source, then those that only the next one has, and so on. acquire bounds what
// is remembered of all but the last one. If that is not enough, series of several may be there
// twice, and a warning says so. A source that fails leaves a warning; reading fails if all do.
// truncated is the warning for a union that a limit above zero cuts.
func StreamSeries(sources []StreamedSource, limit int, truncated string, acquire Acquire) *Stream {
	return newStream(func(out *streamWriter) error {
		return writeUnion(out, len(sources), limit, truncated, func(u *streamedUnion) error {
			seen := &seenKeys{acquire: acquire, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
			for i, source := range sources {
				in, set := newWalker(source.Body), newLabelSet(source.Injected, true)
				var parts [][]byte
				isLast := i == len(sources)-1
				envelope, err := in.envelope(func() error {
					return in.sequence('[', ']', func() error {
						raw, err := in.whole()
						if err != nil {
							return err
						}
						_, key, err := set.read(&scanner{data: raw})
						if err != nil {
							return err
						}
						if seen.has(key, isLast) {
							return nil
						}
						parts = set.parts(raw, parts[:0])
						return u.add(parts...)
					})
				})
				if err := u.ended(i, source, envelope, err); err != nil {
					return err
				}
			}
			if seen.isFull && len(sources) > 1 {
				u.warn("there are too many series to compare the tiers: some may be listed twice")
			}
			return nil
		})
	})
}

// seenKeys remembers keys by hashes of 128 bits.
type seenKeys struct {
	acquire Acquire
	seeds   [2]maphash.Seed
	hashes  map[[2]uint64]struct{}
	isFull  bool
}

// seenCost is what one key takes, in bytes.
const seenCost = 32

// has reports whether a key was remembered, and remembers it unless it isLast.
func (s *seenKeys) has(key []byte, isLast bool) bool {
	if isLast && s.hashes == nil {
		return false
	}
	hash := [2]uint64{maphash.Bytes(s.seeds[0], key), maphash.Bytes(s.seeds[1], key)}
	if _, is := s.hashes[hash]; is {
		return true
	}
	if isLast || s.isFull {
		return false
	}
	const chunk = 1024
	if len(s.hashes)%chunk == 0 && s.acquire(chunk*seenCost) != nil {
		s.isFull = true
		return false
	}
	if s.hashes == nil {
		s.hashes = map[[2]uint64]struct{}{}
	}
	s.hashes[hash] = struct{}{}
	return false
}

// StreamTexts returns the union of lists of texts, which every Prometheus sorts. If a list is
// not sorted, some may be there twice, and a warning says so. The names of labels that are
// injected are part of what a source holds, unless it holds nothing. See StreamSeries.
func StreamTexts(sources []StreamedSource, limit int, truncated string) *Stream {
	return newStream(func(out *streamWriter) error {
		return writeUnion(out, len(sources), limit, truncated, func(u *streamedUnion) error {
			lists := make([]*textList, len(sources))
			ahead := 2 * streamChunk / max(2, len(sources)) // Many sources take the memory of two.
			for i, source := range sources {
				lists[i] = newTextList(source, ahead)
				defer lists[i].stop()
			}
			var last []byte
			for {
				smallest := -1
				for i, list := range lists {
					if !list.isDone && (smallest < 0 || bytes.Compare(list.text, lists[smallest].text) < 0) {
						smallest = i
					}
				}
				if smallest < 0 {
					break
				}
				list := lists[smallest]
				order := bytes.Compare(last, list.text)
				if order > 0 {
					u.warn("a list of a tier is not sorted: some may be listed twice")
				}
				if order != 0 || u.written == 0 {
					if err := u.add(list.raw); err != nil {
						return err
					}
				}
				last = append(last[:0], list.text...)
				list.advance()
			}
			for i, list := range lists {
				if err := u.ended(i, sources[i], list.envelope, list.err); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// textList reads the texts of a source, one after the other.
type textList struct {
	text   []byte // the one at hand, unless isDone
	raw    []byte // its JSON
	isDone bool
	// envelope and err are there once isDone.
	envelope *Envelope
	err      error

	next func() ([]byte, bool)
	stop func()
}

// newTextList returns a list at its first text, which reads that many bytes ahead.
func newTextList(source StreamedSource, ahead int) *textList {
	list := &textList{}
	list.next, list.stop = iter.Pull(func(yield func([]byte) bool) {
		injected := slices.Sorted(maps.Keys(source.Injected))
		// before yields the injected names that come before a text.
		before := func(isBefore func(name string) bool) bool {
			for len(injected) > 0 && isBefore(injected[0]) {
				text := []byte(injected[0])
				if list.raw = quoted(text); !yield(text) {
					return false
				}
				injected = injected[1:]
			}
			return true
		}
		in, isEmpty := &walker{source: bufio.NewReaderSize(source.Body, max(ahead, smallestChunk))}, true
		list.envelope, list.err = in.envelope(func() error {
			return in.sequence('[', ']', func() error {
				raw, err := in.whole()
				if err != nil {
					return err
				}
				s := &scanner{data: raw}
				if raw, err = s.string(); err == nil {
					err = s.end()
				}
				if err != nil {
					return err
				}
				text, err := unquoted(raw)
				if err != nil {
					return err
				}
				isEmpty = false
				if !before(func(name string) bool { return name < string(text) }) {
					return errStopped
				}
				if list.raw = raw; !yield(text) {
					return errStopped
				}
				return nil
			})
		})
		if !isEmpty {
			before(func(string) bool { return true })
		}
	})
	list.advance()
	return list
}

// advance moves on to the next text.
func (l *textList) advance() {
	var more bool
	l.text, more = l.next()
	l.isDone = !more
}
