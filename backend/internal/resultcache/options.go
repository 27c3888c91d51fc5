package resultcache

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// OptionsOf returns the options for the Redis of a configuration. It returns an
// error when a file cannot be read.
func OptionsOf(c config.CacheConfig) (RedisOptions, error) {
	options := RedisOptions{
		Address: c.Redis.Address, Username: c.Redis.Username, Database: c.Redis.Database, Prefix: c.Redis.Prefix, MostBytes: int64(c.MaxBytes),
	}
	if c.Redis.PasswordFile != "" {
		options.Password = func() (string, error) {
			text, err := os.ReadFile(c.Redis.PasswordFile)
			return strings.TrimSpace(string(text)), err
		}
		if _, err := options.Password(); err != nil {
			return options, fmt.Errorf("cache.redis.password_file: %w", err)
		}
	}
	if !c.Redis.TLS {
		return options, nil
	}
	options.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Redis.CAFile != "" {
		pem, err := os.ReadFile(c.Redis.CAFile)
		if err != nil {
			return options, fmt.Errorf("cache.redis.ca_file: %w", err)
		}
		options.TLS.RootCAs = x509.NewCertPool()
		if !options.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return options, fmt.Errorf("cache.redis.ca_file: %q holds no PEM certificate", c.Redis.CAFile)
		}
	}
	return options, nil
}
