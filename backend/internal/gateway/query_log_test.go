package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// loggedHot is a datasource whose hot tier is the one replica behind a Service, and
// the log of its queries.
type loggedHot struct {
	*faketier.Tier
	gateway *Gateway
	asked   *resolve.Resolved
	logger  *logrus.Logger
	log     *bytes.Buffer // The logger's.
}

func newLoggedHot(t *testing.T, slow config.Duration) *loggedHot {
	t.Helper()
	h := &loggedHot{Tier: faketier.Start(t), logger: logrus.New(), log: &bytes.Buffer{}}
	h.logger.SetLevel(logrus.DebugLevel)
	h.logger.SetOutput(h.log)
	h.logger.SetFormatter(&logrus.TextFormatter{DisableColors: true})
	settings := running.TwoTiers(h.URL, "")
	settings.Discovery.Enabled = false
	settings.Probe.Interval = config.Duration(time.Hour)
	settings.Log = config.LogConfig{QueryText: true, SlowQueries: slow}
	m := running.Start(t, settings, h.logger)
	base, err := url.Parse(h.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 1})
	require.NoError(t, err)
	hot := catalog.NewTier(catalog.TierOptions{Name: tier.Hot, Replica: "prometheus-0", Client: client, ProbeInterval: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var probing sync.WaitGroup
	probing.Go(func() { hot.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		probing.Wait()
		hot.Close()
	})
	h.asked = &resolve.Resolved{Label: "global datasource metrics", Hot: hot, Datasource: &engine.Datasource{Name: "metrics", Hot: []engine.Replica{{Hot: hot, Ready: true}}}}
	h.gateway = New(m)
	return h
}

// line asks a query and returns the only line that the log has of it.
func (h *loggedHot) line(t *testing.T, ctx context.Context, query string) string { //nolint:revive // The test comes first, as in all helpers.
	t.Helper()
	incoming := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/query?query="+url.QueryEscape(query), nil)
	incoming.Header.Set(promapi.HeaderRequestID, "the-one")
	recorder := httptest.NewRecorder()
	identify(recorder, incoming)
	func() {
		defer func() {
			if cut := recover(); cut != nil {
				require.Equal(t, http.ErrAbortHandler, cut)
			}
		}()
		h.gateway.serveData(recorder, incoming, h.asked, "/api/v1/query", admission.Caller{})
	}()
	h.logger.SetOutput(io.Discard) // Probes may still write.
	var lines []string
	for line := range strings.Lines(h.log.String()) {
		if strings.Contains(line, "request_id=the-one") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 1, h.log.String())
	return lines[0]
}

func TestQueryLog_EachFactOnceInOneLine(t *testing.T) {
	const query, noPromQL = "up{job=\"asked for\"}", "sum(asked_for"
	leave := func(cancel func()) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			cancel()
			faketier.Hang(w, r)
		}
	}
	for name, test := range map[string]struct {
		query   string
		slow    config.Duration
		tier    func(cancel func()) http.HandlerFunc
		expects []string
		refused bool // No tier is chosen.
	}{
		"answered":             {expects: []string{"level=debug", `msg="query answered"`, "outcome=success"}},
		"slow":                 {slow: 1, expects: []string{"level=warning", `msg="slow query"`, "outcome=success"}},
		"slow error of a tier": {slow: 1, tier: always(faketier.Status(http.StatusUnprocessableEntity, "{}")), expects: []string{"level=warning", `msg="slow query"`, "outcome=rejected"}},
		"failed":               {tier: always(faketier.Status(http.StatusUnauthorized, "{}")), expects: []string{"level=warning", `msg="a request failed"`, "outcome=failed"}},
		"slow and failed":      {slow: 1, tier: always(faketier.Status(http.StatusUnauthorized, "{}")), expects: []string{"level=warning", `msg="a request failed"`, "outcome=failed"}},
		"slow and cut off":     {slow: 1, tier: always(faketier.CutOff), expects: []string{"level=warning", "was truncated", "outcome=aborted"}},
		"left":                 {tier: leave, expects: []string{"level=debug", `msg="the client disconnected"`, "outcome=canceled"}},
		"slow and left":        {slow: 1, tier: leave, expects: []string{"level=warning", `msg="slow query"`, "outcome=canceled"}},
		"refused":              {query: noPromQL, refused: true, expects: []string{"level=debug", `msg="rejected a request"`, "outcome=rejected"}},
		"slow and refused":     {query: noPromQL, slow: 1, refused: true, expects: []string{"level=warning", `msg="slow query"`, "outcome=rejected"}},
	} {
		t.Run(name, func(t *testing.T) {
			hot := newLoggedHot(t, test.slow)
			if test.refused {
				rule, err := enforcement.New("namespace", []string{"shop"}, enforcement.ConflictEmpty)
				require.NoError(t, err)
				hot.asked.Rule = rule
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.tier != nil {
				hot.Handle(test.tier(cancel))
			}
			text := query
			if test.query != "" {
				text = test.query
			}
			line := hot.line(t, ctx, text)
			facts := append(test.expects, `datasource="global datasource metrics"`, "endpoint=query", "fingerprint=", "query=", "asked", "duration=")
			if !test.refused {
				facts = append(facts, " tier=hot", "reason=only-tier", "replica=prometheus-0")
			}
			for _, fact := range facts {
				require.Equal(t, 1, strings.Count(line, fact), "%s in %s", fact, line)
			}
		})
	}
}

func always(handler http.HandlerFunc) func(func()) http.HandlerFunc {
	return func(func()) http.HandlerFunc { return handler }
}
