package datasource

import (
	"fmt"
	"strings"
	"time"

	sdkhttp "github.com/perses/perses/go-sdk/http"
	"github.com/perses/spec/go/common"
)

// Threshold sets the span of time from which on a query goes to cold rather than to hot, if both can answer it. It is
// longer than zero, in milliseconds at the finest.
func Threshold(span time.Duration) Option {
	return func(builder *Builder) (err error) {
		builder.Threshold, err = durationText("threshold", span)
		return err
	}
}

// The strategies of a datasource.
const (
	// StrategyRoute sends each query to one tier.
	StrategyRoute = "route"
	// StrategySplit may cut a range query: hot answers its newest steps and cold the older ones.
	StrategySplit = "split"
)

// Strategy sets how queries are shared out: StrategyRoute or StrategySplit.
func Strategy(strategy string) Option {
	return func(builder *Builder) error {
		builder.Strategy = strategy
		return nil
	}
}

// SplitAcrossReplicas says whether range queries are cut although hot has several replicas, the values of one of which
// differ a little from those that cold makes of all.
func SplitAcrossReplicas(accepted bool) Option {
	return func(builder *Builder) error {
		builder.SplitAcrossReplicas = &accepted
		return nil
	}
}

// Cache says whether answers of cold that can no longer change are kept.
func Cache(kept bool) Option {
	return func(builder *Builder) error {
		builder.Cache = &kept
		return nil
	}
}

// ScrapeInterval sets the interval at which the metrics are scraped, the smallest step that Perses asks for. It is
// longer than zero, in milliseconds at the finest.
func ScrapeInterval(interval time.Duration) Option {
	return func(builder *Builder) (err error) {
		builder.ScrapeInterval, err = durationText("scrapeInterval", interval)
		return err
	}
}

// Hot sets the tier with the recent data. It replaces all hot tiers that were set before.
func Hot(options ...TierOption) Option {
	return func(builder *Builder) error {
		hot, err := createHotTier(options)
		builder.Hot = &hot
		return err
	}
}

// AddHot adds a tier with recent data, such as the Prometheus of another cluster. There may be 200.
func AddHot(options ...TierOption) Option {
	return func(builder *Builder) error {
		hot, err := createHotTier(options)
		if builder.Hot == nil {
			builder.Hot = &hot
		} else {
			builder.Hot.Others = append(builder.Hot.Others, hot)
		}
		return err
	}
}

func createHotTier(options []TierOption) (HotTier, error) {
	built, err := createTier("hot", options)
	return HotTier{Name: built.name, Tier: built.tier, Retention: built.retention}, err
}

// Cold sets the tier with all data.
func Cold(options ...TierOption) Option {
	return func(builder *Builder) error {
		built, err := createTier("cold", options)
		builder.Cold = &ColdTier{Tier: built.tier, Lag: built.lag}
		return err
	}
}

// QueryParams sets the parameters that are sent along with every query.
func QueryParams(params map[string]string) Option {
	return func(builder *Builder) error {
		builder.QueryParams = params
		return nil
	}
}

// AddQueryParam adds a parameter that is sent along with every query.
func AddQueryParam(name, value string) Option {
	return func(builder *Builder) error {
		if builder.QueryParams == nil {
			builder.QueryParams = map[string]string{}
		}
		builder.QueryParams[name] = value
		return nil
	}
}

// HTTPProxy sets the address of this very datasource at the gateway, which GlobalURL, ProjectURL and DashboardURL
// write, and what else Perses' proxy can do.
func HTTPProxy(url string, options ...sdkhttp.Option) Option {
	return func(builder *Builder) error {
		built, err := sdkhttp.New(url, options...)
		if err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
		// The SDK of Perses writes it in lower case, where its documentation and its forms do not.
		built.Kind = proxyKind
		builder.Proxy = &built.Proxy
		return nil
	}
}

// GlobalURL is the address of a global datasource at the gateway, such as "http://tierproxy:9190".
func GlobalURL(gateway, name string) string {
	return trimmed(gateway) + "/proxy/globaldatasources/" + name
}

// ProjectURL is the address of a datasource of a project at the gateway.
func ProjectURL(gateway, project, name string) string {
	return trimmed(gateway) + "/proxy/projects/" + project + "/datasources/" + name
}

// DashboardURL is the address of a datasource that lives in a dashboard. The gateway serves such ones only where its
// operator switched that on.
func DashboardURL(gateway, project, dashboard, name string) string {
	return trimmed(gateway) + "/proxy/projects/" + project + "/dashboards/" + dashboard + "/datasources/" + name
}

func trimmed(gateway string) string { return strings.TrimSuffix(gateway, "/") }

// durationText writes a duration as Prometheus does.
func durationText(field string, length time.Duration) (string, error) {
	if length < 0 || length%time.Millisecond != 0 {
		return "", fmt.Errorf("%s: %s: must be a number of milliseconds, not negative", field, length)
	}
	return common.Duration(length).String(), nil
}
