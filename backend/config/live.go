package config

// LiveConfig limits the streams of GET /api/v1/metrics/live and of Router.Live: see docs/live.md.
type LiveConfig struct {
	// MaxStreams is the maximum number of streams. tierproxy answers further requests with
	// status 503 and Retry-After. A stream takes about 40 KiB of memory. 0: no live queries.
	MaxStreams int `yaml:"max_streams"`
	// MaxStreamsPerCaller is the maximum number of streams of one caller: a user of
	// Perses or, without authentication, an address.
	MaxStreamsPerCaller int `yaml:"max_streams_per_caller"`
	// Memory is the memory, in bytes, for the steps that may still change, and for updates
	// that are being sent. One datasource gets at most as much as it leaves free: half, if
	// no other datasource uses any. At least 1048576 (1 MiB).
	Memory int `yaml:"memory"`
}
