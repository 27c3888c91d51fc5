package catalog

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Server is what is known of the server that a tier is.
type Server struct {
	// Kind is the kind of the server. It is empty while it is unknown, for example behind a proxy
	// that serves no status endpoints.
	Kind upstream.ServerKind
	// Version is the version that the server reports, or empty.
	Version string
}

// String returns the kind and the version, or an empty string.
func (s Server) String() string {
	if s.Kind == upstream.ServerUnknown || s.Version == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + " " + s.Version
}

// buildInfoInterval is the time after which the version is read again although the server seems to be
// the same.
const buildInfoInterval = time.Hour

// componentReceive is the type of a Thanos Receive in the list of stores.
const componentReceive = "receive"

// buildInfo is what a server reports of its build.
type buildInfo struct {
	Application string `json:"application"` // Mimir
	Version     string `json:"version"`
}

// knownServer is what the last look found out about the server.
type knownServer struct {
	Server

	identity string // of the answers that led to it
	askedAt  time.Time
}

// recognize adds the kind of the server to a status, mostly by what the look has asked anyway. Only Run
// uses it.
func (t *Tier) recognize(ctx context.Context, status *Status, now time.Time) {
	isUnread := func(stores *storeWatch) bool { return stores.seen != nil && !stores.missing.Equal(now) }
	if status.evaluated == nil || (status.Stores == nil && (isUnread(&t.stores) || isUnread(&t.hotStores.watch))) {
		status.Server = t.recognized.Server // Nothing new is known.
		return
	}
	kind := serverKindOf(status)
	if identity := string(kind) + " " + status.server; identity != t.recognized.identity || now.Sub(t.recognized.askedAt) >= buildInfoInterval {
		info, err := ownrequest.Ask[buildInfo](ctx, t.api.As(ownrequest.KindSettings), "/api/v1/status/buildinfo", nil)
		if err == nil || upstream.CannotTell(err) {
			t.recognized = knownServer{Server: serverOf(kind, info), identity: identity, askedAt: now}
			if t.recognized.Kind == upstream.ServerUnknown && t.api.WantsTenant(ctx) {
				t.recognized.Kind = upstream.ServerCortex
			}
		} else if identity != t.recognized.identity {
			t.recognized = knownServer{Server: Server{Kind: kind}}
		}
	}
	status.Server = t.recognized.Server
	t.api.Recognize(status.Server.Kind, status.evaluated)
}

// serverKindOf returns the kind of a server by what it answers. A server that does not tell stays unknown.
func serverKindOf(status *Status) upstream.ServerKind {
	switch {
	case status.Stores != nil:
		isOther := func(store Store) bool { return store.Kind != componentReceive }
		if len(status.Stores) > 0 && !slices.ContainsFunc(status.Stores, isOther) {
			return upstream.ServerThanosReceivers
		}
		return upstream.ServerThanosQuery
	case status.isMetricsQL:
		return upstream.ServerVictoriaMetrics
	case status.reportsRetention:
		return upstream.ServerPrometheus
	}
	return upstream.ServerUnknown
}

// serverOf returns the server of a kind that is known, or that its build tells.
func serverOf(kind upstream.ServerKind, info buildInfo) Server {
	switch {
	case kind == upstream.ServerVictoriaMetrics:
		return Server{Kind: kind} // It reports the version of a Prometheus.
	case kind == upstream.ServerUnknown && strings.Contains(info.Application, "Mimir"):
		kind = upstream.ServerMimir
	}
	return Server{Kind: kind, Version: info.Version}
}

// Server returns what is known of the server.
func (t *Tier) Server() Server { return t.status.Load().Server }

// IsRecognized reports whether the server has answered a probe.
func (t *Tier) IsRecognized() bool { return t.api.IsRecognized() }

// SpeaksMetricsQL reports whether the server is known to evaluate MetricsQL instead of PromQL.
func (t *Tier) SpeaksMetricsQL() bool { return t.api.SpeaksMetricsQL() }

// IsMetricsQL reports whether an answer with such a header may be evaluated in MetricsQL. If the server
// answers in another way than when it was recognised, it has the server recognised anew.
func (t *Tier) IsMetricsQL(header http.Header) bool {
	is, isOther := t.api.IsMetricsQL(header)
	if isOther && !t.mayBeOther.Swap(true) {
		t.probes.Request()
	}
	return is
}
