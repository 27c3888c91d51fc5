package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// future is how far the newest block reaches beyond its making, and reusable how
	// old blocks may be: the rest is for the measurement.
	future   = 24 * time.Hour
	reusable = 20 * time.Hour
	// builtFile says in a directory what blocks it has.
	builtFile = "scale.json"
)

// built says what blocks a directory has.
type built struct {
	// Foreign and Own are the numbers of series, see options, and Containers that of containers.
	Foreign, Own, Containers int
	// At is when they were made; zero while they are not complete.
	At time.Time
	// Hot are the names of hot's blocks.
	Hot []string
}

// usable reports whether the blocks are those that the options ask for.
func (b built) usable(o options, now time.Time) bool {
	return b.Foreign == o.foreign && b.Own == o.own && b.Containers == o.own/perTarget*containers && now.Sub(b.At) < reusable
}

// build makes the programs, and the blocks unless the directory has them.
func (w *world) build(ctx context.Context) error {
	if err := w.lockDirectory(); err != nil {
		return err
	}
	found, err := w.found()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(w.run()); err != nil {
		return err
	}
	if err := os.MkdirAll(w.run(), 0o700); err != nil {
		return err
	}
	if err := w.findPrograms(ctx); err != nil {
		return err
	}
	if now := time.Now(); found.usable(w.options, now) {
		w.say("using the blocks in %s, made %s ago", w.dir, now.Sub(found.At).Round(time.Minute))
		return w.forgetScrapes(found)
	}
	return w.makeBlocks(ctx)
}

// lockDirectory fails if another run uses the directory.
func (w *world) lockDirectory() (err error) {
	if w.lock, err = os.Open(w.dir); err != nil {
		return err
	}
	if err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another run uses %s: %w", w.dir, err)
	}
	return nil
}

// found returns what blocks the directory has. A directory that has anything else is
// not ours to write to.
func (w *world) found() (found built, err error) {
	text, err := os.ReadFile(w.path(builtFile))
	if err == nil {
		return found, json.Unmarshal(text, &found)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return found, err
	}
	entries, err := os.ReadDir(w.dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty, and has no blocks of an earlier run", w.dir)
	}
	return found, err
}

// findPrograms builds what is missing.
func (w *world) findPrograms(ctx context.Context) (err error) {
	w.programs = map[string]string{"tierproxy": w.options.binary}
	for _, name := range []string{"prometheus", "thanos", "perses"} {
		if w.programs[name], err = stack.Tool(ctx, w.progress, name); err != nil {
			return err
		}
	}
	if w.options.binary == "" {
		w.programs["tierproxy"], err = stack.BuildTierproxy(ctx, w.run())
	}
	return err
}

// makeBlocks removes what the directory has, and makes the blocks.
func (w *world) makeBlocks(ctx context.Context) error {
	made := built{Foreign: w.options.foreign, Own: w.options.own, Containers: w.options.own / perTarget * containers}
	if err := w.writeBuilt(made); err != nil {
		return err
	}
	for _, name := range []string{"bucket", "hot", "blocks", "thanos-store"} {
		if err := os.RemoveAll(w.path(name)); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(w.run(), "upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	now := time.Now().Truncate(time.Minute)
	for _, cluster := range w.options.clusters() {
		w.say("writing %d series of %s in %d blocks", cluster.series, cluster.name, blocks)
		directory := w.path("blocks")
		if cluster.name == own {
			directory = w.path("hot")
		}
		if err := cluster.writeBlocks(ctx, directory, now); err != nil {
			return err
		}
		if err := w.thanos().Upload(ctx, w.programs["thanos"], directory, log, fmt.Sprintf("cluster=%q", cluster.name)); err != nil {
			return err
		}
		if err := os.RemoveAll(w.path("blocks")); err != nil {
			return err
		}
	}
	made.At = now
	if made.Hot, err = w.inHot(); err != nil {
		return err
	}
	return w.writeBuilt(made)
}

func (w *world) writeBuilt(made built) error {
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	return stack.Replace(w.path(builtFile), text)
}

// forgetScrapes removes from hot what it scraped in earlier runs: the pause since then
// would count as a gap.
func (w *world) forgetScrapes(made built) error {
	names, err := w.inHot()
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(made.Hot, name) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(w.path("hot"), name)); err != nil {
			return err
		}
	}
	return nil
}

// inHot returns the names in hot's directory.
func (w *world) inHot() ([]string, error) {
	entries, err := os.ReadDir(w.path("hot"))
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}
