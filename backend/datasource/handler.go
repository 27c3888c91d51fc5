package datasource

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// Headers of requests and answers that say what is wanted and what happened.
const (
	headerChoice = "X-Tier-Choice"
	headerTier   = "X-Tier"
	headerReason = "X-Tier-Reason"
	headerTiming = "Server-Timing"
)

const healthPath = "/api/v1/datasources/health"

// defaultName names the default datasource where a name is needed.
const defaultName = "default"

// handler is the URL space of the gateway.
type handler struct {
	manager *Manager
	metrics http.Handler
}

func (m *Manager) newHandler() http.Handler {
	return &handler{
		manager: m,
		metrics: promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
	}
}

// route is what a path names: a datasource and the path below it.
type route struct {
	// saved is the datasource of Perses, or nil for the default one.
	saved *perses.Reference
	// path is what follows, escaped, such as /api/v1/query.
	path string
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, incoming *http.Request) {
	if incoming.ProtoMajor == 1 && strings.HasPrefix(incoming.URL.Path, "/proxy/") {
		// Perses opens a connection for every request that it proxies, and
		// would leave it idle for 90 s.
		w.Header().Set("Connection", "close")
	}
	id := identify(w, incoming)
	incoming, release, err := h.guard(w, incoming)
	defer release()
	if err != nil {
		promapi.WriteError(w, err)
		return
	}
	h.traced(w, incoming, id, h.serve)
}

// serve answers a request that has an id.
func (h *handler) serve(w http.ResponseWriter, incoming *http.Request) {
	if plain, is := withoutEmptySegments(incoming.URL); is {
		// As Prometheus does: the caller asks again, by a path that everybody reads in
		// one way.
		w.Header().Set("Location", plain)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	asked, err := parseRoute(incoming.URL)
	// Of the others those who may not ask learn nothing.
	if err == nil && (asked.isOpen() || incoming.Method == http.MethodOptions) {
		err = checkMethod(incoming, asked)
	}
	if err != nil {
		promapi.WriteError(w, err)
		return
	}
	switch {
	case incoming.Method == http.MethodOptions:
		serveOptions(w, asked)
	case asked.saved != nil:
		h.serveSaved(w, incoming, asked)
	case asked.path == "/metrics" && !h.manager.separateAdmin:
		if err := h.manager.checkAdminCaller(incoming); err != nil {
			h.fail(w, incoming, err)
			return
		}
		h.metrics.ServeHTTP(w, incoming)
	case asked.path == "/-/healthy":
		writeText(w, http.StatusOK, "tierproxy is healthy.\n")
	case asked.path == "/-/ready":
		h.serveReady(w)
	case asked.path == healthPath:
		writeHealth(w, h.ownHealth(incoming))
	case asked.path == "/":
		h.servePage(w, incoming, "Default datasource", h.ownHealth(incoming))
	default:
		h.serveDefault(w, incoming, asked)
	}
}

// parseRoute reads the path of a request. It returns an Error with status 400
// for paths that two servers could read differently, and 404 for those of
// datasources that are not served.
func parseRoute(target *url.URL) (route, error) {
	escaped := target.EscapedPath()
	decoded := target.Path
	if strings.ContainsAny(decoded, "%\\\x00") || strings.Count(escaped, "/") != strings.Count(decoded, "/") {
		return route{}, promapi.BadData("the path has an encoded slash, backslash or percent sign: write it plainly")
	}
	segments := strings.Split(strings.TrimPrefix(decoded, "/"), "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || (segment == "" && i < len(segments)-1) {
			return route{}, promapi.BadData("the path has an empty, '.' or '..' segment, which two servers could read in two ways: write it plainly")
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

// serveSaved answers for a datasource of Perses that the caller may read.
func (h *handler) serveSaved(w http.ResponseWriter, incoming *http.Request, asked route) {
	if h.manager.perses == nil {
		promapi.WriteError(w, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served: the gateway knows no Perses, set perses.url", asked.saved))
		return
	}
	if asked.saved.Dashboard != "" && !h.manager.config.Perses.DashboardDatasources {
		promapi.WriteError(w, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound,
			"%s is not served: save it in the project, or ask the operator to set perses.dashboard_datasources", asked.saved))
		return
	}
	if asked.path == checkPath {
		// The datasource may not be saved yet: another permission is asked for.
		h.serveCheck(w, incoming, asked.saved)
		return
	}
	ctx, span := tracing.StartCall(incoming.Context(), "look up the datasource")
	saved, err := h.manager.perses.Lookup(ctx, *asked.saved, h.manager.callerOf(incoming, *asked.saved))
	tracing.End(span, err, promapi.MessageOf)
	if err == nil {
		err = saved.CheckEndpoint(incoming.Method, asked.path)
	}
	if err == nil {
		err = checkMethod(incoming, asked)
	}
	var found *source
	if err == nil {
		found, err = h.manager.settled(incoming.Context(), func() (*source, error) { return h.manager.sourceOf(saved) })
	}
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	switch asked.path {
	case healthPath:
		writeHealth(w, found.shownHealth(time.Now()))
	case "/":
		h.servePage(w, incoming, found.label, found.shownHealth(time.Now()))
	case "/-/healthy", "/-/ready":
		found.serveProbe(w)
	default:
		h.serveData(w, incoming, found, asked.path, h.manager.savedCaller(incoming, *asked.saved))
	}
}

// serveDefault answers for the tiers of the configuration.
func (h *handler) serveDefault(w http.ResponseWriter, incoming *http.Request, asked route) {
	err := h.manager.checkDefaultCaller(incoming)
	if err == nil {
		err = checkMethod(incoming, asked)
	}
	if err != nil {
		if promapi.AsError(err).Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		h.fail(w, incoming, err)
		return
	}
	if asked.path == checkPath {
		h.serveCheck(w, incoming, nil)
		return
	}
	own, err := h.manager.settled(incoming.Context(), h.manager.ownSource)
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	h.serveData(w, incoming, own, asked.path, defaultCaller(incoming))
}

// serveData answers what is about the data of a datasource.
func (h *handler) serveData(w http.ResponseWriter, incoming *http.Request, asked *source, path string, caller promapi.Caller) {
	release, err := h.manager.countFor(incoming, caller)
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	defer release()
	switch path {
	case explainPath:
		h.serveExplain(w, incoming, asked, path, caller)
	case metricsQueryPath:
		h.serveMetricsQuery(w, incoming, asked, caller)
	default:
		h.serveQuery(w, incoming, asked, path, caller)
	}
}

// serveReady tells whether queries would be answered as they should: each tier
// has been probed, and one of them answers.
func (h *handler) serveReady(w http.ResponseWriter) {
	health := h.manager.Health()
	switch {
	case health.pending():
		writeText(w, http.StatusServiceUnavailable, "tierproxy has not looked up its Services yet.\n")
		return
	case h.manager.perses != nil && len(health.Tiers) == 0:
		// All tiers come from datasources: there is nothing to wait for.
	case !health.probed():
		writeText(w, http.StatusServiceUnavailable, "tierproxy has not probed its tiers yet.\n")
		return
	case health.Status == StatusUnhealthy && h.manager.perses == nil:
		writeText(w, http.StatusServiceUnavailable, "No tier answers.\n")
		return
	}
	writeText(w, http.StatusOK, "tierproxy is ready.\n")
}

// serveProbe answers the health check that Prometheus plugins make.
func (s *source) serveProbe(w http.ResponseWriter) {
	health := s.health(time.Now(), false)
	if health.probed() && health.Status == StatusUnhealthy {
		promapi.WriteError(w, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "no tier of %s answers", s.label))
		return
	}
	writeText(w, http.StatusOK, "tierproxy is healthy.\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // The client may be gone, which concerns nobody here.
}

// serveQuery reads a request, asks a tier and streams the answer.
func (h *handler) serveQuery(w http.ResponseWriter, incoming *http.Request, asked *source, path string, caller promapi.Caller) {
	started := time.Now()
	endpoint, err := promapi.MatchEndpoint(incoming.Method, path)
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	end, err := h.manager.begin(endpoint)
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	defer end()
	observed := &observedWriter{ResponseWriter: w}
	defer h.manager.metrics.countRequest(incoming.Context(), endpoint, observed)
	request, err := promapi.ReadRequest(incoming, endpoint, path, started)
	if err != nil {
		h.failed(observed, incoming, asked, nil, started, err)
		return
	}
	query := engine.Query{Request: request, Datasource: asked.engine, Caller: caller, DetachOnCancel: true}
	prepared, planned, err := h.manager.prepare(incoming.Context(), asked, query, "")
	if err != nil {
		h.failed(observed, incoming, asked, request, started, err)
		return
	}
	defer planned()
	h.answer(observed, incoming, asked, prepared, started, planned)
}

// answer asks a tier and streams what it answers. It calls planned once it is
// clear what the tier is asked.
func (h *handler) answer(w http.ResponseWriter, incoming *http.Request, asked *source, query engine.Query, started time.Time, planned func()) {
	var err error
	query.OnPlanned = planned
	applyCacheControl(&query.CacheControl, incoming.Header)
	if query.Forced, err = choice(incoming.Header.Values(headerChoice)); err != nil {
		h.failed(w, incoming, asked, query.Request, started, err)
		return
	}
	deadline := h.untilAnswered(w)
	response, err := h.manager.engine.Do(incoming.Context(), query)
	if err != nil {
		h.failed(w, incoming, asked, query.Request, started, err)
		return
	}
	h.stream(w, incoming, response, asked, query.Request, started, deadline)
}

// choice reads the header by which a caller forces a tier.
func choice(values []string) (tier.Name, error) {
	if len(values) == 0 {
		return "", nil
	}
	switch strings.ToLower(strings.TrimSpace(values[0])) {
	case "", "auto":
		return "", nil
	case string(tier.Hot):
		return tier.Hot, nil
	case string(tier.Cold):
		return tier.Cold, nil
	}
	return "", promapi.BadData("the header %s is %q: it must be hot, cold or auto", headerChoice, values[0])
}

// fail answers with an error, logs it once and counts it where a tier was
// chosen.
func (h *handler) fail(w http.ResponseWriter, incoming *http.Request, err error) {
	h.failed(w, incoming, nil, nil, time.Time{}, err)
}

// failed is fail for a query of a datasource. started is zero for other requests,
// and request is nil where it could not be read.
func (h *handler) failed(w http.ResponseWriter, incoming *http.Request, asked *source, request *promapi.Request, started time.Time, err error) {
	entry := h.manager.logger.WithFields(logrus.Fields{"method": incoming.Method, "path": incoming.URL.Path}).
		WithFields(h.manager.requestFields(incoming.Context(), w.Header().Get(promapi.HeaderRequestID), asked, request))
	slow := false
	if !started.IsZero() {
		took := time.Since(started)
		slow = h.manager.isSlow(took)
		entry = entry.WithField("duration", took.String())
	}
	outcome := outcomeOf(promapi.AsError(err).Status)
	canceled := incoming.Context().Err() != nil && errors.Is(err, context.Canceled)
	if canceled {
		outcome = outcomeCanceled
	}
	var callError *engine.CallError
	if errors.As(err, &callError) {
		w.Header().Set(headerTier, string(callError.Tier))
		w.Header().Set(headerReason, string(callError.Reason))
		entry = entry.WithFields(answeredBy(callError.Tier, callError.Reason, callError.Replica))
		h.manager.metrics.count(callError.Tier, callError.Reason, outcome)
	}
	entry = entry.WithField("outcome", outcome)
	switch {
	case canceled && slow:
		entry.Warn(messageSlow)
		return
	case canceled:
		entry.Debug(messageCanceled)
		return
	case promapi.AsError(err).RetryAfter > 0:
		// There are many of these at a time, and metrics count them.
		entry.WithError(err).Debug("a query was not asked")
	case promapi.AsError(err).Status >= http.StatusInternalServerError:
		entry.WithError(err).Warn("a request failed")
	case slow:
		entry.WithError(err).Warn(messageSlow)
	default:
		entry.WithError(err).Debug("a request was refused")
	}
	promapi.WriteError(w, err)
}

// timing is the Server-Timing of an answer: the milliseconds that the tier
// took until its header, where one was asked, and those that tierproxy took
// itself.
func timing(response *engine.Response, started time.Time) string {
	text := make([]byte, 0, 64)
	if response.Tier != "" {
		text = append(text, "upstream;dur="...)
		text = appendMilliseconds(text, response.UpstreamDuration)
		text = append(text, `;desc="`...)
		text = append(text, response.Tier...)
		text = append(text, `", `...)
	}
	text = append(text, "tierproxy;dur="...)
	return string(appendMilliseconds(text, time.Since(started)-response.UpstreamDuration))
}

func appendMilliseconds(text []byte, duration time.Duration) []byte {
	return strconv.AppendFloat(text, float64(duration)/float64(time.Millisecond), 'f', 3, 64)
}
