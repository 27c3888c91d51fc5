package upstream

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
)

// ServerKind is the kind of server that a tier is, as people call it.
type ServerKind string

// The kinds that are recognised.
const (
	ServerUnknown         ServerKind = ""
	ServerPrometheus      ServerKind = "Prometheus"
	ServerThanosQuery     ServerKind = "Thanos Query"
	ServerThanosReceivers ServerKind = "Thanos Query over receivers"
	ServerVictoriaMetrics ServerKind = "VictoriaMetrics"
	ServerCortex          ServerKind = "Cortex"
	ServerMimir           ServerKind = "Mimir"
)

// SpeaksMetricsQL reports whether the server evaluates MetricsQL instead of PromQL.
func (k ServerKind) SpeaksMetricsQL() bool { return k == ServerVictoriaMetrics }

// headerHostname is in every answer of the servers of VictoriaMetrics, vmauth among them, behind which
// any other server may be.
const headerHostname = "X-Server-Hostname"

// headerTier is in every answer of another tierproxy, which adds the warnings itself.
const headerTier = "X-Tier"

// memberStats is in every answer of VictoriaMetrics to a query, behind the data. Statistics of
// Prometheus are in the data, and have other members.
var memberStats = []byte(`"seriesFetched"`)

// SaysMetricsQL reports whether an answer to a query is one of VictoriaMetrics.
func SaysMetricsQL(header http.Header, text []byte) bool {
	return bytes.Contains(text, memberStats) && header.Get(headerTier) == ""
}

// recognition is what is known of the server that a client calls.
type recognition struct {
	kind ServerKind
	// hasHostname is set if the answer by which the server was recognised had headerHostname.
	hasHostname bool
}

// Recognize records the kind of the server. header is that of the answer by which it was recognised.
func (c *Client) Recognize(kind ServerKind, header http.Header) {
	c.recognised.Store(&recognition{kind: kind, hasHostname: header.Get(headerHostname) != ""})
}

// IsRecognized reports whether the server has answered, so that Recognize was called.
func (c *Client) IsRecognized() bool { return c.recognised.Load() != nil }

// SpeaksMetricsQL reports whether the server is known to evaluate MetricsQL.
func (c *Client) SpeaksMetricsQL() bool {
	known := c.recognised.Load()
	return known != nil && known.kind.SpeaksMetricsQL()
}

// IsMetricsQL reports whether an answer with such a header may be evaluated in MetricsQL. That is so for
// any answer of a VictoriaMetrics, and of a server that answers like one and did not do so when it was
// recognised. isOther is set in the latter case, and if a VictoriaMetrics answers like another server:
// then the server may have been replaced.
func (c *Client) IsMetricsQL(header http.Header) (is, isOther bool) {
	known, hasHostname := c.recognised.Load(), header.Get(headerHostname) != ""
	if known == nil {
		return hasHostname, hasHostname
	}
	isOther = hasHostname != known.hasHostname
	return known.kind.SpeaksMetricsQL() || (hasHostname && isOther), isOther
}

// headerTenant names the tenant of a Cortex or a Mimir.
const headerTenant = "X-Scope-OrgID"

// noTenant is how these answer a request without a tenant.
var noTenant = []byte("no org id")

// mostRefusal is how much of a refusal is read, in bytes.
const mostRefusal = 256

// WantsTenant reports whether the server refuses requests without the header of a tenant in the way of a
// Cortex. It asks only if requests have such a header.
func (c *Client) WantsTenant(ctx context.Context) bool {
	if c.header.Get(headerTenant) == "" {
		return false
	}
	without := c.header.Clone()
	without.Del(headerTenant)
	bare := &Client{base: c.base, header: without, tenancy: c.tenancy, transport: c.transport}
	response, err := bare.Send(ctx, Outgoing{
		Method: http.MethodGet, Path: "/api/v1/query", RawQuery: c.tenancy.ofProbe("/api/v1/query", url.Values{"query": {"vector(1)"}}).Encode(),
		Header: http.Header{"User-Agent": {probeUserAgent}},
	})
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostRefusal))
	return err == nil && response.StatusCode == http.StatusUnauthorized && bytes.Contains(text, noTenant)
}

// MetricsQLParameters are sent to a VictoriaMetrics with each query. Without them, it moves the start and
// the end of a range query to multiples of the step, and the time of an instant query into the past.
func MetricsQLParameters() url.Values { return url.Values{"nocache": {"1"}} }

// ofOwn adds to the parameters of a request of the gateway's own what a VictoriaMetrics needs to answer
// from all its samples, the newest among them, for exactly the given times.
func (c *Client) ofOwn(path string, parameters url.Values) url.Values {
	if !c.SpeaksMetricsQL() || (path != "/api/v1/query" && path != "/api/v1/query_range") {
		return parameters
	}
	added := url.Values{}
	maps.Copy(added, parameters)
	maps.Copy(added, MetricsQLParameters())
	// It refuses zero.
	added.Set("latency_offset", "1ms")
	return added
}

// Evaluation is the answer of a server to a query.
type Evaluation struct {
	Header http.Header
	// Text is the whole body.
	Text []byte
}
