package gateway

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/diagnosis"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const explainPath = "/api/v1/datasources/explain"

// explained are the endpoints whose routing can be explained. At all others, only the existing
// tiers matter.
var explained = slices.DeleteFunc(promapi.Endpoints(), func(endpoint promapi.Endpoint) bool { return !endpoint.Traits().NamesTimes() })

// Explanation is the routing decision for a query. It is the decision that the query itself
// would get.
type Explanation struct {
	// Tier is the tier that gets the query (hot or cold), and Reason is why, as in the headers
	// X-Tier and X-Tier-Reason. Tier is empty if no tier gets the query.
	Tier   string `json:"tier"`
	Reason string `json:"reason"`
	// Source are the external labels of the source of hot that gets the query, as in the header
	// X-Tier-Source. It is absent if they are unknown, or if cold alone gets the query.
	Source string `json:"source,omitempty"`
	// Sentence explains Tier and Reason to people.
	Sentence string `json:"sentence"`
	// ParseError is the first error of the parser, if the query is no PromQL. tierproxy routes such
	// a query, because a tier may know another language.
	ParseError string `json:"parse_error,omitempty"`
	// Fallback is the tier that gets the query if the first one fails.
	Fallback string `json:"fallback,omitempty"`
	// Rules are the results of the routing rules, up to the one that decided.
	Rules []RuleResult `json:"rules"`
	// Cut says where tierproxy splits a range query. It is absent for a query that is not
	// split.
	Cut *CutParts `json:"cut,omitempty"`
	// NotCut says why the query is not split although the strategy is split.
	NotCut string `json:"not_cut,omitempty"`
	// NotCutRemedy says what the operator can do about NotCut, or is absent.
	NotCutRemedy string `json:"not_cut_remedy,omitempty"`
	// NotCached says why nothing of the answer can be kept in the cache. It is absent if
	// something can.
	NotCached string `json:"not_cached,omitempty"`
	// ColdParts is into how many parts cold's steps are divided at most, so that cold computes them
	// at once. It is absent if cold computes them as a whole.
	ColdParts int `json:"cold_parts,omitempty"`
	// HotQuery is the query that tierproxy sends to hot, if it adds hot's external labels to
	// the original. It is absent for callers that are confined to namespaces.
	HotQuery string `json:"hot_query,omitempty"`
	// ConfinedTo are the namespaces that the query is confined to. The explanation is about
	// the confined query.
	ConfinedTo []string `json:"confined_to,omitempty"`
	// Warnings are the warnings of the answer.
	Warnings []string `json:"warnings,omitempty"`
	// Extent is the time range that the query reads.
	Extent Extent `json:"extent"`
	// Threshold is the span from which cold is preferred, as a Prometheus duration.
	Threshold string `json:"threshold"`
	// HotUnused says why the datasource does not use an existing hot tier, or is absent.
	HotUnused string `json:"hot_unused,omitempty"`
	// Hot and Cold are the states of the tiers that the decision is based on. Each is absent
	// without that tier.
	Hot  *TierState `json:"hot,omitempty"`
	Cold *TierState `json:"cold,omitempty"`
}

// RuleResult is the result of one routing rule for a query.
type RuleResult struct {
	// Rule is the number of the rule in docs/routing.md.
	Rule int `json:"rule"`
	// Applies is set for the rule that decides.
	Applies bool `json:"applies"`
	// Why says in one line why the rule applies, or why not.
	Why string `json:"why"`
}

// CutParts are the parts of a range query that is split.
type CutParts struct {
	// HotFrom is the first evaluation time of the newest part that hot answers.
	HotFrom *time.Time `json:"hot_from"`
	// ColdSteps and HotSteps are the numbers of steps that each tier answers.
	ColdSteps int `json:"cold_steps"`
	HotSteps  int `json:"hot_steps"`
	// Parts is the number of parts. It is more than two if a tier lacks something in the
	// middle.
	Parts int `json:"parts"`
}

func viewCut(cut *tier.Cut) *CutParts {
	parts := &CutParts{ColdSteps: cut.Steps(tier.Cold), HotSteps: cut.Steps(tier.Hot), Parts: len(cut.Runs)}
	for _, run := range cut.Runs {
		if run.Tier == tier.Hot {
			parts.HotFrom = resolve.Instant(cut.Grid.At(run.First))
		}
	}
	return parts
}

// Extent is the time range that a query reads.
type Extent struct {
	// Nothing is set for a query that reads no sample.
	Nothing bool `json:"nothing,omitempty"`
	// Oldest and Newest are the timestamps of the oldest and the newest sample that the query
	// can read. Oldest is absent if it has no limit.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Span is the longest time range that the query reads at once, as a Prometheus duration.
	// It is empty if it has no limit.
	Span string `json:"span,omitempty"`
}

// TierState is the state of a tier that a decision is based on.
type TierState struct {
	// Endpoint is the URL of the tier.
	Endpoint string `json:"endpoint"`
	// Kind is the kind of server that was recognised. It is absent while it is unknown.
	Kind string `json:"kind,omitempty"`
	// Replica is the replica of hot that gets the query, if hot has several.
	Replica string `json:"replica,omitempty"`
	// Available is set if the tier answered its last probe. Error says why it gets no queries
	// otherwise.
	Available bool   `json:"available"`
	Error     string `json:"error,omitempty"`
	// CoverageStart is the start of hot's coverage. It is absent for cold, and while it is
	// unknown. CoverageEnd is the end of cold's coverage. It is absent for hot.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	CoverageEnd   *time.Time `json:"coverage_end,omitempty"`
	// CoverageDeclared is set if hot's coverage cannot be measured, so that the configured
	// retention counts.
	CoverageDeclared bool `json:"coverage_declared,omitempty"`
	// Missing says which samples of the metrics that the query reads the tier does not have.
	Missing []string `json:"missing,omitempty"`
}

// serveExplain responds with the decision for a query, without running the query.
func (g *Gateway) serveExplain(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, path string, caller admission.Caller) {
	request, err := promapi.ReadRequest(incoming, "explain", path, time.Now())
	if err == nil {
		request, err = explainedRequest(request)
	}
	var query engine.Query
	if err == nil {
		query, err = g.core.Admit(incoming.Context(), engine.Query{Request: request.With(url.Values{"endpoint": nil, "label": nil}), Caller: caller}, resolved, "")
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
		promapi.WriteData(w, answeredHere(resolved, query))
		return
	}
	decided, err := g.core.Engine.Plan(incoming.Context(), query)
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	input, decision := decided.Input, decided.Decision
	detailed := resolved.ShowsConfiguration()
	hot := viewState(decided.Hot(), input.Hot, detailed)
	if hot != nil {
		hot.Replica = decided.Replica()
	}
	explanation := Explanation{
		Tier: string(decision.Tier), Reason: string(decision.Reason), Sentence: decision.Sentence(input), Source: decided.Source(decision.Tier),
		Rules: []RuleResult{}, ConfinedTo: query.ConfinedTo, ParseError: decided.ParseError(),
		Fallback: string(decision.Fallback), Warnings: decision.Warnings,
		Extent: viewExtent(input.Extent), Threshold: model.Duration(input.Threshold).String(),
		HotUnused: resolved.ShownHealth(time.Now()).HotUnused, Hot: hot, NotCached: decided.NotCached(), Cold: viewState(resolved.Cold, input.Cold, detailed),
	}
	if warning := decided.LanguageWarning(); warning != "" {
		explanation.Warnings = append(slices.Clone(explanation.Warnings), warning)
	}
	_, steps, _ := tier.Explain(input) // engine.Plan would have returned the error.
	for _, step := range steps {
		explanation.Rules = append(explanation.Rules, RuleResult(step))
	}
	if cut := decided.Cut; cut != nil {
		explanation.Cut = viewCut(cut)
	}
	if resolved.Datasource.Strategy == tier.StrategySplit {
		explanation.NotCut, explanation.NotCutRemedy = decided.NotCut, diagnosis.RemedyOfNotCut(resolved.Datasource, decided)
	}
	if explanation.ParseError != "" {
		explanation.NotCutRemedy = "" // No change to the tiers would help.
	}
	if parts := decided.MostParts(); parts > 1 {
		explanation.ColdParts = parts
	}
	// The query for hot contains hot's external labels.
	if text := decided.HotQuery(); detailed && text != query.Request.Parameters.Get("query") {
		explanation.HotQuery = text
	}
	promapi.WriteData(w, explanation)
}

// answeredHere explains a query that the gateway answers without a tier.
func answeredHere(resolved *resolve.Resolved, query engine.Query) Explanation {
	return Explanation{
		Reason:   string(tier.ReasonConfined),
		Sentence: "tierproxy answers without a tier: no series that the query selects is in the namespaces that it is confined to.",
		Rules:    []RuleResult{}, ConfinedTo: query.ConfinedTo,
		Extent: Extent{Nothing: true}, Threshold: model.Duration(resolved.Datasource.Threshold).String(),
	}
}

// explainedRequest returns the request to explain. Its endpoint is the parameter "endpoint" or,
// without it, query_range if there are start and step, and query otherwise. The parameter "label" is the
// label of a request for values.
func explainedRequest(request *promapi.Request) (*promapi.Request, error) {
	endpoint := promapi.Query
	if request.Parameters.Has("start") && request.Parameters.Has("step") {
		endpoint = promapi.QueryRange
	}
	endpoint = cmp.Or(promapi.Endpoint(request.Parameters.Get("endpoint")), endpoint)
	if !slices.Contains(explained, endpoint) {
		return nil, promapi.BadData("invalid parameter \"endpoint\": %q is none of %s", endpoint, strings.ReplaceAll(strings.Trim(fmt.Sprint(explained), "[]"), " ", ", "))
	}
	made, err := request.For(endpoint)
	if err == nil && endpoint == promapi.LabelValues {
		made.Label = request.Parameters.Get("label")
	}
	return made, err
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

func viewState(queried *catalog.Tier, state tier.State, detailed bool) *TierState {
	if queried == nil {
		return nil
	}
	view := &TierState{Endpoint: queried.EndpointFor(detailed), Kind: string(queried.Server().Kind), Available: state.Available}
	if status := queried.Status(); !state.Available {
		view.Error = status.ErrorFor(detailed)
	}
	if queried.Name() == tier.Cold {
		view.CoverageEnd = resolve.Instant(state.Newest)
	} else if state.Oldest != tier.NothingCovered {
		view.CoverageStart, view.CoverageDeclared = resolve.Instant(state.Oldest), queried.Status().Declared
	}
	for _, each := range state.Missing {
		view.Missing = append(view.Missing, each.String())
	}
	return view
}
