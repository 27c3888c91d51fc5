package stack

import (
	"cmp"
	"context"
	"path/filepath"
)

// VictoriaMetrics describes a single-node VictoriaMetrics.
type VictoriaMetrics struct {
	// Dir holds its data and its log.
	Dir string
	// LatencyOffset is how old a sample has to be to be in an answer; empty for zero. The default of
	// the server is 30s.
	LatencyOffset string
}

// Start starts the server from the program at path.
func (v VictoriaMetrics) Start(ctx context.Context, path string) (*Server, error) {
	listen, err := address(0)
	if err != nil {
		return nil, err
	}
	process, err := Start(ctx, Command{
		Name: "victoria-metrics", Path: path, LogDir: v.Dir,
		Arguments: []string{"-httpListenAddr", listen, "-storageDataPath", filepath.Join(v.Dir, "victoria-metrics"), "-search.latencyOffset", cmp.Or(v.LatencyOffset, "0s")},
		ReadyURL:  "http://" + listen + "/health",
	})
	if err != nil {
		return nil, err
	}
	return &Server{Process: process, URL: "http://" + listen}, nil
}
