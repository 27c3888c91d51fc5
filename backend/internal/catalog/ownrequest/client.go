// Package ownrequest makes the gateway's own requests to a tier: what it asks to know the tiers, and
// not for a query. It counts them, and bounds what they cost the tier.
package ownrequest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Slack is how much later than its timestamp a sample may appear.
const Slack = 5 * time.Second

// Kind says what tierproxy wants to know by a request of its own. It is a label value.
type Kind string

const (
	// KindProbe checks whether a tier answers, and measures its coverage and its newest data.
	KindProbe Kind = "probe"
	// KindStores reads the stores of a Thanos.
	KindStores Kind = "stores"
	// KindSettings reads the configuration and the flags of a tier.
	KindSettings Kind = "settings"
	// KindSources finds the sources of cold and the labels of hot's series in cold.
	KindSources Kind = "sources"
	// KindSeries finds out whether a tier has series of metric names that queries read.
	KindSeries Kind = "series"
	// KindNames lists metric names for selectors with patterns.
	KindNames Kind = "names"
	// KindSamples compares which samples of metrics that queries read the tiers have.
	KindSamples Kind = "samples"
	// KindTargets finds out which targets hot could not scrape for a while, and where else they were
	// scraped.
	KindTargets Kind = "targets"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{KindProbe, KindStores, KindSettings, KindSources, KindSeries, KindNames, KindSamples, KindTargets}
}

// Options are the options of NewClient.
type Options struct {
	// Upstream calls the tier.
	Upstream *upstream.Client
	// Pacer bounds the requests for evidence, together with other tiers on the same server; nil
	// for one of the client's own.
	Pacer *Pacer
	// Budget limits the requests of a project; nil for no limit.
	Budget *Budget
	// Observe, if not nil, is called at the end of each request.
	Observe func(kind Kind, took time.Duration, err error)
}

// Client calls the endpoints of the Prometheus API that the gateway needs for itself. Its methods
// return the errors of upstream.Client.Get, and upstream.ErrNotAnAnswer for an answer of another
// form. It is safe for concurrent use.
type Client struct {
	*upstream.Client
	// Pacer and Budget are those of the options. Paced obeys both.
	Pacer  *Pacer
	Budget *Budget
	// OnWarning, if not nil, is called for an answer with warnings, other than that the limit of the
	// request cut it.
	OnWarning func()
	// IsApart is set to tell replicas apart that a Thanos would deduplicate.
	IsApart bool

	observe func(kind Kind, took time.Duration, err error) // nil for none
	kind    Kind
}

// NewClient returns a client whose requests are probes: see As.
func NewClient(options Options) Client {
	return Client{Client: options.Upstream, Pacer: cmp.Or(options.Pacer, NewPacer()), Budget: options.Budget, observe: options.Observe, kind: KindProbe}
}

// As returns the client for requests of another kind.
func (c Client) As(kind Kind) Client {
	c.kind = kind
	return c
}

// Ask calls an endpoint, and decodes the data of the answer.
func Ask[T any](ctx context.Context, c Client, path string, parameters url.Values) (decoded T, err error) {
	decoded, _, err = AskWithWarnings[T](ctx, c, path, parameters)
	return decoded, err
}

// AskWithWarnings is Ask that returns the warnings of the answer, too.
func AskWithWarnings[T any](ctx context.Context, c Client, path string, parameters url.Values) (decoded T, warnings []string, err error) {
	if c.IsApart {
		apart := url.Values{"dedup": {"false"}}
		maps.Copy(apart, parameters)
		parameters = apart
	}
	began := time.Now()
	data, warnings, err := c.Get(ctx, path, parameters)
	err = c.finish(began, data, &decoded, err)
	isLacking := slices.ContainsFunc(warnings, func(warning string) bool { return warning != promapi.TruncatedWarning })
	if isLacking && c.OnWarning != nil {
		c.OnWarning()
	}
	return decoded, warnings, err
}

// finish decodes the data of an answer, and counts the request.
func (c Client) finish(began time.Time, data []byte, into any, err error) error {
	if err == nil {
		if invalid := json.Unmarshal(data, into); invalid != nil {
			err = errors.Join(upstream.ErrNotAnAnswer, invalid)
		}
	}
	if c.observe != nil {
		c.observe(c.kind, time.Since(began), err)
	}
	return err
}

// EvaluateConstant evaluates a query that reads no series. It returns the type of the result, and the
// answer as it came in.
func (c Client) EvaluateConstant(ctx context.Context) (resultType string, answer upstream.Evaluation, err error) {
	began := time.Now()
	data, answer, err := c.Evaluate(ctx, "vector(1)")
	var decoded struct {
		ResultType string `json:"resultType"`
	}
	err = c.finish(began, data, &decoded, err)
	return decoded.ResultType, answer, err
}

// VectorValue evaluates an instant query that returns at most one sample. found is false if it
// returns none. The zero time means now.
func (c Client) VectorValue(ctx context.Context, query string, at time.Time) (value float64, found bool, err error) {
	parameters := url.Values{"query": {query}}
	if !at.IsZero() {
		parameters.Set("time", promapi.FormatTime(at))
	}
	answer, err := Ask[struct {
		Result model.Vector `json:"result"`
	}](ctx, c, "/api/v1/query", parameters)
	if err != nil || len(answer.Result) == 0 {
		return 0, false, err
	}
	return float64(answer.Result[0].Value), true, nil
}

// Samples returns the samples of the first series in the result of a query. VictoriaMetrics returns the
// markers of stale series among them, which do not count.
func (c Client) Samples(ctx context.Context, path string, parameters url.Values) ([]model.SamplePair, error) {
	answer, err := Ask[struct {
		Result model.Matrix `json:"result"`
	}](ctx, c, path, parameters)
	if err != nil || len(answer.Result) == 0 {
		return nil, err
	}
	samples := answer.Result[0].Values
	if c.SpeaksMetricsQL() {
		samples = slices.DeleteFunc(samples, func(sample model.SamplePair) bool { return math.IsNaN(float64(sample.Value)) })
	}
	return samples, nil
}

// LabelValues returns at most limit values of a label since a time. The zero time means from the
// beginning.
func (c Client) LabelValues(ctx context.Context, name string, since time.Time, limit int) ([]string, error) {
	return Ask[[]string](ctx, c, "/api/v1/label/"+url.PathEscape(name)+"/values", url.Values{"start": {StartOf(since)}, "limit": {strconv.Itoa(limit)}})
}

// Series returns at most limit matching series since a time.
func (c Client) Series(ctx context.Context, selector string, since time.Time, limit int) ([]map[string]string, error) {
	return Ask[[]map[string]string](ctx, c, "/api/v1/series", url.Values{"match[]": {selector}, "start": {StartOf(since)}, "limit": {strconv.Itoa(limit)}})
}

// StartOf formats the start of a request for series. Without a start, some stores look at recent
// data only.
func StartOf(since time.Time) string {
	if since.IsZero() || since.UnixMilli() < 0 {
		return "0"
	}
	return promapi.FormatTime(since)
}
