package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
)

// CacheConfig keeps answers of cold that can no longer change. docs/caching.md
// says what that is.
type CacheConfig struct {
	// Enabled switches the cache on. A datasource may set its own.
	Enabled bool `yaml:"enabled"`
	// MaxBytes is the number of bytes of memory that kept answers take at most. As
	// much as half of it may be taken by answers that wait to be kept. With Redis
	// these are the only ones in memory. At least 1 MiB.
	MaxBytes int `yaml:"max_bytes"`
	// Redis is the server that keeps the answers instead of the gateway's memory.
	// Replicas of the gateway with the same configuration share what is kept there.
	Redis RedisConfig `yaml:"redis"`
}

// RedisConfig says where a Redis is.
type RedisConfig struct {
	// Address is the host:port of the server. Empty: answers are kept in memory.
	Address string `yaml:"address"`
	// Username is the Redis user of the gateway. Empty: the default user.
	Username string `yaml:"username"`
	// PasswordFile is the absolute path of a file with the password. It is read
	// for every new connection. Empty: no password is sent.
	PasswordFile string `yaml:"password_file"`
	// Database is the number of the Redis database, 0 or more.
	Database int `yaml:"database"`
	// Prefix is the beginning of all keys. To clear the cache deletes every key that
	// begins with it, so it must not be empty.
	Prefix string `yaml:"prefix"`
	// TLS encrypts the connection, with TLS 1.2 or later.
	TLS bool `yaml:"tls"`
	// CAFile is the absolute path of a PEM file with the authorities that may sign
	// the server's certificate. It is read when the configuration is loaded, and
	// counts with tls alone. Empty: the authorities of the system.
	CAFile string `yaml:"ca_file"`
}

// validate checks the settings.
func (c *CacheConfig) validate(add func(key string, err error)) {
	if c.MaxBytes < 1<<20 {
		add("cache.max_bytes", fmt.Errorf("is %d, and must be at least 1 MiB (%d)", c.MaxBytes, 1<<20))
	}
	if c.Redis.Address != "" {
		if _, _, err := net.SplitHostPort(c.Redis.Address); err != nil {
			add("cache.redis.address", fmt.Errorf("%q is not host:port", c.Redis.Address))
		}
	}
	if c.Redis.Database < 0 {
		add("cache.redis.database", errors.New("must not be negative"))
	}
	if c.Redis.Prefix == "" {
		add("cache.redis.prefix", errors.New("is empty, so that clearing the cache would delete everything: set one"))
	}
	add("cache.redis.password_file", absolute(c.Redis.PasswordFile))
	add("cache.redis.ca_file", absolute(c.Redis.CAFile))
}

// Fingerprint returns a text that changes with every key of the configuration, secrets included, and
// shows nothing of them. What stands in the files that keys name is not part of
// it.
func (c *Config) Fingerprint() string {
	hash := sha256.New()
	writeValue(hash, reflect.ValueOf(*c))
	return hex.EncodeToString(hash.Sum(nil))
}

// writeValue writes everything that a value holds, functions and channels aside.
func writeValue(to io.Writer, value reflect.Value) {
	_, _ = fmt.Fprintf(to, "%d:", value.Kind()) // A hash takes everything.
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			writeValue(to, value.Elem())
		}
	case reflect.Struct:
		for i := range value.NumField() {
			writeValue(to, value.Field(i))
		}
	case reflect.Slice, reflect.Array:
		_, _ = fmt.Fprintf(to, "%d:", value.Len())
		for i := range value.Len() {
			writeValue(to, value.Index(i))
		}
	case reflect.Map:
		entries := map[string]reflect.Value{}
		for _, key := range value.MapKeys() {
			entries[fmt.Sprintf("%q", key.String())] = value.MapIndex(key)
		}
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			_, _ = io.WriteString(to, key)
			writeValue(to, entries[key])
		}
	case reflect.String:
		_, _ = fmt.Fprintf(to, "%q", value.String())
	case reflect.Bool:
		_, _ = fmt.Fprintf(to, "%t;", value.Bool())
	default:
		// A number is written without its methods, which may round it.
		switch {
		case value.CanInt():
			_, _ = fmt.Fprintf(to, "%d;", value.Int())
		case value.CanUint():
			_, _ = fmt.Fprintf(to, "%d;", value.Uint())
		case value.CanFloat():
			_, _ = fmt.Fprintf(to, "%x;", value.Float())
		}
	}
}
