package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// maxLabelBytes is the maximum size of the external labels, and of the replica labels, of a
// tier. Larger ones count as unknown.
const maxLabelBytes = 16 << 10

// Settings are the defaults that a tier reports. Fields that it does not report are zero.
type Settings struct {
	// ExternalLabels are the tier's external labels; nil if they are unknown.
	ExternalLabels map[string]string
	// ScrapeInterval and EvaluationInterval are the global intervals of a Prometheus. The
	// latter is also the default step of subqueries.
	ScrapeInterval, EvaluationInterval time.Duration
	// ClosedRanges is set if ranges include both of their ends, as in Prometheus 2.
	ClosedRanges bool
	// LookbackDelta is how far an instant selector looks back.
	LookbackDelta time.Duration
	// OutOfOrderWindow is the maximum age of out-of-order samples; zero if the tier accepts
	// none.
	OutOfOrderWindow time.Duration
	// ReplicaLabels are the labels that the tier removes by deduplication.
	ReplicaLabels []string
	// AutoDownsampling is set if the tier may return downsampled data that the query did not
	// request.
	AutoDownsampling bool
	// InstantResolution is the default maximum resolution of instant queries; zero for raw
	// data.
	InstantResolution time.Duration
	// MetadataRange is how far back the tier looks for series, labels and values by default;
	// zero for everything.
	MetadataRange time.Duration
	// OneCore is set if the tier is known to evaluate a query on one core.
	OneCore bool
	// MaxConcurrent is how many queries the tier evaluates at once; zero if it is unknown.
	MaxConcurrent int
	// Honored says which jobs of a Prometheus honor the labels of what they scrape.
	Honored targets.HonoredLabels
	// FlagsKnown is set if the tier reports its flags. The following two follow from them.
	FlagsKnown bool
	// HeadRange is the range of the head block of a Prometheus; zero for other tiers.
	HeadRange time.Duration
	// TakesWrites is set for a Prometheus that other servers write samples to.
	TakesWrites bool
	// ReadsElsewhere is set for a Prometheus that reads samples of other servers (remote_read).
	ReadsElsewhere bool
}

// prometheusConfig is the part of a Prometheus' configuration that tierproxy reads.
type prometheusConfig struct {
	Global struct {
		ScrapeInterval     string            `yaml:"scrape_interval"`
		EvaluationInterval string            `yaml:"evaluation_interval"`
		ExternalLabels     map[string]string `yaml:"external_labels"`
	} `yaml:"global"`
	ScrapeConfigs []struct {
		JobName       string        `yaml:"job_name"`
		HonorLabels   bool          `yaml:"honor_labels"`
		Relabel       []relabelRule `yaml:"relabel_configs"`
		MetricRelabel []relabelRule `yaml:"metric_relabel_configs"`
	} `yaml:"scrape_configs"`
	ScrapeConfigFiles []string         `yaml:"scrape_config_files"`
	RemoteRead        []map[string]any `yaml:"remote_read"`
	Storage           struct {
		TSDB struct {
			OutOfOrderTimeWindow string `yaml:"out_of_order_time_window"`
		} `yaml:"tsdb"`
	} `yaml:"storage"`

	jobs map[string]string // a hash of the configuration of each job
}

type relabelRule struct {
	SourceLabels []string `yaml:"source_labels"`
	TargetLabel  string   `yaml:"target_label"`
	Regex        string   `yaml:"regex"`
	Modulus      uint64   `yaml:"modulus"`
	Action       string   `yaml:"action"`
}

// changesLabels reports whether the rule may change other labels than the name of the metric and those
// that end with relabeling.
func (r relabelRule) changesLabels() bool {
	switch strings.ToLower(r.Action) {
	case "keep", "drop", "keepequal", "dropequal":
		return false
	case "labelmap", "labeldrop", "labelkeep":
		return true
	default:
		return !strings.HasPrefix(r.TargetLabel, "__")
	}
}

// parseConfig reads the configuration of a Prometheus. It returns an error that wraps
// upstream.ErrNotAnAnswer if text is empty or not YAML.
func parseConfig(text string) (*prometheusConfig, error) {
	var config prometheusConfig
	if err := yaml.Unmarshal([]byte(text), &config); err != nil || text == "" {
		return nil, errors.Join(upstream.ErrNotAnAnswer, err)
	}
	var jobs struct {
		ScrapeConfigs []map[string]any `yaml:"scrape_configs"`
	}
	_ = yaml.Unmarshal([]byte(text), &jobs) // It is YAML.
	config.jobs = map[string]string{}
	for _, job := range jobs.ScrapeConfigs {
		key := promql.KeyOf(fmt.Sprint(job)) // fmt sorts maps.
		config.jobs[fmt.Sprint(job["job_name"])] = string(key[:])
	}
	return &config, nil
}

// sharding describes which part of the targets a Prometheus scrapes, as relabeling rules in a
// sorted list. It returns an empty string for all targets.
func (c *prometheusConfig) sharding() string {
	parts := map[string]struct{}{}
	for _, job := range c.ScrapeConfigs {
		hashes := map[string]uint64{}
		for _, rule := range job.Relabel {
			if rule.Action == "hashmod" {
				hashes[rule.TargetLabel] = rule.Modulus
				continue
			}
			for _, label := range rule.SourceLabels {
				if modulus := hashes[label]; modulus > 1 && (rule.Action == "keep" || rule.Action == "drop") {
					parts[fmt.Sprintf("%s %s of %d", rule.Action, rule.Regex, modulus)] = struct{}{}
				}
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(parts)), ", ")
}

// configuration returns the configuration of a Prometheus.
func configuration(ctx context.Context, c ownrequest.Client) (*prometheusConfig, error) {
	config, err := ownrequest.Ask[struct {
		YAML string `json:"yaml"`
	}](ctx, c, "/api/v1/status/config", nil)
	if err != nil {
		return nil, err
	}
	return parseConfig(config.YAML)
}

// honored returns which jobs store series with other labels than those of their targets. With jobs in
// other files, that is not known.
func (c *prometheusConfig) honored() targets.HonoredLabels {
	honored := targets.HonoredLabels{Known: len(c.ScrapeConfigFiles) == 0}
	for _, job := range c.ScrapeConfigs {
		if job.HonorLabels || slices.ContainsFunc(job.MetricRelabel, relabelRule.changesLabels) {
			honored.Jobs = append(honored.Jobs, job.JobName)
		}
	}
	return honored
}

// readSettings returns the defaults of a tier. What the tier does not report stays zero. It
// returns an error if the tier does not answer.
func readSettings(ctx context.Context, c ownrequest.Client) (Settings, error) {
	var settings Settings
	config, err := configuration(ctx, c)
	if err != nil && !upstream.CannotTell(err) {
		return settings, err
	}
	if config != nil {
		if settings.ExternalLabels = config.Global.ExternalLabels; settings.ExternalLabels == nil {
			settings.ExternalLabels = map[string]string{}
		}
		if len(promql.FormatLabels(settings.ExternalLabels)) > maxLabelBytes {
			settings.ExternalLabels = nil
		}
		settings.Honored = config.honored()
		settings.ScrapeInterval = parseDuration(config.Global.ScrapeInterval)
		settings.EvaluationInterval = parseDuration(config.Global.EvaluationInterval)
		settings.OutOfOrderWindow = parseDuration(config.Storage.TSDB.OutOfOrderTimeWindow)
		settings.ReadsElsewhere = len(config.RemoteRead) > 0
	}
	flags, err := ownrequest.Ask[map[string]string](ctx, c, "/api/v1/status/flags", nil)
	switch {
	case err == nil:
		settings.readFlags(flags)
	case !upstream.CannotTell(err):
		return settings, err
	}
	settings.ClosedRanges, err = closedRanges(ctx, c)
	return settings, err
}

// knownSettings are the settings of a process and its configuration: see Status.configured.
type knownSettings struct {
	configured string
	Settings
}

// settingsNow returns the settings of the tier. It asks for them if the process or its
// configuration has changed, or if the tier does not tell.
func (t *Tier) settingsNow(ctx context.Context) (Settings, error) {
	configured := t.status.Load().configured
	if known := t.known.Load(); known != nil && configured != "" && known.configured == configured {
		return known.Settings, nil
	}
	settings, err := readSettings(ctx, t.api.As(ownrequest.KindSettings))
	if err == nil {
		t.known.Store(&knownSettings{configured, settings})
	}
	return settings, err
}

func (s *Settings) readFlags(flags map[string]string) {
	s.FlagsKnown = len(flags) > 0
	s.HeadRange = parseDuration(flags["storage.tsdb.min-block-duration"])
	features := strings.Split(flags["enable-feature"], ",")
	s.TakesWrites = flags["web.enable-remote-write-receiver"] == "true" || flags["web.enable-otlp-receiver"] == "true" ||
		slices.Contains(features, "remote-write-receiver") || slices.Contains(features, "otlp-write-receiver")
	s.LookbackDelta = parseDuration(flags["query.lookback-delta"])
	if interval := parseDuration(flags["query.default-evaluation-interval"]); interval > 0 {
		s.EvaluationInterval = interval
	}
	s.AutoDownsampling, _ = strconv.ParseBool(flags["query.auto-downsampling"])
	s.InstantResolution = parseDuration(flags["query.instant.default.max_source_resolution"])
	s.MetadataRange = parseDuration(flags["query.metadata.default-time-range"])
	s.readEngine(flags)
	// Thanos prints a repeated flag as a list in brackets, and takes lists.
	if len(flags["query.replica-label"]) > maxLabelBytes {
		return
	}
	for _, name := range strings.FieldsFunc(flags["query.replica-label"], func(r rune) bool { return strings.ContainsRune("[], \n", r) }) {
		if !slices.Contains(s.ReplicaLabels, name) {
			s.ReplicaLabels = append(s.ReplicaLabels, name)
		}
	}
}

// readEngine reads how the tier evaluates queries. The engine of Prometheus evaluates a query on one
// core. That of Thanos uses several, and distributed queries use several servers.
func (s *Settings) readEngine(flags map[string]string) {
	engine, isThanos := flags["query.promql-engine"]
	_, isPrometheus := flags["storage.tsdb.path"]
	if isThanos {
		s.OneCore = engine == "prometheus" && (flags["query.mode"] == "" || flags["query.mode"] == "local")
	} else {
		s.OneCore = isPrometheus
	}
	s.MaxConcurrent, _ = strconv.Atoi(cmp.Or(flags["query.max-concurrent"], flags["query.max-concurrency"]))
}

// parseDuration parses a duration in the notation of Prometheus or of Go. It returns zero for
// any other text.
func parseDuration(text string) time.Duration {
	if parsed, err := model.ParseDuration(text); err == nil {
		return time.Duration(parsed)
	}
	parsed, _ := time.ParseDuration(text)
	return parsed
}
