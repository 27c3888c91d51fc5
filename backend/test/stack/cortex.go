package stack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CortexTenantHeader is the request header that names the tenant of a Cortex.
const CortexTenantHeader = "X-Scope-OrgID"

// Cortex describes a Cortex with several tenants, all of its parts in one process.
type Cortex struct {
	// Dir holds its configuration, its data and its log.
	Dir string
}

// Start starts the server from the program at path. The Prometheus API is at /prometheus of its
// URL, and remote write at /api/v1/push. Both take the header of a tenant.
func (c Cortex) Start(ctx context.Context, path string) (*Server, error) {
	listen, err := address(0)
	if err != nil {
		return nil, err
	}
	grpc, err := FreePort()
	if err != nil {
		return nil, err
	}
	host, text, _ := strings.Cut(listen, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	for _, each := range []string{"rules", "ruler", "alerts"} {
		if err := os.MkdirAll(c.path(each), 0o700); err != nil {
			return nil, err
		}
	}
	config, err := writeYAML(c.Dir, "cortex.yaml", c.config(host, port, grpc))
	if err != nil {
		return nil, err
	}
	process, err := Start(ctx, Command{
		Name: "cortex", Path: path, LogDir: c.Dir,
		Arguments: []string{"-config.file", config, "-log.level", "warn"},
		ReadyURL:  "http://" + listen + "/ready",
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: "http://" + listen}, nil
}

// path returns the directory of a part.
func (c Cortex) path(part string) string { return filepath.Join(c.Dir, "cortex", part) }

// config returns a configuration in which the ingester keeps all samples and no limit is in the
// way of a test.
func (c Cortex) config(host string, port, grpc int) document {
	store := document{"store": "inmemory"}
	inMemory := document{"kvstore": store, "instance_addr": host}
	return document{
		"auth_enabled": true,
		"server": document{
			"http_listen_address": host, "http_listen_port": port, "grpc_listen_address": host, "grpc_listen_port": grpc,
			"grpc_server_max_recv_msg_size": 100 << 20, "grpc_server_max_send_msg_size": 100 << 20,
		},
		"distributor": document{"shard_by_all_labels": true, "ring": inMemory},
		"ingester": document{"lifecycler": document{
			"address": host, "min_ready_duration": "0s", "final_sleep": "0s", "join_after": "0s",
			"ring": document{"kvstore": store, "replication_factor": 1},
		}},
		"querier": document{"query_ingesters_within": "0s", "active_query_tracker_dir": c.path("queries")},
		"blocks_storage": document{
			"backend": "filesystem", "filesystem": document{"dir": c.path("bucket")},
			"tsdb":         document{"dir": c.path("tsdb"), "retention_period": "240h"},
			"bucket_store": document{"sync_dir": c.path("sync")},
		},
		"compactor":            document{"data_dir": c.path("compactor"), "sharding_ring": inMemory},
		"store_gateway":        document{"sharding_ring": inMemory},
		"ruler":                document{"ring": inMemory, "rule_path": c.path("ruler")},
		"ruler_storage":        document{"backend": "local", "local": document{"directory": c.path("rules")}},
		"alertmanager":         document{"external_url": "http://" + host, "data_dir": c.path("alertmanager"), "sharding_ring": inMemory},
		"alertmanager_storage": document{"backend": "local", "local": document{"path": c.path("alerts")}},
		"limits": document{
			"ingestion_rate": 10_000_000, "ingestion_burst_size": 10_000_000, "max_exemplars": 1000,
		},
	}
}
