package gateway

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const explainPath = "/api/v1/datasources/explain"

// explained are the endpoints whose decision depends on more than which tiers
// there are.
var explained = []promapi.Endpoint{
	promapi.Query, promapi.QueryRange, promapi.Series, promapi.Labels, promapi.LabelValues, promapi.QueryExemplars,
}

// Explanation is the decision for a query, made as for the query itself.
type Explanation struct {
	// Tier is the tier that would be asked, hot or cold, and Reason why, as in
	// the X-Tier and X-Tier-Reason headers. Tier is empty where none would be.
	Tier   string `json:"tier"`
	Reason string `json:"reason"`
	// Sentence says the same in one line for people.
	Sentence string `json:"sentence"`
	// Fallback is the tier that is asked when the first one fails.
	Fallback string `json:"fallback,omitempty"`
	// Rules says what each routing rule up to the one that decided makes of the
	// query.
	Rules []RuleResult `json:"rules"`
	// Cut says where a range query is cut; absent where it is not.
	Cut *CutParts `json:"cut,omitempty"`
	// NotCut says why it is not, where the strategy of the datasource is split.
	NotCut string `json:"not_cut,omitempty"`
	// HotQuery is what hot would be sent where that is not the query itself:
	// one that adds hot's external labels. Callers who are confined to namespaces
	// do not get it.
	HotQuery string `json:"hot_query,omitempty"`
	// ConfinedTo are the namespaces that the query is confined to; the decision
	// is about the confined query.
	ConfinedTo []string `json:"confined_to,omitempty"`
	// Warnings are those that the answer would carry.
	Warnings []string `json:"warnings,omitempty"`
	// Extent is what the query reads.
	Extent Extent `json:"extent"`
	// Threshold is the span from which on cold is preferred, as a Prometheus
	// duration.
	Threshold string `json:"threshold"`
	// HotUnused says why the datasource is asked without a hot tier although
	// there is one. Absent where it is not.
	HotUnused string `json:"hot_unused,omitempty"`
	// Hot and Cold are what the decision knew of the tiers; absent where there
	// is none.
	Hot  *TierState `json:"hot,omitempty"`
	Cold *TierState `json:"cold,omitempty"`
}

// RuleResult is what one routing rule makes of a query.
type RuleResult struct {
	// Rule is its number in docs/routing.md.
	Rule int `json:"rule"`
	// Applies is set for the rule that decides.
	Applies bool `json:"applies"`
	// Why says why it applies, or why not, in one line.
	Why string `json:"why"`
}

// CutParts is a range query in two parts.
type CutParts struct {
	// HotFrom is the first evaluation time that hot answers.
	HotFrom *time.Time `json:"hot_from"`
	// ColdSteps and HotSteps are how many steps each tier answers.
	ColdSteps int `json:"cold_steps"`
	HotSteps  int `json:"hot_steps"`
}

// Extent is what the query reads.
type Extent struct {
	// Nothing is set for a query that reads no sample.
	Nothing bool `json:"nothing,omitempty"`
	// Oldest and Newest are the oldest and the newest sample that it can touch.
	// Oldest is absent where that is from the beginning on.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Span is the longest stretch that it reads at once, as a Prometheus
	// duration; empty where that is everything.
	Span string `json:"span,omitempty"`
}

// TierState is what the decision knew of a tier.
type TierState struct {
	// Endpoint is the URL of the tier.
	Endpoint string `json:"endpoint"`
	// Replica is the server of hot that the query is for, where it has several.
	Replica string `json:"replica,omitempty"`
	// Available is set when the tier answered its last probe.
	Available bool `json:"available"`
	// CoverageStart is the time from which on hot holds its samples; absent for
	// cold and where it is not known. CoverageEnd is the time up to which cold
	// holds them; absent for hot.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	CoverageEnd   *time.Time `json:"coverage_end,omitempty"`
}

// serveExplain answers with the decision for a query without running it.
func (g *Gateway) serveExplain(w http.ResponseWriter, incoming *http.Request, asked *resolve.Resolved, path string, caller promapi.Caller) {
	request, err := promapi.ReadRequest(incoming, "explain", path, time.Now())
	if err == nil {
		request, err = explainedRequest(request)
	}
	var query engine.Query
	if err == nil {
		query, err = g.core.Admit(incoming.Context(), core.Asked{Request: request.With(url.Values{"endpoint": nil}), Resolved: asked, Caller: caller})
	}
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	defer query.OnPlanned()
	if query.Forced, err = choice(incoming.Header.Values(headerChoice)); err != nil {
		g.fail(w, incoming, err)
		return
	}
	if query.AnsweredHere() {
		promapi.WriteData(w, answeredHere(asked, query))
		return
	}
	decided, err := g.core.Engine.Plan(incoming.Context(), query)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	input, decision := decided.Input, decided.Decision
	detailed := asked.ShowsConfiguration()
	hot := viewState(asked.Hot, input.Hot, detailed)
	if hot != nil {
		hot.Replica = decided.Replica()
	}
	explanation := Explanation{
		Tier: string(decision.Tier), Reason: string(decision.Reason), Sentence: decision.Sentence(input),
		Rules: viewRules(input), ConfinedTo: query.ConfinedTo,
		Fallback: string(decision.Fallback), Warnings: decision.Warnings,
		Extent: viewExtent(input.Extent), Threshold: model.Duration(input.Threshold).String(),
		HotUnused: asked.HotUnused, Hot: hot, Cold: viewState(asked.Cold, input.Cold, detailed),
		Cut: viewCut(decided.Cut), NotCut: notCut(asked, decided),
	}
	if detailed {
		// It holds hot's external labels.
		explanation.HotQuery = rewritten(decided, query.Request)
	}
	promapi.WriteData(w, explanation)
}

// answeredHere explains a query that no tier is asked for.
func answeredHere(asked *resolve.Resolved, query engine.Query) Explanation {
	return Explanation{
		Reason:   string(tier.ReasonConfined),
		Sentence: "No tier is asked: none of the series that the query selects is in the namespaces it is confined to.",
		Rules:    []RuleResult{}, ConfinedTo: query.ConfinedTo,
		Extent: Extent{Nothing: true}, Threshold: model.Duration(asked.Datasource.Threshold).String(),
	}
}

func viewCut(cut *tier.Cut) *CutParts {
	if cut == nil {
		return nil
	}
	return &CutParts{HotFrom: resolve.Instant(cut.Grid.At(cut.First)), ColdSteps: cut.First, HotSteps: cut.Grid.Len() - cut.First}
}

func notCut(asked *resolve.Resolved, planned *engine.Plan) string {
	if asked.Datasource.Strategy != tier.StrategySplit {
		return ""
	}
	return planned.NotCut
}

func viewRules(input tier.Input) []RuleResult {
	_, steps, _ := tier.Explain(input) // The error is that of the plan, which was made before.
	rules := make([]RuleResult, 0, len(steps))
	for _, step := range steps {
		rules = append(rules, RuleResult(step))
	}
	return rules
}

// rewritten is the query for hot where it is not the one that was asked.
func rewritten(planned *engine.Plan, request *promapi.Request) string {
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

func viewExtent(extent promql.Extent) Extent {
	if extent.Nothing {
		return Extent{Nothing: true}
	}
	view := Extent{Newest: resolve.Instant(extent.Newest)}
	if extent.Oldest != math.MinInt64 {
		view.Oldest = resolve.Instant(extent.Oldest)
	}
	if extent.Span != math.MaxInt64 {
		view.Span = model.Duration(extent.Span).String()
	}
	return view
}

func viewState(asked *catalog.Tier, state tier.State, detailed bool) *TierState {
	if asked == nil {
		return nil
	}
	view := &TierState{Endpoint: asked.EndpointFor(detailed), Available: state.Available}
	if asked.Name() == tier.Cold {
		view.CoverageEnd = resolve.Instant(state.Newest)
	} else if state.Oldest != tier.NothingCovered {
		view.CoverageStart = resolve.Instant(state.Oldest)
	}
	return view
}
