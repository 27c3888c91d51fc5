package catalog

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// mostLabelBytes bounds the external labels and the replica labels that are held
// of one tier. One that has more counts as one that does not tell them.
const mostLabelBytes = 16 << 10

// Settings are the defaults of a tier, as far as it tells them.
type Settings struct {
	// ExternalLabels are those of the tier's configuration; nil where it does
	// not tell.
	ExternalLabels map[string]string
	// ScrapeInterval and EvaluationInterval are the global ones of a
	// Prometheus; the latter is also the step of subqueries that name none.
	// Zero where the tier does not tell.
	ScrapeInterval, EvaluationInterval time.Duration
	// LookbackDelta is how far an instant selector looks back; zero where the
	// tier does not tell.
	LookbackDelta time.Duration
	// OutOfOrderWindow is how much older than the newest sample of a series one
	// may be that is still taken; zero where none is or the tier does not tell.
	OutOfOrderWindow time.Duration
	// ReplicaLabels are the labels that the tier removes by deduplication.
	ReplicaLabels []string
	// AutoDownsampling is set when the tier may answer with downsampled data that the
	// query did not ask for.
	AutoDownsampling bool
	// InstantResolution is the coarsest resolution from which the tier answers
	// instant queries that ask for none; zero means raw data.
	InstantResolution time.Duration
	// MetadataRange is how far back the tier looks for series, labels and values
	// when no start is given; zero means to the beginning.
	MetadataRange time.Duration
}

// prometheusConfig is the part of a Prometheus' configuration that is read.
type prometheusConfig struct {
	Global struct {
		ScrapeInterval     string            `yaml:"scrape_interval"`
		EvaluationInterval string            `yaml:"evaluation_interval"`
		ExternalLabels     map[string]string `yaml:"external_labels"`
	} `yaml:"global"`
	Storage struct {
		TSDB struct {
			OutOfOrderTimeWindow string `yaml:"out_of_order_time_window"`
		} `yaml:"tsdb"`
	} `yaml:"storage"`
}

// settings asks the tier for its defaults. What it does not tell stays zero.
// It returns an error when the tier could not be asked.
func (c apiClient) settings(ctx context.Context) (Settings, error) {
	var found Settings
	config, err := c.configuration(ctx)
	if err != nil && !upstream.CannotTell(err) {
		return found, err
	}
	var parsed prometheusConfig
	if err == nil && yaml.Unmarshal([]byte(config), &parsed) == nil {
		found.ExternalLabels = parsed.Global.ExternalLabels
		if found.ExternalLabels == nil {
			found.ExternalLabels = map[string]string{}
		}
		if len(promql.FormatLabels(found.ExternalLabels)) > mostLabelBytes {
			found.ExternalLabels = nil
		}
		found.ScrapeInterval = parseDuration(parsed.Global.ScrapeInterval)
		found.EvaluationInterval = parseDuration(parsed.Global.EvaluationInterval)
		found.OutOfOrderWindow = parseDuration(parsed.Storage.TSDB.OutOfOrderTimeWindow)
	}
	flags, err := ask[map[string]string](ctx, c, "/api/v1/status/flags", nil)
	switch {
	case err == nil:
		found.readFlags(flags)
	case !upstream.CannotTell(err):
		return found, err
	}
	return found, nil
}

func (s *Settings) readFlags(flags map[string]string) {
	s.LookbackDelta = parseDuration(flags["query.lookback-delta"])
	if interval := parseDuration(flags["query.default-evaluation-interval"]); interval > 0 {
		s.EvaluationInterval = interval
	}
	s.AutoDownsampling, _ = strconv.ParseBool(flags["query.auto-downsampling"])
	s.InstantResolution = parseDuration(flags["query.instant.default.max_source_resolution"])
	s.MetadataRange = parseDuration(flags["query.metadata.default-time-range"])
	// Thanos prints a repeated flag as a list in brackets, and takes lists.
	if len(flags["query.replica-label"]) > mostLabelBytes {
		return
	}
	for _, name := range strings.FieldsFunc(flags["query.replica-label"], func(r rune) bool { return strings.ContainsRune("[], \n", r) }) {
		if !slices.Contains(s.ReplicaLabels, name) {
			s.ReplicaLabels = append(s.ReplicaLabels, name)
		}
	}
}

// parseDuration reads a duration in the notation of Prometheus or of Go; what
// is neither is zero.
func parseDuration(text string) time.Duration {
	if parsed, err := model.ParseDuration(text); err == nil {
		return time.Duration(parsed)
	}
	parsed, _ := time.ParseDuration(text)
	return parsed
}
