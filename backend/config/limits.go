package config

// QueryConfig limits a single query.
type QueryConfig struct {
	// Timeout is the timeout of a query, including all retries and the response body.
	Timeout Duration `yaml:"timeout" contract:"DATASOURCE_QUERY_TIMEOUT"`
	// MaxRange is the longest time range, from start to end, of a query through
	// POST /api/v1/metrics/query or ExecuteQuery. 0s: no limit.
	MaxRange Duration `yaml:"max_range"`
	// MaxLength is the maximum length of the PromQL in a request, in bytes: the query,
	// or all match[] parameters together. At most 1048576 (1 MiB).
	MaxLength int `yaml:"max_length"`
	// SpliceBytes is the memory, in bytes, for all answers that tierproxy is merging
	// from pieces. One datasource gets at most as much as it leaves free: half, if no
	// other datasource uses any. tierproxy does not split a query that needs more. At
	// least 1048576 (1 MiB).
	SpliceBytes int `yaml:"splice_bytes"`
}

// BodyMemoryFactor is the number of bytes of memory for each byte of a request
// body: tierproxy reads, decodes and rewrites the body.
const BodyMemoryFactor = 4

const (
	// minBodyBytes is the smallest limit for a request body, in bytes.
	minBodyBytes = 256 << 10
	// bodyBytesPerQueryByte is the limit for a request body as a multiple of
	// query.max_length.
	bodyBytesPerQueryByte = 4
)

// MaxBodyBytes returns the maximum size of a request body, in bytes.
func (c QueryConfig) MaxBodyBytes() int {
	return max(minBodyBytes, bodyBytesPerQueryByte*c.MaxLength)
}

// PoolConfig limits the connections to a tier.
type PoolConfig struct {
	// Size is the maximum number of connections for queries to one tier. tierproxy
	// opens up to four more for its own probes.
	Size int `yaml:"size" contract:"DATASOURCE_POOL_SIZE"`
	// HTTP2 enables HTTP/2 for tiers that offer it over TLS, unless enable_http2 of
	// their http_config is false. HTTP/2 needs one connection, HTTP/1.1 one for each
	// concurrent query. HTTP/2 uses more CPU.
	HTTP2 bool `yaml:"http2"`
}

// LimitsConfig limits the concurrent queries of a tier, and the memory for answers.
type LimitsConfig struct {
	// Concurrent is the maximum number of concurrent queries to one tier. Each replica
	// counts as a tier. 0: the value of pool.size.
	Concurrent int `yaml:"concurrent"`
	// Queue is the maximum number of queries that wait for one tier. tierproxy serves
	// the callers in turn, so that a busy caller delays only itself. If the queue is
	// full, tierproxy answers with status 503 and Retry-After. Up to four times as many
	// queries may wait for the answer to an identical query in flight.
	Queue int `yaml:"queue"`
	// QueueWait is the longest time that a query waits in the queue. After that,
	// tierproxy answers with status 503 and Retry-After.
	QueueWait Duration `yaml:"queue_wait"`
	// SharedBytes is the largest answer, in bytes, that identical concurrent queries
	// share. 0: tierproxy sends every query to the tier.
	SharedBytes int `yaml:"shared_bytes"`
	// SharedMemory is the memory for all shared answers together, in bytes. If it is
	// full, tierproxy sends every query to the tier.
	SharedMemory int `yaml:"shared_memory"`
	// RequestMemory is the memory for the bodies and query strings of all requests, in
	// bytes. Each request counts with four times its size. One datasource gets at most
	// half, all callers that Perses authenticates together half, and one caller a
	// quarter. If it is full, tierproxy answers with status 503 and Retry-After.
	RequestMemory int `yaml:"request_memory"`
	// DecodedMemory is the memory, in bytes, for all answers that tierproxy decodes as
	// a whole. These are unions of both tiers, metadata with added labels, limited
	// answers and the answers of ExecuteQuery. The decoded size counts: a union of
	// series takes about three times its bytes. One datasource gets at most as much as
	// it leaves free: half if no other uses any, a third if another uses as much. If it
	// is full, tierproxy joins series, names and values, and limits queries, while the
	// answers come in. It answers all others with status 503 and Retry-After. tierproxy
	// streams everything else.
	DecodedMemory int `yaml:"decoded_memory"`
	// ProjectTiers is the maximum number of tiers in use by the datasources of one
	// Perses project. The gateway's own tiers do not count; each replica counts as a
	// tier. A new tier replaces the least recently used one. If all are in use,
	// tierproxy answers with status 503 and Retry-After.
	ProjectTiers int `yaml:"project_tiers"`
}
