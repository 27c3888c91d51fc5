package catalog

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// replicaLabels are the labels by which replicas differ where nobody chose
// others: those of the Prometheus operator, of Thanos' and of Mimir's
// documentation.
var replicaLabels = []string{"prometheus_replica", "replica", "__replica__"}

// Identity is what tells replicas of one Prometheus from Prometheus servers
// that hold different series.
type Identity struct {
	// ExternalLabels are those of the configuration, replica labels included.
	ExternalLabels map[string]string
	// Sharding is which part of the targets is scraped, in the words of the
	// configuration; empty where it is all of them.
	Sharding string

	configured string // the Status.configured it belongs to
}

// Refuse makes the tier unavailable, whatever its probes find, until it is
// called with the zero Note.
func (t *Tier) Refuse(reason tier.Note) {
	if t.refused() != reason {
		t.refusal.Store(&reason)
	}
}

func (t *Tier) refused() tier.Note {
	if reason := t.refusal.Load(); reason != nil {
		return *reason
	}
	return tier.Note{}
}

// Unresolved returns a tier of which it is not known where it is: it is
// unavailable, and its error is the given reason. endpoint is shown to people,
// and may be empty.
func Unresolved(name tier.Name, endpoint *url.URL, reason string) *Tier {
	refused := &upstream.RefusedError{Reason: reason}
	t := NewTier(TierOptions{Name: name, Client: upstream.Refusing(endpoint, refused), ProbeInterval: minProbeTimeout})
	t.Refuse(tier.PublicNote(reason))
	t.status.Store(&Status{Oldest: tier.NothingCovered, Error: reason, CheckedAt: time.Now(), Since: time.Now()})
	t.open()
	return t
}

// Probed tells whether the tier has been probed at least once.
func (t *Tier) Probed() bool { return !t.status.Load().CheckedAt.IsZero() }

// Replica returns the name of the server among those behind one service.
func (t *Tier) Replica() string { return t.options.Replica }

// Identity returns who the tier is, or nil while it has not told. It is learned
// for replicas only.
func (t *Tier) Identity() *Identity { return t.identity.Load() }

// identify asks who the tier is, unless neither its process nor its
// configuration is another one.
func (t *Tier) identify(ctx context.Context, status *Status) {
	known := t.identity.Load()
	if known != nil && status.configured != "" && known.configured == status.configured {
		return
	}
	text, err := t.api.configuration(ctx)
	if err != nil {
		return // It is asked again by the next probe.
	}
	found, err := parseIdentity(text)
	if err != nil {
		return
	}
	found.configured = status.configured
	t.identity.Store(found)
}

// parseIdentity reads the configuration of a Prometheus.
func parseIdentity(text string) (*Identity, error) {
	var config struct {
		Global struct {
			ExternalLabels map[string]string `yaml:"external_labels"`
		} `yaml:"global"`
		ScrapeConfigs []struct {
			Relabel []struct {
				SourceLabels []string `yaml:"source_labels"`
				TargetLabel  string   `yaml:"target_label"`
				Regex        string   `yaml:"regex"`
				Modulus      uint64   `yaml:"modulus"`
				Action       string   `yaml:"action"`
			} `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		return nil, fmt.Errorf("read the configuration of a Prometheus: %w", err)
	}
	found := &Identity{ExternalLabels: config.Global.ExternalLabels}
	parts := map[string]struct{}{}
	for _, job := range config.ScrapeConfigs {
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
	found.Sharding = strings.Join(slices.Sorted(maps.Keys(parts)), ", ")
	return found, nil
}

// ordinal is the end of the name of a StatefulSet's pod.
var ordinal = regexp.MustCompile(`-[0-9]+$`)

// NoReplicas says why the servers behind one service must not be asked as one
// Prometheus, or nothing: they are not replicas of each other, as far as they
// have told who they are, or a single one holds a part only. certain is set
// when that is known rather than not known otherwise. removed are the labels
// that cold removes by deduplication.
//
// A server that has not told yet is taken for a replica if its pod belongs to
// the same StatefulSet as that of one that has: it is down, or has just been
// started. It must not be asked before it has told.
func NoReplicas(servers []*Tier, removed []string) (reason tier.Note, certain bool) {
	aside := append(slices.Clone(replicaLabels), removed...)
	var known *Tier
	sets := map[string]bool{}
	for _, server := range servers {
		identity := server.Identity()
		if identity == nil {
			continue
		}
		if identity.Sharding != "" {
			text := server.Replica() + " behind the service is a shard: it scrapes a part of the targets only"
			return tier.Note{Detail: fmt.Sprintf("%s (%s)", text, identity.Sharding), Public: text}, true
		}
		sets[ordinal.ReplaceAllString(server.Replica(), "")] = true
		if known == nil {
			known = server
			continue
		}
		first, other := without(known.Identity().ExternalLabels, aside), without(identity.ExternalLabels, aside)
		if !maps.Equal(first, other) {
			text := fmt.Sprintf("%s and %s behind the service are no replicas of one Prometheus: their external labels", known.Replica(), server.Replica())
			return tier.Note{
				Detail: fmt.Sprintf("%s are %s and %s", text, tier.FormatLabels(first), tier.FormatLabels(other)), Public: text + " differ",
			}, true
		}
	}
	for _, server := range servers {
		if len(servers) > 1 && server.Identity() == nil && !sets[ordinal.ReplaceAllString(server.Replica(), "")] {
			return tier.PublicNote(fmt.Sprintf("whether %s is a replica is not known: it has not told its configuration; let it answer /api/v1/status/config, or switch the addressing of replicas off", server.Replica())), false
		}
	}
	return tier.Note{}, false
}
