package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// The request header that forces a tier, and the response headers that explain the routing.
const (
	headerChoice = "X-Tier-Choice"
	headerTier   = "X-Tier"
	headerReason = "X-Tier-Reason"
	headerSource = "X-Tier-Source" // external labels of the sources of hot that answered
	headerTiming = "Server-Timing"
	headerCache  = "X-Tier-Cache"   // how much of the answer came from the cache
	headerNotCut = "X-Tier-Not-Cut" // why limits of memory kept the answer from being put together
)

// route is a datasource and the path below it.
type route struct {
	// saved is the datasource of Perses, or nil for the default datasource.
	saved *perses.Reference
	// path is the escaped rest of the path, such as /api/v1/query.
	path string
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, incoming *http.Request) {
	if incoming.ProtoMajor == 1 && strings.HasPrefix(incoming.URL.Path, "/proxy/") && !keepsConnections(incoming) {
		w.Header().Set("Connection", "close")
	}
	id := identify(w, incoming)
	incoming, release, err := g.guard(w, incoming)
	defer release()
	if err != nil {
		promapi.WriteError(w, err)
		return
	}
	g.traced(w, incoming, id, g.serve)
}

// serve routes a request to its endpoint.
func (g *Gateway) serve(w http.ResponseWriter, incoming *http.Request) {
	if plain, is := withoutEmptySegments(incoming.URL); is {
		// Redirect as Prometheus does, so that all servers interpret the path in the same way.
		w.Header().Set("Location", plain)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	target, err := parseRoute(incoming.URL)
	// At other paths, the method is checked after the caller, who must not learn whether they exist.
	if err == nil && (target.isOpen() || incoming.Method == http.MethodOptions) {
		err = checkMethod(incoming, target)
	}
	if err != nil {
		promapi.WriteError(w, err)
		return
	}
	switch {
	case incoming.Method == http.MethodOptions:
		serveOptions(w, target)
	case target.saved != nil:
		g.serveSaved(w, incoming, target)
	case target.path == "/metrics" && g.metrics != nil:
		if err := g.checkAdminCaller(incoming); err != nil {
			g.fail(w, incoming, err)
			return
		}
		g.metrics.ServeHTTP(w, incoming)
	case target.path == "/-/healthy":
		writeText(w, http.StatusOK, "tierproxy is healthy.\n")
	case target.path == "/-/ready":
		g.serveReady(w)
	case target.path == healthPath:
		writeHealth(w, g.defaultHealth(incoming))
	case target.path == "/":
		g.servePage(w, incoming, "Default datasource", g.defaultHealth(incoming))
	default:
		g.serveDefault(w, incoming, target)
	}
}

// parseRoute parses the path of a request. It returns an Error with status 400 for a path that
// two servers could interpret differently, and with status 404 below /proxy/ without a
// datasource.
func parseRoute(target *url.URL) (route, error) {
	escaped := target.EscapedPath()
	decoded := target.Path
	if strings.ContainsAny(decoded, "%\\\x00") || strings.Count(escaped, "/") != strings.Count(decoded, "/") {
		return route{}, promapi.BadData("the path has an encoded slash, backslash or percent sign: remove it")
	}
	segments := strings.Split(strings.TrimPrefix(decoded, "/"), "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || (segment == "" && i < len(segments)-1) {
			return route{}, promapi.BadData("the path has an empty, '.' or '..' segment, which servers interpret differently: remove it")
		}
	}
	if segments[0] != "proxy" {
		return route{path: escaped}, nil
	}
	rest := func(count int) string {
		parts := strings.SplitN(strings.TrimPrefix(escaped, "/"), "/", count+1)
		if len(parts) <= count {
			return "/"
		}
		return "/" + parts[count]
	}
	switch {
	case len(segments) >= 3 && segments[1] == "globaldatasources":
		return route{saved: &perses.Reference{Name: segments[2]}, path: rest(3)}, nil
	case len(segments) >= 5 && segments[1] == "projects" && segments[3] == "datasources":
		return route{saved: &perses.Reference{Project: segments[2], Name: segments[4]}, path: rest(5)}, nil
	case len(segments) >= 7 && segments[1] == "projects" && segments[3] == "dashboards" && segments[5] == "datasources":
		return route{saved: &perses.Reference{Project: segments[2], Dashboard: segments[4], Name: segments[6]}, path: rest(7)}, nil
	}
	return route{}, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
		"%s names no datasource: ask below /proxy/globaldatasources/NAME or /proxy/projects/PROJECT/datasources/NAME", decoded)
}

// serveSaved serves a datasource of Perses if the caller may read it.
func (g *Gateway) serveSaved(w http.ResponseWriter, incoming *http.Request, target route) {
	if err := checkSameSite(incoming); err != nil {
		g.fail(w, incoming, err)
		return
	}
	switch {
	case g.core.Perses == nil:
		promapi.WriteError(w, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served: no Perses is configured, set perses.url", target.saved))
		return
	case target.saved.Dashboard != "" && !g.core.Config.Perses.DashboardDatasources:
		promapi.WriteError(w, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served: save it in the project, or ask the operator to set perses.dashboard_datasources", target.saved))
		return
	case target.path == checkPath:
		// The datasource may not be saved yet, so this endpoint checks another permission.
		g.serveCheck(w, incoming, target.saved)
		return
	}
	lookUp := func(ctx context.Context) (*perses.Datasource, error) { return g.lookUp(ctx, incoming, target) }
	saved, err := lookUp(incoming.Context())
	if err == nil {
		err = checkMethod(incoming, target)
	}
	var resolved *resolve.Resolved
	if err == nil {
		resolved, err = g.core.Resolver.WaitSaved(incoming.Context(), saved)
	}
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	if target.path == healthPath || target.path == "/" {
		resolved.Refresh(incoming.Context())
	}
	switch target.path {
	case healthPath:
		writeHealth(w, resolved.ShownHealth(time.Now()))
	case "/":
		g.servePage(w, incoming, resolved.Label, resolved.ShownHealth(time.Now()))
	case "/-/healthy", "/-/ready":
		serveProbe(w, resolved)
	case livePath:
		g.serveLive(w, incoming, resolved, liveTarget{caller: g.savedCaller(incoming, *target.saved), saved: saved, lookUp: lookUp})
	default:
		g.serveData(w, incoming, resolved, target.path, g.savedCaller(incoming, *target.saved))
	}
}

// lookUp returns the saved datasource of a request if its caller may read it.
func (g *Gateway) lookUp(ctx context.Context, incoming *http.Request, target route) (*perses.Datasource, error) {
	ctx, span := tracing.StartCall(ctx, "look up the datasource")
	saved, err := g.core.Perses.Lookup(ctx, *target.saved, g.callerOf(incoming, *target.saved))
	tracing.End(span, err, promapi.MessageOf)
	if err != nil {
		return nil, err
	}
	g.specs.see(saved)
	return saved, saved.CheckEndpoint(incoming.Method, target.path)
}

// serveDefault serves the default datasource.
func (g *Gateway) serveDefault(w http.ResponseWriter, incoming *http.Request, target route) {
	err := g.checkDefaultCaller(incoming)
	if err == nil {
		err = checkMethod(incoming, target)
	}
	if err != nil {
		if promapi.AsError(err).Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		g.fail(w, incoming, err)
		return
	}
	if target.path == checkPath {
		g.serveCheck(w, incoming, nil)
		return
	}
	resolved, err := g.core.Resolver.WaitDefault(incoming.Context())
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	if target.path == livePath {
		g.serveLive(w, incoming, resolved, liveTarget{caller: defaultCaller(incoming)})
		return
	}
	g.serveData(w, incoming, resolved, target.path, defaultCaller(incoming))
}

// serveData serves the endpoints that read data of a datasource.
func (g *Gateway) serveData(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, path string, caller admission.Caller) {
	release, err := g.countFor(incoming, caller)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	defer release()
	switch path {
	case explainPath:
		g.serveExplain(w, incoming, resolved, path, caller)
	case metricsQueryPath:
		g.serveMetricsQuery(w, incoming, resolved, caller)
	default:
		g.serveQuery(w, incoming, resolved, path, caller)
	}
}

// serveReady responds with status 200 if every tier has been probed and at least one answers.
// If Perses is configured, no tier needs to answer, because datasources may have other tiers.
func (g *Gateway) serveReady(w http.ResponseWriter) {
	health := resolve.Health{Status: resolve.StatusUnhealthy}
	if resolved, err := g.core.Resolver.Default(); err == nil {
		health = resolved.Health(time.Now(), true)
	}
	status, text := http.StatusServiceUnavailable, "No tier answers.\n"
	switch {
	case health.IsPending():
		text = "tierproxy has not looked up its Services yet.\n"
	case (g.core.Perses == nil || len(health.Tiers) > 0) && !health.IsProbed():
		// Without tiers of its own, a gateway with Perses has nothing to wait for.
		text = "tierproxy has not probed its tiers yet.\n"
	case health.Status != resolve.StatusUnhealthy || g.core.Perses != nil:
		status, text = http.StatusOK, "tierproxy is ready.\n"
	}
	writeText(w, status, text)
}

// serveProbe responds to the health check of Prometheus plugins.
func serveProbe(w http.ResponseWriter, resolved *resolve.Resolved) {
	health := resolved.Health(time.Now(), false)
	if health.IsProbed() && health.Status == resolve.StatusUnhealthy {
		promapi.WriteError(w, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "no tier of %s answers", resolved.Label))
		return
	}
	writeText(w, http.StatusOK, "tierproxy is healthy.\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // The client may have disconnected.
}

// serveQuery serves an endpoint of the Prometheus API.
func (g *Gateway) serveQuery(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, path string, caller admission.Caller) {
	started := time.Now()
	matched, err := promapi.MatchEndpoint(path)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	g.answer(w, incoming, resolved, engine.Query{Caller: caller}, "", matched.Endpoint, started, func() (*promapi.Request, error) {
		return promapi.ReadRequest(incoming, matched.Endpoint, path, started)
	})
}

// answer reads the request of a query, runs the query and streams its answer. namespace is the
// namespace that the query itself names, or empty.
func (g *Gateway) answer(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, query engine.Query, namespace string, endpoint promapi.Endpoint, started time.Time, read func() (*promapi.Request, error)) {
	end, err := g.core.Begin(endpoint)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	defer end()
	observed := &telemetry.Writer{ResponseWriter: w}
	defer g.core.Metrics.CountRequest(incoming.Context(), endpoint, observed)
	query.DetachOnCancel = true
	if query.Request, err = read(); err == nil {
		query, err = g.core.Admit(incoming.Context(), query, resolved, namespace)
	}
	if err == nil {
		defer query.OnPlanned()
		applyCacheControl(&query.CacheControl, incoming.Header)
		query.Forced, err = choice(incoming.Header.Values(headerChoice))
	}
	var response *engine.Response
	var deadline time.Time
	if err == nil {
		deadline = g.untilAnswered(observed)
		response, err = g.core.Engine.Do(incoming.Context(), query)
	}
	if err != nil {
		g.failed(observed, incoming, resolved, query.Request, started, err)
		return
	}
	g.stream(observed, incoming, response, resolved, query.Request, started, deadline)
}

// choice parses the header that forces a tier. It returns an empty name for none.
func choice(values []string) (tier.Name, error) {
	if len(values) == 0 {
		return "", nil
	}
	switch name := strings.ToLower(strings.TrimSpace(values[0])); name {
	case "", "auto":
		return "", nil
	case string(tier.Hot), string(tier.Cold):
		return tier.Name(name), nil
	}
	return "", promapi.BadData("the header %s is %q: it must be hot, cold or auto", headerChoice, values[0])
}

// applyCacheControl applies the Cache-Control header of a request. no-cache reads nothing from
// the cache; no-store neither reads nor writes.
func applyCacheControl(control *engine.CacheControl, header http.Header) {
	for _, value := range header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "no-cache":
				control.NoRead = true
			case "no-store":
				control.NoRead, control.NoStore = true, true
			}
		}
	}
}
