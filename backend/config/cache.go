package config

import "net"

// CacheConfig keeps answers of cold that can no longer change: see docs/caching.md.
type CacheConfig struct {
	// Enabled enables the cache. false: off. A datasource can override it.
	Enabled bool `yaml:"enabled"`
	// MaxBytes is the memory for cached answers, in bytes. Answers that wait to be
	// stored take at most half of it. With Redis, only these are in memory. At least
	// 1048576 (1 MiB).
	MaxBytes int `yaml:"max_bytes"`
	// Redis is the server that stores the answers, instead of the gateway's memory.
	// Replicas of the gateway with the same configuration share the answers.
	Redis RedisConfig `yaml:"redis"`
}

// RedisConfig configures the connection to Redis.
type RedisConfig struct {
	// Address is the host:port of the server. Empty: the cache is in memory.
	Address string `yaml:"address"`
	// Username is the Redis user of the gateway. Empty: the default user.
	Username string `yaml:"username"`
	// PasswordFile is the absolute path of a file with the password. tierproxy reads it
	// for every new connection. Empty: no password.
	PasswordFile string `yaml:"password_file"`
	// Database is the number of the Redis database, 0 or more.
	Database int `yaml:"database"`
	// Prefix is the prefix of all keys. Clearing the cache deletes every key with this
	// prefix, so it must not be empty.
	Prefix string `yaml:"prefix"`
	// TLS encrypts the connection, with TLS 1.2 or later.
	TLS bool `yaml:"tls"`
	// CAFile is the absolute path of a PEM file with the CA certificates that verify
	// the server's certificate. tierproxy reads it when it loads the configuration. It
	// has an effect only with tls. Empty: the CA certificates of the system.
	CAFile string `yaml:"ca_file"`
}

func (c RedisConfig) validate(m *mistakes) {
	_, _, err := net.SplitHostPort(c.Address)
	m.addIf(c.Address != "" && err != nil, "cache.redis.address", "%s is not host:port", shown(c.Address))
	m.addIf(c.Prefix == "", "cache.redis.prefix", "is empty, so that clearing the cache would delete everything: set one")
	m.add("cache.redis.password_file", absolute(c.PasswordFile))
	m.add("cache.redis.ca_file", absolute(c.CAFile))
}
