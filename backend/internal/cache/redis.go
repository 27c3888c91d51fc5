package cache

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

const (
	// redisPatience is how long a query waits for Redis at most.
	redisPatience = 5 * time.Millisecond
	// redisPause is how long Redis is skipped after redisInARow failures.
	redisPause      = time.Second
	redisInARow     = 3
	redisIdleAtOnce = 8 // connections that are kept open: making one takes long
	// redisWrite bounds writing an entry and clearing the cache. No query waits for it.
	redisWrite = 2 * time.Second
	// redisWrites bounds how many entries are written at a time. A probe confirms
	// those of a whole dashboard at once: the others wait for redisWrite at most.
	redisWrites = 8
	// clearAtOnce is how many keys are deleted at a time.
	clearAtOnce = 500
)

// shared keeps entries in a Redis that several gateways share. A query waits for
// redisPatience at most; an entry is written within redisWrite, or not at all.
type shared struct {
	client   *redis.Client
	prefix   string
	failures atomic.Int64
	inARow   atomic.Int64
	failedAt atomic.Int64  // when that counted last, in nanoseconds since the Unix epoch
	pausedTo atomic.Int64  // the same unit
	writing  chan struct{} // a place per entry that is being written
}

// NewRedis returns a cache in the Redis of a configuration, without a connection. It
// returns the errors of all files that cannot be read, joined.
func NewRedis(c config.CacheConfig) (*Cache, error) {
	logging.Disable() // It writes past our log, a line for each attempt. Failures are counted.
	options := &redis.Options{
		Addr: c.Redis.Address, Username: c.Redis.Username, DB: c.Redis.Database, ClientName: "tierproxy",
		DialTimeout: time.Second, ReadTimeout: redisWrite, WriteTimeout: redisWrite, PoolTimeout: redisPatience,
		MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true, MinIdleConns: redisIdleAtOnce,
	}
	var errs []error
	if c.Redis.PasswordFile != "" {
		options.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := os.ReadFile(c.Redis.PasswordFile)
			return c.Redis.Username, strings.TrimSpace(string(password)), err
		}
		if _, err := os.ReadFile(c.Redis.PasswordFile); err != nil {
			errs = append(errs, fmt.Errorf("cache.redis.password_file: %w", err))
		}
	}
	if c.Redis.TLS {
		var err error
		if options.TLSConfig, err = promconfig.NewTLSConfig(&promconfig.TLSConfig{CAFile: c.Redis.CAFile, MinVersion: tls.VersionTLS12}); err != nil {
			errs = append(errs, fmt.Errorf("cache.redis.ca_file: %w", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	client := &shared{client: redis.NewClient(options), prefix: c.Redis.Prefix, writing: make(chan struct{}, redisWrites)}
	return newCache(client, int64(c.MaxBytes)), nil
}

func (s *shared) name(key Key) string { return s.prefix + hex.EncodeToString(key[:]) }

// pause returns how long Redis is still skipped because it has failed. It is not
// positive where Redis is used.
func (s *shared) pause() time.Duration {
	return time.Duration(s.pausedTo.Load() - time.Now().UnixNano())
}

// failed counts a failure of Redis. Failures of concurrent calls count once: the panels
// of a dashboard come together, and one moment in which the machine is busy is no reason
// to skip Redis.
func (s *shared) failed(began time.Time) {
	s.failures.Add(1)
	last, now := s.failedAt.Load(), time.Now().UnixNano()
	if began.UnixNano() < last || !s.failedAt.CompareAndSwap(last, now) || s.inARow.Add(1) < redisInARow {
		return
	}
	s.pausedTo.Store(time.Now().Add(redisPause).UnixNano())
}

func (s *shared) get(ctx context.Context, key Key) []byte {
	if s.pause() > 0 {
		s.failures.Add(1)
		return nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	type outcome struct {
		text []byte
		err  error
	}
	// The client does not return as soon as the context ends while it connects.
	answered := make(chan outcome, 1)
	go func() {
		text, err := s.client.Get(ctx, s.name(key)).Bytes()
		answered <- outcome{text, err}
	}()
	select {
	case result := <-answered:
		if result.err == nil || errors.Is(result.err, redis.Nil) {
			s.inARow.Store(0)
			return result.text
		}
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // Otherwise the query has ended.
		s.failed(began)
	}
	return nil
}

func (s *shared) set(key Key, text []byte, life time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), redisWrite)
	defer cancel()
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return // It is slow: the query will be sent again.
	}
	defer func() { <-s.writing }()
	for pause := s.pause(); pause > 0; pause = s.pause() {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
	began := time.Now()
	if err := s.client.Set(ctx, s.name(key), text, life).Err(); err != nil {
		s.failed(began)
		return
	}
	s.inARow.Store(0)
}

// clear deletes the keys with the prefix, and no others.
func (s *shared) clear(ctx context.Context) error {
	for cursor := uint64(0); ; {
		names, next, err := s.client.Scan(ctx, cursor, s.prefix+"*", clearAtOnce).Result()
		for batch := range slices.Chunk(names, clearAtOnce) {
			if err == nil {
				err = s.client.Unlink(ctx, batch...).Err()
			}
		}
		if err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

func (s *shared) stats() Stats { return Stats{Failures: s.failures.Load()} }

func (s *shared) close() { _ = s.client.Close() } // Entries that are being written are lost.
