package datasource

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/queryrange"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const explainPath = "/api/v1/datasources/explain"

// explained are the endpoints whose decision depends on more than which tiers
// there are.
var explained = []promapi.Endpoint{
	promapi.Query, promapi.QueryRange, promapi.Series, promapi.Labels, promapi.LabelValues, promapi.QueryExemplars,
}

// explanation is the decision for a query, made as for the query itself.
type explanation struct {
	Tier   tier.Name   `json:"tier"`
	Reason tier.Reason `json:"reason"`
	// Sentence says the same in one line for people.
	Sentence string `json:"sentence"`
	// Fallback is the tier that is asked when the first one fails.
	Fallback tier.Name `json:"fallback,omitempty"`
	// Rules says what each routing rule up to the one that decided makes of the
	// query.
	Rules []ruleView `json:"rules"`
	// HotQuery is what hot would be sent where that is not the query itself:
	// one that adds hot's external labels.
	HotQuery string `json:"hot_query,omitempty"`
	// ConfinedTo are the namespaces that the query is confined to; the decision
	// is about the confined query.
	ConfinedTo []string `json:"confined_to,omitempty"`
	// Warnings are those that the answer would carry.
	Warnings  []string       `json:"warnings,omitempty"`
	Extent    extentView     `json:"extent"`
	Threshold string         `json:"threshold"`
	Hot       *tierStateView `json:"hot,omitempty"`
	Cold      *tierStateView `json:"cold,omitempty"`
}

// ruleView is one routing rule, as docs/routing.md numbers them.
type ruleView struct {
	Rule    int    `json:"rule"`
	Applies bool   `json:"applies"`
	Why     string `json:"why"`
}

// extentView is what the query reads. Oldest is absent where that is from the
// beginning on.
type extentView struct {
	Nothing bool       `json:"nothing,omitempty"`
	Oldest  *time.Time `json:"oldest,omitempty"`
	Newest  *time.Time `json:"newest,omitempty"`
	Span    string     `json:"span,omitempty"`
}

// tierStateView is what the decision knew of a tier.
type tierStateView struct {
	Endpoint string `json:"endpoint"`
	// Replica is the server of hot that the query is for, where it has several.
	Replica       string     `json:"replica,omitempty"`
	Available     bool       `json:"available"`
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	CoverageEnd   *time.Time `json:"coverage_end,omitempty"`
}

// serveExplain answers with the decision for a query without running it.
func (h *handler) serveExplain(w http.ResponseWriter, incoming *http.Request, asked *source, path string) {
	if incoming.Method != http.MethodGet && incoming.Method != http.MethodPost {
		promapi.WriteError(w, promapi.Errorf(http.StatusMethodNotAllowed, promapi.ErrorBadData, "%s does not take the method %s", path, incoming.Method))
		return
	}
	request, err := promapi.ReadRequest(incoming, "explain", path, time.Now())
	if err == nil {
		request, err = explainedRequest(request)
	}
	if err == nil {
		request, err = h.manager.confine(asked, withoutEndpoint(request), "")
	}
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	query := h.manager.query(asked, request)
	if query.Forced, err = choice(incoming.Header.Values(headerChoice)); err != nil {
		h.fail(w, incoming, err)
		return
	}
	planned, err := queryrange.Plan(incoming.Context(), query)
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	input, decision := planned.Input, planned.Decision
	hot := viewState(asked.hot, input.Hot)
	if hot != nil {
		hot.Replica = planned.Replica()
	}
	promapi.WriteData(w, explanation{
		Tier: decision.Tier, Reason: decision.Reason, Sentence: decision.Sentence(input),
		Rules: viewRules(input), HotQuery: rewritten(planned, request), ConfinedTo: request.ConfinedTo,
		Fallback: decision.Fallback, Warnings: decision.Warnings,
		Extent: viewExtent(input.Extent), Threshold: model.Duration(input.Threshold).String(),
		Hot: hot, Cold: viewState(asked.cold, input.Cold),
	})
}

func viewRules(input tier.Input) []ruleView {
	_, steps, _ := tier.Explain(input) // The error is that of the plan, which was made before.
	rules := make([]ruleView, 0, len(steps))
	for _, step := range steps {
		rules = append(rules, ruleView(step))
	}
	return rules
}

// rewritten is the query for hot where it is not the one that was asked.
func rewritten(planned *queryrange.Planned, request *promapi.Request) string {
	if text := planned.HotQuery(); text != request.Parameters.Get("query") {
		return text
	}
	return ""
}

// explainedRequest reads the parameters as those of the endpoint that is asked
// about: the one they name, or the query endpoint that they fit.
func explainedRequest(request *promapi.Request) (*promapi.Request, error) {
	endpoint := promapi.Endpoint(request.Parameters.Get("endpoint"))
	if endpoint == "" {
		endpoint = fittingEndpoint(request.Parameters)
	}
	if !slices.Contains(explained, endpoint) {
		names := make([]string, 0, len(explained))
		for _, each := range explained {
			names = append(names, string(each))
		}
		return nil, promapi.BadData("invalid parameter \"endpoint\": %q is none of %s", endpoint, strings.Join(names, ", "))
	}
	return request.For(endpoint)
}

func fittingEndpoint(parameters url.Values) promapi.Endpoint {
	if parameters.Has("start") && parameters.Has("step") {
		return promapi.QueryRange
	}
	return promapi.Query
}

func viewExtent(extent tier.Extent) extentView {
	if extent.Nothing {
		return extentView{Nothing: true}
	}
	view := extentView{Newest: instant(extent.Newest)}
	if extent.Oldest != math.MinInt64 {
		view.Oldest = instant(extent.Oldest)
	}
	if extent.Span != math.MaxInt64 {
		view.Span = model.Duration(extent.Span).String()
	}
	return view
}

func viewState(asked *upstream.Tier, state tier.State) *tierStateView {
	if asked == nil {
		return nil
	}
	view := &tierStateView{Endpoint: asked.Endpoint(), Available: state.Available}
	if asked.Name() == tier.Cold {
		view.CoverageEnd = instant(state.Newest)
	} else if state.Oldest != tier.NothingCovered {
		view.CoverageStart = instant(state.Oldest)
	}
	return view
}

// instant is a timestamp in milliseconds as a time, RFC 3339 in JSON.
func instant(milliseconds int64) *time.Time {
	at := time.UnixMilli(milliseconds).UTC()
	return &at
}
