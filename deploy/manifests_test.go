// Package deploy holds the tests of the manifests that need no cluster. Those
// that render and apply them are in backend/test/cluster.
package deploy

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

// deployments are the manifests with a container of tierproxy, and the monitors
// that scrape it.
var deployments = map[string]string{
	"base/deployment.yaml":                    "base/servicemonitor.yaml",
	"overlays/sidecar/perses/deployment.yaml": "overlays/sidecar/perses/podmonitor.yaml",
}

// decode reads the one YAML document of a file.
func decode[T any](t *testing.T, file string) T {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var found T
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	require.NoError(t, decoder.Decode(&found), file)
	require.ErrorIs(t, decoder.Decode(new(any)), io.EOF, "%s holds one document", file)
	return found
}

type deployment struct {
	Spec struct {
		Template struct {
			Spec struct {
				AutomountServiceAccountToken *bool       `yaml:"automountServiceAccountToken"`
				InitContainers               []container `yaml:"initContainers"`
				Containers                   []container `yaml:"containers"`
				Volumes                      []struct {
					Name   string
					Secret struct {
						SecretName string `yaml:"secretName"`
					}
					Projected struct{ Sources []map[string]any }
				}
			}
		}
	}
}

type container struct {
	Name         string
	Args         []string
	Env          []struct{ Name, Value string }
	Resources    struct{ Limits struct{ Memory string } }
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// tierproxyOf returns the container of tierproxy and all other containers.
func tierproxyOf(t *testing.T, d deployment) (found container, others []container) {
	t.Helper()
	for _, each := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
		if each.Name == "tierproxy" {
			found = each
		} else {
			others = append(others, each)
		}
	}
	require.NotEmpty(t, found.Name)
	return found, others
}

// mountsOf returns the paths where a container mounts a volume.
func mountsOf(c container, volume string) []string {
	var paths []string
	for _, each := range c.VolumeMounts {
		if each.Name == volume {
			paths = append(paths, each.MountPath)
		}
	}
	return paths
}

func TestManifests_AdminAddressTakesAToken(t *testing.T) {
	for _, file := range []string{"overlays/kubernetes/tierproxy/tierproxy.yaml", "overlays/openshift/tierproxy/tierproxy.yaml", "overlays/sidecar/perses/tierproxy.yaml"} {
		read, err := config.Load(file)
		require.NoError(t, err, file)
		require.Equal(t, "/etc/tierproxy-admin/token", read.Admin.TokenFile, file)
	}
	for file, monitorFile := range deployments {
		found := decode[deployment](t, file)
		own, others := tierproxyOf(t, found)
		var secret string
		for _, each := range found.Spec.Template.Spec.Volumes {
			if len(mountsOf(own, each.Name)) == 1 && mountsOf(own, each.Name)[0] == "/etc/tierproxy-admin" {
				secret = each.Secret.SecretName
				for _, other := range others {
					require.Empty(t, mountsOf(other, each.Name), "%s: %s does not get the token", file, other.Name)
				}
			}
		}
		require.Equal(t, "tierproxy-admin", secret, file)
		type endpoint struct {
			Authorization struct{ Credentials struct{ Name, Key string } }
		}
		monitor := decode[struct {
			Spec struct {
				Endpoints           []endpoint
				PodMetricsEndpoints []endpoint `yaml:"podMetricsEndpoints"`
			}
		}](t, monitorFile)
		endpoints := append(monitor.Spec.Endpoints, monitor.Spec.PodMetricsEndpoints...)
		require.Len(t, endpoints, 1, monitorFile)
		require.Equal(t, secret, endpoints[0].Authorization.Credentials.Name, monitorFile)
		require.Equal(t, "token", endpoints[0].Authorization.Credentials.Key, monitorFile)
	}
}

// Budgets that are no settings, in bytes: docs/deployment.md has the same table.
const (
	queryTexts  = 8 << 20  // what is kept of the text of queries
	datasources = 16 << 20 // what is kept of Perses' datasources
	metricNames = 64 << 20 // the names of metrics of tiers that global datasources name
	encoders    = 40 << 20 // what compresses answers
	program     = 40 << 20 // the program, its connections and what it knows of its own tiers
)

func TestManifests_MemoryLimitCoversTheBudgets(t *testing.T) {
	defaults := datasource.DefaultConfig()
	budgets := int64(defaults.Limits.DecodedMemory + defaults.Limits.SharedMemory + defaults.Query.SpliceBytes +
		defaults.Cache.MaxBytes + defaults.Limits.RequestMemory + queryTexts + datasources + metricNames + encoders + program)
	for file := range deployments {
		own, _ := tierproxyOf(t, decode[deployment](t, file))
		limit, err := resource.ParseQuantity(own.Resources.Limits.Memory)
		require.NoError(t, err, file)
		var collected string
		for _, each := range own.Env {
			if each.Name == "GOMEMLIMIT" {
				collected = each.Value
			}
		}
		goLimit, err := resource.ParseQuantity(strings.TrimSuffix(collected, "B"))
		require.NoError(t, err, "%s: GOMEMLIMIT is %q", file, collected)
		require.GreaterOrEqual(t, goLimit.Value(), budgets, "%s: GOMEMLIMIT is below what the settings allow", file)
		require.LessOrEqual(t, goLimit.Value(), limit.Value()*9/10, "%s: GOMEMLIMIT is at most 90 %% of the limit", file)
		require.GreaterOrEqual(t, goLimit.Value(), limit.Value()*8/10, "%s: GOMEMLIMIT wastes the limit", file)
	}
}

func TestManifests_ServiceAccountTokenIsForTierproxyAlone(t *testing.T) {
	for _, file := range []string{"base/serviceaccount.yaml", "overlays/sidecar/perses/serviceaccount.yaml"} {
		account := decode[struct {
			AutomountServiceAccountToken *bool `yaml:"automountServiceAccountToken"`
		}](t, file)
		require.NotNil(t, account.AutomountServiceAccountToken, file)
		require.False(t, *account.AutomountServiceAccountToken, file)
	}
	for file := range deployments {
		found := decode[deployment](t, file)
		own, others := tierproxyOf(t, found)
		automount := found.Spec.Template.Spec.AutomountServiceAccountToken
		require.NotNil(t, automount, file)
		require.Equal(t, len(others) == 0, *automount, "%s: Kubernetes mounts the token into every container", file)
		for _, each := range found.Spec.Template.Spec.Volumes {
			for _, source := range each.Projected.Sources {
				if source["serviceAccountToken"] == nil {
					continue
				}
				require.Equal(t, []string{path.Dir(datasource.DefaultConfig().ServiceAccount.TokenPath)}, mountsOf(own, each.Name), file)
				for _, other := range others {
					require.Empty(t, mountsOf(other, each.Name), "%s: %s does not get the token", file, other.Name)
				}
			}
		}
	}
}

type egressRule struct {
	To []struct {
		IPBlock           *struct{ CIDR string } `yaml:"ipBlock"`
		NamespaceSelector *selector              `yaml:"namespaceSelector"`
		PodSelector       *selector              `yaml:"podSelector"`
	}
	Ports []struct{ Port any }
}

type selector struct {
	MatchLabels      map[string]string `yaml:"matchLabels"`
	MatchExpressions []any             `yaml:"matchExpressions"`
}

func (s *selector) isEmpty() bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

type networkPolicy struct {
	Spec struct {
		PolicyTypes []string `yaml:"policyTypes"`
		Egress      []egressRule
	}
}

func TestManifests_EgressIsLimitedToWhatIsConfigured(t *testing.T) {
	base := decode[networkPolicy](t, "base/networkpolicy.yaml")
	policies := map[string]networkPolicy{"base": base, "sidecar": decode[networkPolicy](t, "overlays/sidecar/perses/networkpolicy.yaml")}
	for _, overlay := range []string{"kubernetes", "openshift"} {
		policy := base
		for _, operation := range decode[[]struct {
			Path  string
			Value yaml.Node
		}](t, "overlays/"+overlay+"/tierproxy/networkpolicy.yaml") {
			if operation.Path == "/spec/egress/-" {
				var rule egressRule
				require.NoError(t, operation.Value.Decode(&rule))
				policy.Spec.Egress = append(policy.Spec.Egress[:len(policy.Spec.Egress):len(policy.Spec.Egress)], rule)
			}
		}
		policies[overlay] = policy
	}
	for name, policy := range policies {
		require.Contains(t, policy.Spec.PolicyTypes, "Egress", name)
		require.NotEmpty(t, policy.Spec.Egress, name)
		for _, rule := range policy.Spec.Egress {
			require.NotEmpty(t, rule.To, "%s: a rule without peers is for every address: %+v", name, rule)
			require.NotEmpty(t, rule.Ports, "%s: a rule without ports is for every port: %+v", name, rule)
			for _, peer := range rule.To {
				if peer.IPBlock == nil {
					require.False(t, peer.NamespaceSelector.isEmpty() && peer.PodSelector.isEmpty(), "%s: an empty selector is for everything: %+v", name, rule)
					continue
				}
				block, err := netip.ParsePrefix(peer.IPBlock.CIDR)
				require.NoError(t, err, name)
				for _, outside := range []string{"1.1.1.1", "8.8.8.8", "203.0.113.1", "169.254.169.254", "2001:4860:4860::8888"} {
					require.False(t, block.Contains(netip.MustParseAddr(outside)), "%s: %s leads to %s", name, block, outside)
				}
			}
		}
	}
}

// TestContainerfiles_BaseImagesArePinned runs the check that both files hold.
func TestContainerfiles_BaseImagesArePinned(t *testing.T) {
	for _, file := range []string{"Containerfile", "Containerfile.plugin"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var argument, check string
		for line := range strings.SplitSeq(string(text), "\n") {
			instruction, rest, _ := strings.Cut(line, " ")
			switch {
			case instruction == "ARG":
				require.NotContains(t, rest, "=", "%s: a default would be a tag", file)
				argument = rest
			case instruction == "FROM" && rest != "scratch":
				image, _, _ := strings.Cut(rest, " ")
				require.Equal(t, "${"+argument+"}", image, "%s: %s is not pinned", file, line)
			case instruction == "RUN" && check == "":
				check = rest
			}
		}
		require.NotEmpty(t, argument, file)
		for image, pinned := range map[string]bool{"": false, "golang": false, "golang:1.26.8": false, "golang@sha256:" + strings.Repeat("0", 64): true} {
			command := exec.CommandContext(t.Context(), "sh", "-c", check)
			command.Env = append(os.Environ(), argument+"="+image)
			output, err := command.CombinedOutput()
			if pinned {
				require.NoError(t, err, "%s: %s", file, output)
				continue
			}
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit), "%s: %q passes", file, image)
			require.Contains(t, string(output), argument+" is '"+image+"'", file)
		}
	}
}
