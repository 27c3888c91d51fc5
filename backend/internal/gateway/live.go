package gateway

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

const livePath = "/api/v1/metrics/live"

const (
	defaultLiveStep  = 15 * time.Second
	defaultLiveRange = time.Hour
)

// liveTarget is what a client follows.
type liveTarget struct {
	caller admission.Caller
	// saved is nil for the default datasource.
	saved *perses.Datasource
	// lookUp looks up the saved datasource, and whether the caller may read it.
	lookUp func(ctx context.Context) (*perses.Datasource, error)
}

// serveLive serves a live query as Server-Sent Events until the client disconnects or the stream
// ends.
func (g *Gateway) serveLive(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, target liveTarget) {
	started := time.Now()
	query, mistakes := g.readLiveQuery(incoming.URL.Query())
	if len(mistakes) > 0 {
		writeMistakes(w, mistakes)
		return
	}
	served := &liveStream{gateway: g, target: target, query: query, events: newEventWriter(w)}
	if err := served.open(incoming); err != nil {
		g.failed(w, incoming, resolved, nil, started, err)
		return
	}
	defer served.close()
	served.serve(incoming.Context())
	g.logger.WithFields(g.requestFields(incoming.Context(), w.Header().Get(promapi.HeaderRequestID), resolved, nil)).
		WithFields(logrus.Fields{"duration": time.Since(started).String(), "updates": served.events.sent}).Debug("live stream ended")
}

// readLiveQuery parses the parameters of a live query. It returns all mistakes in them.
func (g *Gateway) readLiveQuery(parameters url.Values) (core.LiveQuery, datasource.ValidationErrors) {
	var mistakes datasource.ValidationErrors
	query := core.LiveQuery{Parameters: url.Values{}, Step: defaultLiveStep, Range: defaultLiveRange}
	for name, values := range parameters {
		switch name {
		case "query", "step", "range", "namespace":
			if len(values) > 1 {
				addMistake(&mistakes, name, "is given more than once")
			}
		case "start", "end", "time":
			addMistake(&mistakes, name, "does not belong to a live query: set range, and the window ends now")
		default:
			query.Parameters[name] = values
		}
	}
	query.Query, query.Namespace = parameters.Get("query"), parameters.Get("namespace")
	if parameters.Has("namespace") && query.Namespace == "" {
		addMistake(&mistakes, "namespace", "is empty: set a namespace, or omit it")
	}
	readLength(parameters, "step", &query.Step, &mistakes)
	readLength(parameters, "range", &query.Range, &mistakes)
	malformed := slices.Clone(mistakes)
	as := datasource.MetricQuery{Query: query.Query, Step: query.Step}
	for _, mistake := range as.ValidateLive(datasource.LiveOptions{Range: query.Range}, g.core.Config.Query) {
		// Report a malformed parameter only once.
		if !slices.ContainsFunc(malformed, func(reported datasource.Mistake) bool { return reported.Field == mistake.Field }) {
			mistakes = append(mistakes, mistake)
		}
	}
	return query, mistakes
}

// readLength parses a duration or a number of seconds, if there is one.
func readLength(parameters url.Values, name string, into *time.Duration, mistakes *datasource.ValidationErrors) {
	text := parameters.Get(name)
	if text == "" {
		return
	}
	parsed, err := promapi.ParseDuration(text)
	if err != nil || parsed <= 0 {
		addMistake(mistakes, name, `must be a duration longer than zero: "30s", "1m", or seconds`)
		return
	}
	*into = parsed
}

// lastEventID returns the last step that a client has from an earlier stream, in milliseconds since
// the Unix epoch; zero for none. An id that is not of tierproxy counts as none.
func lastEventID(incoming *http.Request) int64 {
	text := cmp.Or(incoming.Header.Get("Last-Event-ID"), "0")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds < 1e11) {
		return 0
	}
	return int64(seconds*1000 + 0.5)
}
